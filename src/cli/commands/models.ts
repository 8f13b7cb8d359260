import { InvalidRequest, OrchestratorError } from "../../orchestrator/api/errors.ts";
import { jsonText, oneLine } from "../../orchestrator/util/control-characters.ts";
import { counted, formatBytes, localTime } from "../../orchestrator/util/format-bytes.ts";
import type { ResourceData } from "../../resources/index.ts";
import type { ToolAnswers, ToolInputs } from "../../tools/index.ts";
import { type CommandIo, agree } from "../terminal/io.ts";
import { withSession } from "../terminal/session.ts";
import { type Column, renderFacts, renderTable } from "../terminal/table.ts";
import { hanging, styled } from "../terminal/terminal-text.ts";

type ModelListing = ToolAnswers["list_models"];
type ModelRow = ModelListing["models"][number];

/** Lists every model. */
export const allModels = 1_000;

const columns: readonly Column<ModelRow>[] = [
  { title: "NAME", text: ({ name }) => name },
  {
    title: "SIZE",
    // Cloud models have no size; models of other machines have one, unless their server doesn't tell.
    text: ({ is_remote, size_bytes }) =>
      size_bytes > 0 ? formatBytes(size_bytes) : is_remote === true ? "cloud" : "–",
    isNumber: true,
  },
  {
    title: "STATE",
    text: stateOf,
    style: (model) => (model.is_loaded ? "green" : isBad(model) ? "yellow" : undefined),
  },
  { title: "ENGINE", text: ({ engine }) => engine, isExtra: 2 },
];
const details: readonly Column<ModelRow>[] = [
  { title: "PARAMETERS", text: ({ parameter_size = "" }) => parameter_size, isNumber: true, isExtra: 5 },
  { title: "QUANT", text: ({ quantization = "" }) => quantization, isExtra: 4 },
  { title: "CONTEXT", text: ({ context_tokens }) => String(context_tokens ?? ""), isNumber: true, isExtra: 3 },
  { title: "TOKENS/S", text: speedOf, isNumber: true, isExtra: 1 },
];

/** `ollm models [query]`. */
export function listModels(
  query: string | undefined,
  options: { readonly all?: boolean; readonly verbose?: boolean; readonly json?: boolean },
  io: CommandIo,
): Promise<number> {
  return withSession(io, {}, async ({ call }) => {
    const { structured } = await call("list_models", {
      query,
      verbose: options.verbose,
      limit: options.all === true ? allModels : undefined,
    });
    show(structured, options, io, (list) => renderModels(list, query, options.verbose === true, io));
    return 0;
  });
}

/** Models as a table; without any, how to get one. */
export function renderModels(list: ModelListing, query: string | undefined, isVerbose: boolean, io: CommandIo): string {
  const { models, total } = list;
  if (models.length === 0) return query === undefined ? noModels(list, io) : `No model matches "${oneLine(query)}".\n`;
  const table = renderTable(models, isVerbose ? [...columns, ...details] : columns, io);
  const more = total - models.length;
  return more > 0 ? `${table}${styled(`${more} more: ollm models --all`, "dim", io)}\n` : table;
}

/** How to get a first model, and what else there is. */
function noModels({ suggestion, unreachable = [] }: ModelListing, io: CommandIo): string {
  if (suggestion === undefined) return "No models are installed. To get one:\n  ollm pull NAME\n";
  const found =
    unreachable.length === 0 ? "No models are installed." : `No models found: ${unreachable.map(oneLine).join("; ")}.`;
  const lines = suggestion.reason.split("\n").map((line) => `${hanging("  ", line, io)}\n`);
  return `${hanging("", `${found} To get one:`, io)}\n  ollm pull ${oneLine(suggestion.model)}\n${lines.join("")}`;
}

/** The measured speed, else the expected one, marked. */
function speedOf({ tokens_per_second: measured, expected_tokens_per_second: expected }: ModelRow): string {
  return measured === undefined ? (expected === undefined ? "" : `~${expected}`) : String(measured);
}

function stateOf(model: ModelRow): string {
  if (model.error !== undefined) return `error: ${model.error}`;
  if (model.stale_since !== undefined) return "engine is down";
  const pinned = model.is_pinned === true ? "pinned" : undefined;
  if (model.is_loaded) return ["loaded", pinned].filter(Boolean).join(", ");
  if (model.fits === false) return "does not fit";
  const status = model.status === "installed" ? undefined : model.status;
  // A pin remains when the model is unloaded.
  return [status, pinned].filter(Boolean).join(", ");
}

function isBad(model: ModelRow): boolean {
  return model.error !== undefined || model.stale_since !== undefined || model.fits === false;
}

