import { Option } from "commander";
import { oneLine } from "../../orchestrator/util/control-characters.ts";
import {
  formatBytes,
  formatDuration,
  formatAmount,
  formatCount,
  formatSavings,
  localTime,
} from "../../orchestrator/util/format-bytes.ts";
import { csvOf } from "../../orchestrator/util/values.ts";
import type { ResourceData } from "../../resources/index.ts";
import type { CommandIo, Options } from "../terminal/io.ts";
import { duration } from "../terminal/progress-line.ts";
import { withSession } from "../terminal/session.ts";
import { type Column, type Fact, renderFacts, renderTable, show, hanging, styled } from "../terminal/terminal-text.ts";
import type { ShellCommand } from "./options.ts";

/** `ollm stats`. */
export function addStats(program: ShellCommand): void {
  program
    .command("stats")
    .addOption(
      new Option("--by <name>", "one table: model, client, task, day, profile or engine")
        .choices(["model", "client", "task", "day", "profile", "engine"])
        .conflicts(["money", "csv"]),
    )
    .option("--money", "what was saved: today, this month and in all, by task and client, with the formula")
    .addOption(
      new Option(
        "--requests [filter]",
        "the last requests, newest first; filter: model=NAME&client=NAME&task=NAME&outcome=failed&from=TIME&to=TIME&limit=N&by=model,client",
      ).conflicts(["money", "by"]),
    )
    .addOption(new Option("--csv", "print the rows of --money or --requests as CSV").conflicts("json"))
    .does(stats);
}

type Metrics = ResourceData["ollm://metrics"];
type Figures = Metrics["total"];
type Dimension = keyof Metrics["by"];
/** `version`: of a client, at its last request that is kept. Groups of requests have neither a history nor a last use. */
type Named = Pick<Figures, "requests" | "answered" | "failed" | "total_ms" | "first_token_ms"> &
  Pick<Figures, "prompt_tokens" | "completion_tokens" | "tokens_per_second" | "last_used_at"> & {
    readonly name: string;
    readonly version?: string;
    readonly history?: readonly number[];
  };
type Money = Metrics["money"];
type View = Pick<CommandIo, "columns" | "hasColour" | "environment" | "platform">;

const requestsUri = "ollm://requests{?model,client,task,trace,outcome,from,to,limit,before,by}";
type Requests = ResourceData[typeof requestsUri];
type RequestRow = Requests["requests"][number];
type Flags = Options<{ switch: "money" | "csv" | "json" }> & {
  readonly by?: Dimension;
  readonly requests?: string | true;
};

/** `ollm stats`. */
function stats({ requests, by, money, csv, json }: Flags, io: CommandIo): Promise<number> {
  return withSession(io, {}, async ({ read }) => {
    if (requests !== undefined) {
      const filter = requests === true ? "" : requests;
      const page = await read(requestsUri, filter);
      if (csv === true) io.content(requestsCsv(page));
      else show(page, { json }, io, () => renderRequests(page, io));
      return;
    }
    const metrics = await read("ollm://metrics");
    const { money: _money, ...figures } = metrics;
    const nowMs = Date.now();
    if (csv === true) io.content(moneyCsv(metrics.money));
    else if (money === true) show(moneyBill(metrics.money), { json }, io, () => renderMoney(metrics.money, io));
    else if (by === undefined) show(figures, { json }, io, () => renderStats(metrics, io, nowMs));
    else {
      const { since } = metrics;
      const kept = by === "client" ? await read(requestsUri, "limit=1000") : undefined;
      const rows = metrics.by[by].map((row) => {
        const last = kept?.requests.find((each) => each.client === row.name && each.client_version !== undefined);
        return { ...row, ...(last?.client_version !== undefined && { version: last.client_version }) };
      });
      show({ since, by, rows }, { json }, io, () => renderBy(rows, by, io, nowMs));
    }
  });
}

