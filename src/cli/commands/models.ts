import { readdir, rm, stat } from "node:fs/promises";
import path from "node:path";
import { OrchestratorError } from "../../orchestrator/api/errors.ts";
import { oneLine } from "../../orchestrator/util/control-characters.ts";
import { counted, formatBytes, localTime } from "../../orchestrator/util/format-bytes.ts";
import type { ResourceData } from "../../resources/index.ts";
import type { ToolAnswers } from "../../tools/index.ts";
import { type CommandIo, agree, homeOf, type JsonOption, type Options } from "../terminal/io.ts";
import { showCall, withSession } from "../terminal/session.ts";
import { type Column, renderFacts, renderTable, show, hanging, styled } from "../terminal/terminal-text.ts";
import { type ShellCommand, numberBetween, repeated } from "./options.ts";

/** The commands that manage models. */
export function addModels(program: ShellCommand): void {
  program.commandsGroup("Models:");
  program
    .command("models")
    .aliases(["ls", "list"])
    .argument("[query]", "part of a name or family")
    .option("-a, --all", "list all (default: the first 50)")
    .option("-v, --verbose", "show parameters, quantization, context window and speed, too")
    .does(listModels);

  program
    .command("pull")
    .argument("<name>", "an Ollama name (smollm2:135m) or hf.co/<owner>/<repository>")
    .option("--engine <engine>", "ollama or llama-cpp (default: chosen)")
    .does(pullModel);

  program
    .command("import")
    .argument("<file>", "a GGUF file")
    .argument("<name>", "its new name: my-model, my-model:7b")
    .does(importModel);

  program
    .command("create")
    .argument("<name>", "its new name: my-model, my-model:7b")
    .option("--from <model>", "an installed model, whose weights are shared")
    .option("-f, --file <modelfile>", "read it all from a Modelfile: FROM, SYSTEM, PARAMETER, TEMPLATE, ADAPTER")
    .option("--system <text>", "system prompt, replacing that of the base model")
    .option("--parameter <name=value>", "such as temperature=0.2 or stop=END; repeatable", repeated)
    .option("--adapter <file>", "LoRA adapter (GGUF)")
    .option("-y, --yes", "replace a model of that name without asking")
    .loads(async () => (await import("./modelfile.ts")).createModel);

  program
    .command("rm")
    .argument("<model...>", "models")
    .option("-y, --yes", "delete without asking")
    .does(removeModels);

  program.command("show").argument("<model>", "a model").does(showModel);

  program
    .command("tidy")
    .option("--days <number>", "not used for that many days", numberBetween(1, 400, "whole"), 30)
    .option("--prompts", "list the prompts that the embedded engine has on disk, and delete those")
    .option("-y, --yes", "delete without asking")
    .does((options: TidyOptions, io: CommandIo) =>
      options.prompts === true ? tidyPrompts(options, io) : tidyModels(options, io),
    );
}

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
  { title: "PARAMETERS", text: ({ parameter_size }) => parameter_size, isNumber: true, isExtra: 5 },
  { title: "QUANT", text: ({ quantization }) => quantization, isExtra: 4 },
  { title: "CONTEXT", text: ({ context_tokens }) => context_tokens, isNumber: true, isExtra: 3 },
  { title: "TOKENS/S", text: speedOf, isNumber: true, isExtra: 1 },
];

/** `ollm models [query]`. */
export function listModels(
  query: string | undefined,
  options: Options<{ switch: "all" | "verbose" | "json" }>,
  io: CommandIo,
): Promise<number> {
  return showCall(
    "list_models",
    { query, verbose: options.verbose, limit: options.all === true ? allModels : undefined },
    options,
    io,
    (list) => renderModels(list, query, options.verbose === true, io),
  );
}

/** Models as a table; without any, how to get one. */
export function renderModels(list: ModelListing, query: string | undefined, isVerbose: boolean, io: CommandIo): string {
  const { models, total } = list;
  const others = "All models: ollm models; another one: ollm pull NAME\n";
  if (models.length === 0)
    return query === undefined ? noModels(list, io) : `No model matches "${oneLine(query)}". ${others}`;
  const table = renderTable(models, isVerbose ? [...columns, ...details] : columns, io);
  const more = total - models.length;
  return more > 0 ? `${table}${styled(`${more} more: ollm models --all`, "dim", io)}\n` : table;
}

/** How to get a first model, and what else there is. */
function noModels({ suggestion, unreachable = [] }: ModelListing, io: CommandIo): string {
  if (suggestion === undefined) return "No models are installed. To get one:\n  ollm pull NAME\n";
  const found = unreachable.length === 0 ? "No models are installed." : `${unreachable.map(oneLine).join("; ")}.`;
  const lines = suggestion.reason.split("\n").map((line) => `${hanging("  ", line, io)}\n`);
  return `${hanging("", `${found} ${unreachable.length === 0 ? "To get one" : "Or pull a model"}:`, io)}\n  ollm pull ${oneLine(suggestion.model)}\n${lines.join("")}`;
}