/** `ollm rm NAME...`: deletes models in order, until one fails. */
export function removeModels(
  names: readonly string[],
  options: { readonly yes?: boolean; readonly json?: boolean },
  io: CommandIo,
): Promise<number> {
  return withSession(io, {}, async ({ call }) => {
    const deleted: ToolAnswers["manage_model"][] = [];
    for (const name of names) {
      const { structured, text } = await call("manage_model", {
        action: "delete",
        model: name,
        confirm: options.yes,
      });
      deleted.push(structured);
      if (options.json !== true) io.stdout(`${oneLine(text)}\n`);
    }
    if (options.json === true) show({ deleted }, options, io, () => "");
    return 0;
  });
}

type UnusedRow = ResourceData["ollm://metrics"]["unused"][number];

const unusedColumns: readonly Column<UnusedRow>[] = [
  { title: "NAME", text: ({ name }) => name },
  { title: "SIZE", text: ({ size_bytes }) => formatBytes(size_bytes), isNumber: true },
  {
    title: "LAST USED",
    text: ({ last_used_at, unused_days }) => {
      const ago = `${counted(unused_days, "day")} ago`;
      return last_used_at === undefined ? `not in ${ago.replace(/ ago$/, "")}` : ago;
    },
  },
  { title: "ENGINE", text: ({ engine }) => engine, isExtra: 1 },
];

/** `ollm tidy`: lists the models that were not used for `days`, asks, and deletes them in order, whichever fail. */
export function tidyModels(
  { days, yes, json }: { readonly days: number; readonly yes?: boolean; readonly json?: boolean },
  io: CommandIo,
): Promise<number> {
  return withSession(io, {}, async ({ call, read, signal }) => {
    const found = async () => (await read("ollm://metrics")).unused.filter(({ unused_days }) => unused_days >= days);
    const models = await found();
    const deleted: { readonly model: string; readonly freed_bytes: number }[] = [];
    const kept: { readonly model: string; readonly error: string }[] = [];
    const freedBytes = () => deleted.reduce((sum, { freed_bytes }) => sum + freed_bytes, 0);
    const report = (): void =>
      show({ unused: models, deleted, kept, freed_bytes: freedBytes() }, { json }, io, () => "");
    if (models.length === 0) {
      if (json === true) report();
      else
        io.stdout(
          `Nothing to tidy: every model was used in the last ${counted(days, "day")}, or is loaded, pinned, in the settings or newer.\n`,
        );
      return 0;
    }
    const bytes = formatBytes(models.reduce((sum, { size_bytes }) => sum + size_bytes, 0));
    const them = counted(models.length, "model");
    if (json !== true) {
      io.stdout(renderTable(models, unusedColumns, io));
      io.stdout(styled("Uses by other programs are known only for models that ollm saw in memory.\n", "dim", io));
    }
    // Models may share their weights.
    if (yes !== true) await agree(`Delete ${them} (up to ${bytes}) from disk?`, io);
    // It may have taken a while to answer.
    const still = new Set((await found()).map(({ name }) => name));
    for (const { name } of models) {
      try {
        if (!still.has(name)) throw new OrchestratorError(`${name} is in use now`);
        const { structured, text } = await call("manage_model", { action: "delete", model: name, confirm: true });
        deleted.push({ model: name, freed_bytes: structured.freed_bytes ?? 0 });
        if (json !== true) io.stdout(`${oneLine(text)}\n`);
      } catch (error) {
        if (signal.aborted || !(error instanceof OrchestratorError)) throw error;
        kept.push({ model: name, error: error.message });
        if (json !== true) io.stderr(`${oneLine(name)} was not deleted: ${oneLine(error.message)}\n`);
      }
    }
    if (json === true) report();
    else io.stdout(`${deleted.length} of ${them} deleted, ${formatBytes(freedBytes())} freed\n`);
    return kept.length === 0 ? 0 : 1;
  });
}

/** `ollm show NAME`. */
export function showModel(name: string, options: { readonly json?: boolean }, io: CommandIo): Promise<number> {
  return withSession(io, {}, async ({ call }) => {
    const { structured } = await call("manage_model", { action: "show", model: name });
    show(structured, options, io, ({ model, details: known = {} }) =>
      renderFacts(
        Object.entries({ name: model, ...known }).map(([key, value]) => ({
          name: key.replaceAll("_", " ").replace(/ bytes$/, ""),
          value: valueText(key, value),
        })),
        io,
      ),
    );
    return 0;
  });
}