/** Requests, times and tokens in all and by model; memory, unloads and advice. */
export function renderStats(metrics: Metrics, io: View, nowMs: number): string {
  const { total, by, memory, evictions, since, money, advice } = metrics;
  if (total.requests === 0) return nothingYet("Nothing was counted yet.", io);
  const times = (name: string, { count, p50, p95 }: Figures["total_ms"]): Fact[] =>
    count === 0 ? [] : [[name, `${formatDuration(p50)}, p95 ${formatDuration(p95)}`]];
  const others = [
    `${formatCount(total.answered)} answered`,
    ...counted(total.failed, "failed"),
    ...counted(total.cancelled, "cancelled"),
    ...counted(total.fallbacks, "fell back to another model"),
  ];
  const read = `${formatCount(total.prompt_tokens)} read${cachedOf(total)}`;
  const perSecond = speed(total) === "" ? "" : `, ${speed(total)} per second`;
  const facts: readonly Fact[] = [
    ["requests", `${formatCount(total.requests)} since ${localTime(since).slice(0, 10)}: ${others.join(", ")}`],
    ["success", success(total), total.failed > 0 ? "yellow" : "green"],
    ...Object.entries(total.errors).map(([kind, count]): Fact => [
      "",
      `${formatCount(count)} × ${kind.replaceAll("_", " ")}`,
    ]),
    ...times("first token", total.first_token_ms),
    ...times("request", total.total_ms),
    ...times("failure", total.failed_ms),
    ...times("comparison", total.compared_ms),
    ...times("queue", total.queue_ms),
    ...times("load", total.load_ms),
    ["tokens", `${read}, ${formatCount(total.completion_tokens)} written${perSecond}`],
    ["memory", memoryText(memory, io)],
    ["saved", money.rows.length === 0 ? undefined : `${savedThisMonth(money)}: ollm stats --money`],
  ];
  const unloads = evictions.map(({ model, kind, count }) =>
    hanging("unloaded  ", `${oneLine(model)}: ${formatCount(count)} × ${reasons[kind] ?? kind}`, io),
  );
  const advised = advice.map(({ text, next }) => styled(hanging("! ", `${text}. ${next}`, io), "yellow", io));
  const lines = [...unloads, ...advised].map((line) => `${line}\n`).join("");
  return `${renderFacts(facts, io)}\n${renderBy(by.model, "model", io, nowMs)}${lines === "" ? "" : `\n${lines}`}`;
}

function savedThisMonth({ month, currency, reference }: Money): string {
  const { total: amount, spent, local_tokens: localTokens } = month;
  return formatSavings({ amount, currency, spent, localTokens, reference: reference.model });
}

/** Why a model was unloaded. */
const reasons: Readonly<Record<string, string>> = {
  load: "to make room",
  expire: "idle",
  unload: "on request",
};

function memoryText(memory: Metrics["memory"], io: View): string | undefined {
  const last = memory.at(-1);
  if (last === undefined) return undefined;
  const bytes = memory.map(({ model_bytes }) => model_bytes);
  const line = sparkline(bytes, io);
  // A family, such as llama, is no model.
  const families = Object.entries(last.by_type).map(([family, size]) => `${family} family ${formatBytes(size)}`);
  const most = formatBytes(bytes.reduce((a, b) => Math.max(a, b), 0));
  const now = families.length === 0 ? "no models" : families.join(", ");
  return `${line} ${now}; at most ${most}`;
}

