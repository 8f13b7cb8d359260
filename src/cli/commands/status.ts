import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { oneLine } from "../../orchestrator/util/control-characters.ts";
import { counted, formatBytes, formatConnections } from "../../orchestrator/util/format-bytes.ts";
import type { ResourceData } from "../../resources/index.ts";
import type { ToolAnswers } from "../../tools/index.ts";
import type { CommandIo, JsonOption, Options } from "../terminal/io.ts";
import { duration } from "../terminal/progress-line.ts";
import { showCall, showRead, withSession } from "../terminal/session.ts";
import { type Column, type Fact, renderFacts, renderTable, show, hanging, styled } from "../terminal/terminal-text.ts";
import { type ShellCommand, numberBetween } from "./options.ts";

/** The commands for loaded models and memory. */
export function addLoaded(program: ShellCommand): void {
  program.commandsGroup("Loaded models:");
  program.command("ps").does(listLoaded);

  program
    .command("load")
    .argument("<model>", "a model")
    .option("--context-size <tokens>", "minimum context window", numberBetween(1, 100_000_000, "whole"))
    .option("--dry-run", "only show whether it fits and what would be unloaded")
    .option("--pin", "pin it, as ollm pin does")
    .does(loadModel);

  program.command("unload").argument("[model]", "a model").option("--all", "unload all models").does(unloadModels);

  program
    .command("stop")
    .argument("[model]", "a model to unload (default: the daemon)")
    .option("-y, --yes", "stop the daemon without asking")
    .does(async (name: string | undefined, options: { yes?: boolean; json?: boolean }, io: CommandIo) =>
      name === undefined
        ? (await import("./daemon.ts")).daemonStopAsking(options, io)
        : unloadModels(name, options, io),
    );

  for (const action of ["pin", "unpin"] as const) {
    program
      .command(action)
      .argument("<model>", "a model")
      .does((name: string, options: JsonOption, io: CommandIo) => pinModel(action, name, options, io));
  }

  program
    .command("decisions")
    .option("-n, --limit <number>", "only the newest N", numberBetween(1, 200, "whole"))
    .does(listDecisions);
}

/** `ollm status`. */
export function addStatus(program: ShellCommand): void {
  program.command("status").does(status);
}

/** `ollm status`. */
function status(options: JsonOption, io: CommandIo): Promise<number> {
  return withSession(io, {}, async ({ call, isNews }) => {
    const { structured } = await call("system_status", {});
    show(structured, options, io, (now) =>
      renderStatus({ ...now, warnings: (now.warnings ?? []).filter((warning) => isNews(warning)) }, io),
    );
  });
}

export function renderStatus(now: ToolAnswers["system_status"], io: CommandIo): string {
  const { ram } = now;
  const swap = ram.swap_used_bytes > 0 ? `, swap ${formatBytes(ram.swap_used_bytes)}` : "";
  const loaded = now.loaded.map(
    ({ name, bytes, is_pinned }) => `${name} ${formatBytes(bytes)}${is_pinned === true ? " (pinned)" : ""}`,
  );
  const facts: readonly Fact[] = [
    ["memory", `${formatBytes(ram.available_bytes)} of ${formatBytes(ram.total_bytes)} available${swap}`],
    ...(now.gpus ?? []).map(({ name, total_bytes, free_bytes }): Fact => {
      const free = free_bytes === undefined ? "" : `${formatBytes(free_bytes)} free of `;
      return ["card", `${name}, ${free}${formatBytes(total_bytes)}`];
    }),
    ["loaded", loaded.join(", ") || "nothing"],
    ...now.engines.flatMap(({ id, health, version, message, model_count, connections }): readonly Fact[] => {
      const parts = [health.replaceAll("_", " "), version, counted(model_count, "model"), message];
      return [
        [id, parts.filter((part) => part !== undefined).join("; "), health === "ok" ? "green" : "yellow"],
        ["", connections && formatConnections(connections)],
      ];
    }),
    ...(now.queue ?? []).map(({ model, running, waiting }): Fact => [
      "queue",
      `${model}: ${running} running, ${waiting} waiting`,
    ]),
    ...(now.operations ?? []).map(({ title, message }): Fact => ["running", message ?? title]),
    ["privacy", `${now.privacy.replaceAll("_", " ")}. ${now.remote_text}`],
    ["saved", now.savings && `${now.savings}: ollm stats --money`],
    ["dashboard", "ollm dashboard"],
    ["home", `${now.home} (version ${now.version})`],
  ];
  // Includes the warning about memory.
  const warnings = now.warnings ?? [];
  const warned = warnings.map((warning) => `${styled(hanging("! ", warning, io), "yellow", io)}\n`);
  return `${renderFacts(facts, io)}${warned.join("")}`;
}

type RamReading = ResourceData["ollm://status/ram"];
type LoadedRow = RamReading["loaded"][number];

/** `ollm ps`. */
function listLoaded(options: JsonOption, io: CommandIo): Promise<number> {
  return showRead(["ollm://status/ram"], options, io, (ram) => renderLoaded(ram, io, Date.now()));
}

