import { formatBytes } from "../../orchestrator/util/format-bytes.ts";
import type { ToolAnswers } from "../../tools/index.ts";
import type { CommandIo } from "../terminal/io.ts";
import { withSession } from "../terminal/session.ts";
import { show } from "./show.ts";
import { renderFacts, renderTable, type Column } from "../terminal/table.ts";
import { hanging, styled } from "../terminal/terminal-text.ts";
import { oneLine } from "../../orchestrator/util/control-characters.ts";
import { localTime } from "../../orchestrator/util/local-time.ts";

type ModelListing = ToolAnswers["list_models"];
type ModelRow = ModelListing["models"][number];

/** Lists every model. */
export const allModels = 1_000;

const columns: readonly Column<ModelRow>[] = [
  { title: "NAME", text: ({ name }) => name },
  {
    title: "SIZE",
    // Cloud models have no size; models of other machines have one.
    text: (model) => (model.is_remote === true && model.size_bytes === 0 ? "cloud" : formatBytes(model.size_bytes)),
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