function renderBy(rows: readonly Named[], by: string, io: View, nowMs: number): string {
  if (rows.length === 0) return nothingYet(`Nothing was counted by ${by} yet.`, io);
  const p = (pick: (row: Named) => Figures["total_ms"], which: "p50" | "p95") => (row: Named) =>
    pick(row).count === 0 ? "" : formatDuration(pick(row)[which]);
  const columns: readonly Column<Named>[] = [
    {
      title: by.toUpperCase(),
      text: ({ name, version = "" }) => `${name} ${version}`.trimEnd(),
    },
    { title: "REQUESTS", text: ({ requests }) => formatCount(requests), isNumber: true },
    { title: "OK", text: success, isNumber: true, style: ({ failed }) => (failed > 0 ? "yellow" : undefined) },
    { title: "P50", text: p((row) => row.total_ms, "p50"), isNumber: true },
    { title: "P95", text: p((row) => row.total_ms, "p95"), isNumber: true, isExtra: 2 },
    { title: "FIRST", text: p((row) => row.first_token_ms, "p50"), isNumber: true, isExtra: 5 },
    { title: "P95", text: p((row) => row.first_token_ms, "p95"), isNumber: true, isExtra: 6 },
    { title: "READ", text: ({ prompt_tokens }) => formatCount(prompt_tokens), isNumber: true, isExtra: 3 },
    { title: "WRITTEN", text: ({ completion_tokens }) => formatCount(completion_tokens), isNumber: true, isExtra: 3 },
    { title: "TOK/S", text: speed, isNumber: true, isExtra: 4 },
    { title: by === "day" ? "BY HOUR" : "BY DAY", text: ({ history = [] }) => sparkline(history, io), isExtra: 1 },
    { title: "USED", text: (row) => ago(row, nowMs), isExtra: 7 },
  ];
  return renderTable(rows, columns, io);
}

/** Sums with the formula below them, in all, by task and by client. */
export function renderMoney(money: Money, io: View): string {
  const { currency, formula, rows, today, month, total } = money;
  if (rows.length === 0) return nothingYet("No tokens of local models are counted yet.", io);
  const value = (sum: Money["total"]): string =>
    [
      formatAmount(sum.total, currency),
      `${formatCount(sum.local_tokens)} local tokens`,
      ...(sum.spent === 0
        ? []
        : [`${formatAmount(sum.saved, currency)} less ${formatAmount(sum.spent, currency)} paid`]),
      ...(sum.other_spent ?? []).map(
        (other) => `${formatAmount(other.amount, other.currency)} paid is not subtracted: another currency`,
      ),
    ].join("; ");
  const { never_sent_tokens: neverSent, read_tokens: read } = month;
  const unsent = `${formatCount(neverSent)} tokens`;
  const facts: readonly Fact[] = [
    // The day of a daemon in another time zone began at another hour.
    [localTime(today.from).replace(/^.* /, "since ").replace("since 00:00", "today"), value(today), "green"],
    ["month", value(month), "green"],
    ["total", value(total), "green"],
    ["answers", read === 0 ? undefined : `${formatCount(read)} tokens read by assistants this month; subtracted`],
    ["files", neverSent === 0 ? undefined : `${unsent} read here this month, never sent; not part of these sums`],
  ];
  const tables = (["task", "client"] as const).map((key) => moneyTable(key, money, io));
  const open = "All rows: ollm stats --money --csv (or --json)";
  return `${renderFacts(facts, io)}\n${tables.join("\n")}\n${hanging("", formula, io)}\n${styled(hanging("", open, io), "dim", io)}\n`;
}

function moneyTable(key: "task" | "client", { rows, today, currency }: Money, io: View): string {
  const names = [...new Set(rows.map((row) => row[key]))];
  const lines = names.map((name) => {
    const isOwn = (row: Money["rows"][number]) => row[key] === name && row.currency === undefined;
    const own = rows.filter(isOwn);
    const shown = (some: Money["rows"]): string => formatAmount(sumOf(some), currency);
    const local = own.filter(({ kind }) => kind === "prompt" || kind === "answer");
    return {
      name,
      tokens: local.reduce((total, row) => total + row.tokens, 0),
      today: shown(own.filter((row) => row.day === today.day)),
      month: shown(own.filter((row) => row.day.startsWith(today.day.slice(0, "2026-11".length)))),
      total: shown(own),
      order: sumOf(own),
    };
  });
  const columns: readonly Column<(typeof lines)[number]>[] = [
    { title: key.toUpperCase(), text: ({ name }) => name },
    { title: "LOCAL TOKENS", text: ({ tokens }) => formatCount(tokens), isNumber: true, isExtra: 2 },
    { title: "TODAY", text: (line) => line.today, isNumber: true, isExtra: 1 },
    { title: "MONTH", text: (line) => line.month, isNumber: true },
    { title: "TOTAL", text: ({ total }) => total, isNumber: true },
  ];
  return renderTable(
    lines.toSorted((a, b) => b.order - a.order),
    columns,
    io,
  );
}