/** Loaded models as a table, with a line about memory. */
export function renderLoaded(ram: RamReading, io: CommandIo, nowMs: number): string {
  const columns: readonly Column<LoadedRow>[] = [
    { title: "NAME", text: ({ name, also_answers_for = [] }) => [name, ...also_answers_for].join(", ") },
    { title: "MEMORY", text: ({ bytes }) => formatBytes(bytes), isNumber: true },
    { title: "ON", text: ({ processor }) => processor },
    {
      title: "UNTIL",
      text: (row) => untilText(row, nowMs),
      style: (row) => (row.is_pinned === true ? "cyan" : undefined),
    },
    { title: "USED", text: (row) => usedText(row, nowMs), isExtra: 1 },
    { title: "CONTEXT", text: ({ context_tokens }) => context_tokens, isNumber: true, isExtra: 1 },
    { title: "LAST PROMPT", text: ({ last_prompt }) => last_prompt, isExtra: 3 },
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
function loadModel(
  name: string,
  options: Options<{ switch: "dryRun" | "pin" | "json"; number: "contextSize" }>,
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
export async function unloadModels(
  name: string | undefined,
  options: Options<{ switch: "all" | "json" }>,
  io: CommandIo,
): Promise<number> {
  if ((name === undefined) === (options.all !== true)) {
    throw new InvalidRequest("unload needs either a model or --all", {
      next: advice("run `ollm ps` to see the loaded models"),
    });
  }
  const action = name === undefined ? "unload_all" : "unload";
  return showCall("manage_model", { action, model: name }, options, io);
}

/** `ollm pin NAME`, `ollm unpin NAME`. */
export function pinModel(action: "pin" | "unpin", name: string, options: JsonOption, io: CommandIo): Promise<number> {
  return showCall("manage_model", { action, model: name }, options, io);
}

/** Sources of an estimate. */
const origins: Readonly<Record<string, string>> = {
  configured: "from the settings",
  learned: "as reported by the engine for an earlier load",
  simulated: "simulated by the engine's own allocator",
  computed: "computed from the model's metadata",
  size_rule: "from the file size only",
};

/** The verdict, the calculation with a line for each step, and the source of the estimate. */
export function renderPlannedLoad(
  { model, loaded, method, margin, parts, plan }: ToolAnswers["smart_load"],
  io: Pick<CommandIo, "columns">,
): string {
  if (plan === undefined) return "";
  // Loaded, remote or without an estimate: one sentence.
  if (loaded || plan.needed_bytes === 0 || plan.steps.length === 1) return `${oneLine(plan.steps.join("; "))}\n`;
  const made = Object.entries(parts ?? {}).flatMap(([name, bytes]) =>
    bytes === undefined ? [] : [`${name} ${formatBytes(bytes)}`],
  );
  const estimate = `${origins[method] ?? method}${margin > 0 ? `, ±${Math.round(margin * 1_000) / 10} %` : ""}`;
  return [
    `${oneLine(model)} ${plan.fits ? "fits" : "does not fit"}`,
    ...plan.steps.map((step) => hanging("  ", step, io)),
    hanging("estimate ", `${estimate}${made.length === 0 ? "" : `: ${made.join(", ")}`}`, io),
    ...(plan.warnings ?? []).map((warning) => hanging("! ", warning, io)),
    "",
  ].join("\n");
}

/** `ollm decisions`: the newest `limit` decisions, newest last, as in a log. */
function listDecisions(options: Options<{ switch: "json"; number: "limit" }>, io: CommandIo): Promise<number> {
  return withSession(io, {}, async ({ read }) => {
    const { decisions } = await read("ollm://decisions");
    const wanted = { decisions: decisions.slice(0, options.limit) };
    show(wanted, options, io, (found) => renderDecisions(found.decisions, io, Date.now()));
  });
}

/** With dates for decisions of earlier days. */
export function renderDecisions(
  decisions: readonly ResourceData["ollm://decisions"]["decisions"][number][],
  io: CommandIo,
  nowMs: number,
): string {
  if (decisions.length === 0) return "No models were loaded or unloaded since the daemon started.\n";
  return decisions
    .toReversed()
    .map(({ at, kind, model, steps }) => {
      const head = `${clockTime(new Date(at), new Date(nowMs))}  ${styled(kind, colours[kind] ?? "cyan", io)} ${oneLine(model)}`;
      return [head, ...steps.map((step) => hanging("          ", step, io))].join("\n") + "\n";
    })
    .join("");
}

/** `19:38:40`, or `2026-11-20 19:38:40`, in the local time zone. */
function clockTime(at: Date, now: Date): string {
  // The Swedish form of a date is that of ISO 8601.
  return at.toDateString() === now.toDateString() ? at.toLocaleTimeString("sv") : at.toLocaleString("sv");
}

const colours: Readonly<Record<string, "green" | "yellow" | "red">> = {
  load: "green",
  wait: "yellow",
  replan: "yellow",
  refuse: "red",
  fail: "red",
};