/** The measured speed, else the expected one, marked. */
function speedOf({ tokens_per_second: measured, expected_tokens_per_second: expected }: ModelRow) {
  return measured ?? (expected && `~${expected}`);
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
function removeModels(
  names: readonly string[],
  options: Options<{ switch: "yes" | "json" }>,
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
  });
}

const unusedColumns: readonly Column<ResourceData["ollm://metrics"]["unused"][number]>[] = [
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

type TidyOptions = Options<{ switch: "json" | "prompts" | "yes" }> & { readonly days: number };

/** The prompts of one model on disk. A folder's name begins with the digest of its weights. */
async function promptsIn(folder: string, names: ReadonlyMap<string, string>) {
  const [digest = ""] = path.basename(folder).split("-");
  // It may be a file, and a model that runs deletes some.
  const files = (await readdir(folder).catch(() => [])).filter((name) => /\.(?:state|part)$/.test(name));
  const found = (await Promise.all(files.map((name) => stat(path.join(folder, name)).catch(() => [])))).flat();
  const usedMs = Math.max(0, ...found.map(({ mtimeMs }) => mtimeMs));
  return {
    model: names.get(digest) ?? digest,
    count: found.length,
    bytes: found.reduce((sum, { size }) => sum + size, 0),
    last_used_at: new Date(usedMs).toISOString(),
  };
}

const promptColumns: readonly Column<Awaited<ReturnType<typeof promptsIn>>>[] = [
  { title: "MODEL", text: ({ model }) => model },
  { title: "PROMPTS", text: ({ count }) => count, isNumber: true },
  { title: "SIZE", text: ({ bytes }) => formatBytes(bytes), isNumber: true },
  { title: "LAST USED", text: ({ last_used_at }) => localTime(last_used_at) },
];

/** `ollm tidy --prompts`: lists what the embedded engine has on disk of prompts, asks, and deletes it. */
function tidyPrompts({ yes, json }: TidyOptions, io: CommandIo): Promise<number> {
  return withSession(io, {}, async ({ call }) => {
    const folder = path.join(homeOf(io), "cache", "prompts");
    const { models } = (await call("list_models", { limit: allModels })).structured;
    const names = new Map<string, string>();
    for (const { name } of models.filter((each) => each.engine === "llama-cpp")) {
      const shown = await call("manage_model", { action: "show", model: name }).catch(() => undefined);
      const digest = shown?.structured.details?.digest?.replace(/^sha256:/, "").slice(0, 16);
      if (digest !== undefined) names.set(digest, name);
    }
    const folders = await readdir(folder).catch(() => []);
    const all = await Promise.all(folders.map((name) => promptsIn(path.join(folder, name), names)));
    const prompts = all.filter(({ count }) => count > 0);
    const bytes = prompts.reduce((sum, each) => sum + each.bytes, 0);
    if (json !== true)
      io.stdout(prompts.length === 0 ? "No prompts are on disk.\n" : renderTable(prompts, promptColumns, io));
    if (prompts.length > 0) {
      if (yes !== true) await agree(`Delete them (${formatBytes(bytes)})?`, io);
      await rm(folder, { recursive: true, force: true, maxRetries: 3 });
      if (json !== true) io.stdout(`${formatBytes(bytes)} freed\n`);
    }
    if (json === true) show({ prompts, freed_bytes: bytes }, { json }, io, () => "");
  });
}

/** `ollm tidy`: lists the models that were not used for `days`, asks, and deletes them in order, whichever fail. */
function tidyModels({ days, yes, json }: TidyOptions, io: CommandIo): Promise<number> {
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
function showModel(name: string, options: JsonOption, io: CommandIo): Promise<number> {
  return showCall("manage_model", { action: "show", model: name }, options, io, ({ model, details: known = {} }) =>
    renderFacts(
      Object.entries({ name: model, ...known }).map(([key, value]) => [
        key.replaceAll("_", " ").replace(/ bytes$/, ""),
        valueText(key, value),
      ]),
      io,
    ),
  );
}

function valueText(key: string, value: unknown): string {
  if (typeof value === "number" && key.endsWith("_bytes")) return formatBytes(value);
  if (typeof value === "string" && /_(?:at|since)$/.test(key)) return localTime(value);
  if (Array.isArray(value)) return value.join(", ");
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** `ollm pull NAME`, with a progress bar, the speed and the remaining time. */
function pullModel(name: string, options: JsonOption & { readonly engine?: string }, io: CommandIo): Promise<number> {
  const input = { model: name, engine: options.engine };
  // A partial download is kept, and not listed as a model.
  const onInterrupt = `interrupted; run ollm pull ${name} again to continue`;
  return showCall("pull_model", input, options, io, undefined, { onInterrupt, progress: "always" });
}

/** `ollm import FILE NAME`: adds a GGUF file to the model store, through the daemon, the only process that writes to it. */
function importModel(file: string, name: string, options: JsonOption, io: CommandIo): Promise<number> {
  const input = { model: name, from: path.resolve(io.workingDirectory, file) };
  const onInterrupt = `the import of ${name} was cancelled`;
  return showCall("pull_model", input, options, io, undefined, { onInterrupt, progress: "always" });
}