/** In whole billionths, as the amounts are: sums of fractions drift. */
function sumOf(rows: Money["rows"]): number {
  return rows.reduce((sum, { amount }) => sum + Math.round(amount * 1e9), 0) / 1e9;
}

/** What `--json` prints. */
function moneyBill({ total, currency, formula, rows }: Money) {
  return { total: total.total, currency, formula, rows };
}

/** The rows of the bill as CSV. */
export function moneyCsv({ rows, currency }: Money): string {
  const lines = rows.map(({ day, task, client, kind, tokens, ...row }) => {
    const money = [decimal(row.price_per_million), decimal(row.amount), row.currency ?? currency];
    // A row may be of a month.
    const from = new Date(`${`${day}-01`.slice(0, "2026-11-23".length)}T00:00`).toISOString();
    return [...[day, from, task, client, kind].map(oneLine), tokens, ...money];
  });
  return csvOf([
    ["day", "from", "task", "client", "kind", "tokens", "price_per_million", "amount", "currency"],
    ...lines,
  ]);
}

/** One line for each request, and how to see those before them; or one for each group. */
export function renderRequests({ requests, total, before, groups, group_total: all = 0 }: Requests, io: View): string {
  if (total === 0) return nothingYet("No request is kept that matches.", io);
  if (groups !== undefined) {
    const shown = `${groups.length} of ${formatCount(all)} groups, ${formatCount(total)} requests; --json has all figures`;
    const rows = groups.map((group) => {
      const names = Object.entries(group).flatMap(([, value]) => (typeof value === "string" ? value || "none" : []));
      return { ...group, name: names.join(", "), tokens_per_second: group.tokens_per_second.p50 };
    });
    return `${renderBy(rows, "group", io, 0)}${styled(hanging("", shown, io), "dim", io)}\n`;
  }
  const columns: readonly Column<RequestRow>[] = [
    { title: "TIME", text: ({ started_at }) => localTime(started_at) },
    { title: "CLIENT", text: ({ client }) => client, isExtra: 3 },
    { title: "TASK", text: ({ task }) => task, isExtra: 2 },
    { title: "MODEL", text: ({ model }) => model },
    { title: "OUTCOME", text: ({ outcome }) => outcome, style: ({ outcome }) => outcomeStyle(outcome) },
    { title: "FIRST", text: (row) => formatDuration(row.first_token_ms), isNumber: true, isExtra: 5 },
    { title: "TOTAL", text: (row) => formatDuration(row.total_ms), isNumber: true, isExtra: 1 },
    {
      title: "TOKENS",
      text: (row) => formatCount(row.prompt_tokens + row.completion_tokens),
      isNumber: true,
      isExtra: 4,
    },
    {
      title: "COST",
      text: ({ cost = [] }) => cost.map((each) => formatAmount(each.amount, each.currency)).join(" + "),
      isNumber: true,
      isExtra: 6,
    },
  ];
  const shown = `${requests.length} of ${formatCount(total)} requests`;
  const older = before === undefined ? shown : `${shown}; for older ones add before=${before} to the filter`;
  return `${renderTable(requests, columns, io)}${styled(hanging("", older, io), "dim", io)}\n`;
}

function outcomeStyle(outcome: string): "red" | "yellow" | undefined {
  return outcome.startsWith("failed") ? "red" : outcome === "doubtful" ? "yellow" : undefined;
}

