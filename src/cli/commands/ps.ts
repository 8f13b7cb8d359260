import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { formatBytes } from "../../orchestrator/util/format-bytes.ts";
import type { ResourceData } from "../../resources/index.ts";
import type { ToolInputs } from "../../tools/index.ts";
import type { CommandIo } from "../terminal/io.ts";
import { duration } from "../terminal/progress-line.ts";
import { renderPlannedLoad } from "./load-plan.ts";
import { withSession } from "../terminal/session.ts";
import { show } from "./show.ts";
import { renderTable, type Column } from "../terminal/table.ts";
import { hanging, styled } from "../terminal/terminal-text.ts";
import { oneLine } from "../../orchestrator/util/control-characters.ts";
import { counted } from "../../orchestrator/util/counted.ts";

type RamReading = ResourceData["ollm://status/ram"];
type LoadedRow = RamReading["loaded"][number];

/** `ollm ps`. */
export function listLoaded(options: { readonly json?: boolean }, io: CommandIo): Promise<number> {
  return withSession(io, {}, async ({ read }) => {
    show(await read("ollm://status/ram"), options, io, (ram) => renderLoaded(ram, io, Date.now()));
    return 0;
  });
}

/** Loaded models as a table, with a line about memory. */
export function renderLoaded(ram: RamReading, io: CommandIo, nowMs: number): string {
  const columns: readonly Column<LoadedRow>[] = [
    { title: "NAME", text: ({ name, also_answers_for = [] }) => [name, ...also_answers_for].join(", ") },
    { title: "MEMORY", text: ({ bytes }) => formatBytes(bytes), isNumber: true },
    {
      title: "UNTIL",
      text: (row) => untilText(row, nowMs),
      style: (row) => (row.is_pinned === true ? "cyan" : undefined),
    },
    { title: "USED", text: (row) => usedText(row, nowMs), isExtra: 1 },
    { title: "CONTEXT", text: ({ context_tokens }) => String(context_tokens ?? ""), isNumber: true, isExtra: 1 },
    { title: "ENGINE", text: ({ engine }) => engine, isExtra: 2 },
  ];
  const table = ram.loaded.length === 0 ? "No models are loaded.\n" : renderTable(ram.loaded, columns, io);
  const swap = ram.swap_used_bytes > 0 ? `, swap ${formatBytes(ram.swap_used_bytes)}` : "";
  const memory = `${formatBytes(ram.available_bytes)} of ${formatBytes(ram.total_bytes)} RAM available${swap}`;
  const cards = ram.gpus.flatMap(({ name, total_bytes, free_bytes }) =>
    free_bytes === undefined ? [] : [`; ${formatBytes(free_bytes)} of ${formatBytes(total_bytes)} free on ${name}`],
  );
  const warning = ram.warning === undefined ? "" : `${styled(hanging("! ", ram.warning, io), "yellow", io)}\n`;
  const sum = ram.loaded.reduce((bytes, model) => bytes + model.bytes, 0);
  const total = ram.loaded.length === 0 ? "" : `total ${formatBytes(sum)} in ${counted(ram.loaded.length, "model")}; `;
  return `${table}${styled(hanging("", `${total}${memory}${cards.join("")}`, io), "dim", io)}\n${warning}`;
}

function usedText({ last_used_at }: LoadedRow, nowMs: number): string {
  if (last_used_at === undefined) return "";
  const seconds = Math.max(0, (nowMs - Date.parse(last_used_at)) / 1_000);
  return seconds < 1 ? "now" : `${duration(seconds)} ago`;
}

function untilText({ is_pinned, expires_at }: LoadedRow, nowMs: number): string {
  if (is_pinned === true) return "pinned";
  if (expires_at === undefined) return "";
  const seconds = (Date.parse(expires_at) - nowMs) / 1_000;
  // An engine that never unloads reports a date centuries ahead.
  if (!Number.isFinite(seconds) || seconds > 10 * 365 * 86_400) return "always";
  return seconds <= 0 ? "now" : `in ${duration(seconds)}`;
}

/** `ollm load NAME`. The exit code of a dry run is 1 if the model does not fit. */
export function loadModel(
  name: string,
  options: {
    readonly contextSize?: number;
    readonly dryRun?: boolean;
    readonly pin?: boolean;
    readonly json?: boolean;
  },
  io: CommandIo,
): Promise<number> {
  return withSession(io, {}, async ({ call }) => {
    const input = { model: name, context_tokens: options.contextSize, dry_run: options.dryRun };
    const { structured, text } = await call("smart_load", input);
    const isPinning = options.pin === true && options.dryRun !== true;
    if (isPinning) await call("manage_model", { action: "pin", model: name });
    show(structured, options, io, (answer) =>
      options.dryRun === true ? renderPlannedLoad(answer, io) : `${oneLine(text)}${isPinning ? ", and pinned" : ""}\n`,
    );
    return options.dryRun === true && structured.plan?.fits === false ? 1 : 0;
  });
}

/** `ollm unload NAME` or `--all`. */
export function unloadModels(
  name: string | undefined,
  options: { readonly all?: boolean; readonly json?: boolean },
  io: CommandIo,
): Promise<number> {
  return withSession(io, {}, async ({ call }) => {
    if ((name === undefined) === (options.all !== true)) {
      throw new InvalidRequest("unload needs either a model or --all", {
        next: advice("run `ollm ps` to see the loaded models"),
      });
    }
    const input: ToolInputs["manage_model"] =
      name === undefined ? { action: "unload_all" } : { action: "unload", model: name };
    const { structured, text } = await call("manage_model", input);
    show(structured, options, io, () => `${oneLine(text)}\n`);
    return 0;
  });
}

/** `ollm pin NAME`, `ollm unpin NAME`. */
export function pinModel(
  action: "pin" | "unpin",
  name: string,
  options: { readonly json?: boolean },
  io: CommandIo,
): Promise<number> {
  return withSession(io, {}, async ({ call }) => {
    const { structured, text } = await call("manage_model", { action, model: name });
    show(structured, options, io, () => `${oneLine(text)}\n`);
    return 0;
  });
}