function valueText(key: string, value: unknown): string {
  if (typeof value === "number" && key.endsWith("_bytes")) return formatBytes(value);
  if (typeof value === "string" && /_(?:at|since)$/.test(key)) return localTime(value);
  if (Array.isArray(value)) return value.join(", ");
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** Prints a value: with `--json` as one JSON value, else as `text` renders it, with its line ends. */
export function show<Value>(
  value: Value,
  options: { readonly json?: boolean | undefined },
  io: Pick<CommandIo, "stdout">,
  text: (value: Value) => string,
): void {
  io.stdout(options.json === true ? `${jsonText(value, 2)}\n` : text(value));
}

interface PullFlags {
  readonly engine?: string;
  readonly json?: boolean;
}

/** `ollm pull NAME`, with a progress bar, the speed and the remaining time. */
export function pullModel(name: string, options: PullFlags, io: CommandIo): Promise<number> {
  // A partial download is kept, and not listed as a model.
  const onInterrupt = `interrupted; run ollm pull ${name} again to continue`;
  return pull({ model: name, engine: options.engine }, onInterrupt, options, io);
}

/**
 * `ollm import FILE NAME`: adds a GGUF file (absolute path) to the model store, through the daemon, the only process
 * that writes to it.
 */
export function importModel(
  file: string,
  name: string,
  options: { readonly json?: boolean },
  io: CommandIo,
): Promise<number> {
  return pull({ model: name, from: file }, `the import of ${name} was cancelled`, options, io);
}

function pull(
  input: ToolInputs["pull_model"],
  onInterrupt: string,
  options: { readonly json?: boolean },
  io: CommandIo,
): Promise<number> {
  return withSession(io, { onInterrupt }, async ({ call }) => {
    const { structured, text } = await call("pull_model", input, { progress: "always" });
    show(structured, options, io, () => `${oneLine(text)}\n`);
    return 0;
  });
}

interface CreateOptions {
  readonly from: string;
  readonly system?: string;
  /** Each `name=value`. */
  readonly parameter?: readonly string[];
  /** Absolute. */
  readonly adapter?: string;
  readonly yes?: boolean;
  readonly json?: boolean;
}

/** `ollm create NAME --from MODEL`: asks before it replaces a model. */
export function createModel(name: string, options: CreateOptions, io: CommandIo): Promise<number> {
  return withSession(io, { onInterrupt: `interrupted: ${name} was not created` }, async ({ call }) => {
    const { structured, text } = await call("manage_model", {
      action: "create",
      model: name,
      base: options.from,
      system: options.system,
      parameters: options.parameter === undefined ? undefined : parametersOf(options.parameter),
      adapter: options.adapter,
      confirm: options.yes,
    });
    show(structured, options, io, () => `${oneLine(text)}\n`);
    return 0;
  });
}

/** Parses `name=value` pairs; a repeated name (`stop`) gets a list of values. Throws `InvalidRequest`. */
function parametersOf(words: readonly string[]): Readonly<Record<string, string | readonly string[]>> {
  const parameters = new Map<string, readonly string[]>();
  for (const word of words) {
    const [, name = "", value = ""] = /^([^=]+)=([\s\S]*)$/.exec(word) ?? [];
    if (name === "") throw new InvalidRequest(`--parameter ${word} is not NAME=VALUE`);
    parameters.set(name, [...(parameters.get(name) ?? []), value]);
  }
  return Object.fromEntries([...parameters].map(([name, values]) => [name, oneOrAll(values)]));
}

function oneOrAll(values: readonly string[]): string | readonly string[] {
  const [first = "", ...others] = values;
  return others.length === 0 ? first : values;
}

/** A page with models, and its address. */
interface SearchPage {
  readonly name: string;
  readonly url: string;
}

/** `ollm search WORDS`: prints addresses. The registries have no search interface to rely on, so nothing is sent. */
export function search(
  words: readonly string[],
  options: { readonly json?: boolean },
  io: Pick<CommandIo, "stdout">,
): Promise<number> {
  const query = words.join(" ").trim();
  const pages = searchPages(query);
  if (options.json === true) io.stdout(`${jsonText({ query, pages }, 2)}\n`);
  else {
    const lines = pages.map(({ name, url }) => `${name}:\n  ${url}\n`).join("");
    io.stdout(`${lines}To download one:\n  ollm pull NAME\n  ollm pull hf.co/OWNER/REPOSITORY\n`);
  }
  return Promise.resolve(0);
}

/** The pages that list models for a query; all models for an empty one. */
export function searchPages(query: string): readonly SearchPage[] {
  const isAll = query === "";
  const gguf = new URLSearchParams({ library: "gguf", ...(isAll ? {} : { search: query }) });
  return [
    {
      name: "Ollama's library",
      url: isAll
        ? "https://ollama.com/library"
        : `https://ollama.com/search?${new URLSearchParams({ q: query }).toString()}`,
    },
    { name: "GGUF models on Hugging Face", url: `https://huggingface.co/models?${gguf.toString()}` },
  ];
}