const requestColumns = [
  ...(["id", "started_at", "client", "task", "profile", "model", "engine", "via", "outcome", "reason"] as const),
  ...(["queue_ms", "load_ms", "first_token_ms", "total_ms", "prompt_tokens", "cached_prompt_tokens"] as const),
  ...(["completion_tokens", "tokens_per_second", "trace"] as const),
];

/** The requests as CSV. Amounts of several currencies are joined by ` + `. */
export function requestsCsv({ requests }: Requests): string {
  const lines = requests.map((row) => {
    const money = [row.cost ?? [], row.saved === undefined ? [] : [row.saved]].flatMap((costs) => [
      costs.map(({ amount }) => decimal(amount)).join(" + "),
      costs.map(({ currency }) => currency).join(" + "),
    ]);
    return [...requestColumns.map((name) => oneLine(String(row[name] ?? ""))), ...money];
  });
  return csvOf([[...requestColumns, "cost", "cost_currency", "saved", "saved_currency"], ...lines]);
}

/** All digits, without an exponent. */
function decimal(value: number): string {
  return value.toFixed(9).replace(/\.?0+$/, "");
}

function nothingYet(what: string, io: View): string {
  return `${hanging("", `${what} To begin, ask a local model:`, io)}\n  ollm run "Hello"\n`;
}

function counted(count: number, what: string): readonly string[] {
  return count === 0 ? [] : [`${formatCount(count)} ${what}`];
}

/** The share of the requests that were answered; cancelled ones are neither. */
function success({ answered, failed }: Pick<Figures, "answered" | "failed">): string {
  return answered + failed === 0 ? "" : `${Math.floor((answered / (answered + failed)) * 100)} %`;
}

/** None is not said: not every engine tells. */
function cachedOf({ cached_prompt_tokens: cached, restored_prompt_tokens: restored }: Figures): string {
  const fromDisk = restored > 0 ? `, ${formatCount(restored)} of those from disk` : "";
  return cached === 0 ? "" : ` (${formatCount(cached)} of them from a cache${fromDisk})`;
}

function speed({ tokens_per_second }: Pick<Figures, "tokens_per_second">): string {
  return tokens_per_second > 0 ? tokens_per_second.toFixed(tokens_per_second < 10 ? 1 : 0) : "";
}

function ago({ last_used_at }: Pick<Figures, "last_used_at">, nowMs: number): string {
  if (last_used_at === undefined) return "";
  const seconds = Math.max(0, (nowMs - Date.parse(last_used_at)) / 1_000);
  return seconds > 86_400 ? last_used_at.slice(0, 10) : `${duration(seconds)} ago`;
}

const sparkCells = 24;
const blocks = "▁▂▃▄▅▆▇█";
const asciiBlocks = "_.:-=+*#";

/** Values as bars, the lowest for 0; more of them than cells are joined, and the highest counts. */
function sparkline(values: readonly number[], io: View): string {
  const most = values.reduce((a, b) => Math.max(a, b), 0);
  if (most === 0) return "";
  const bars = isUnicode(io) ? blocks : asciiBlocks;
  const cells = Math.min(values.length, sparkCells);
  return Array.from({ length: cells }, (_, cell) => {
    const from = Math.floor((cell * values.length) / cells);
    const to = Math.floor(((cell + 1) * values.length) / cells);
    const value = values.slice(from, to).reduce((a, b) => Math.max(a, b), 0);
    return bars[value === 0 ? 0 : 1 + Math.min(6, Math.floor((value / most) * 7))] ?? "";
  }).join("");
}

/** Whether the terminal shows block characters. The console of Linux and old ones of Windows lack most of them. */
function isUnicode({ environment, platform }: View): boolean {
  const { LC_ALL, LC_CTYPE, LANG, TERM, WT_SESSION, TERM_PROGRAM } = environment;
  if (TERM === "linux" || TERM === "dumb") return false;
  if (platform === "win32") return WT_SESSION !== undefined || TERM_PROGRAM === "vscode";
  const locale = LC_ALL || LC_CTYPE || LANG;
  return locale === undefined || /utf-?8/i.test(locale);
}
