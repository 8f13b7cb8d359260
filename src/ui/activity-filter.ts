/** What the list of requests shows: said in the page's address, and asked of the daemon. */
import { defined } from "../orchestrator/util/values.ts";

/** How far back. */
export const ranges = [
  { id: "hour", title: "Hour", ms: 3_600_000 },
  { id: "day", title: "Day", ms: 86_400_000 },
  { id: "week", title: "Week", ms: 7 * 86_400_000 },
  { id: "", title: "All", ms: Infinity },
] as const;

/** By what requests can be grouped; else they are by model. */
export const dimensions = ["model", "profile", "client", "task", "day", "hour"] as const;

/** The query of an address with another value; empty: without it. */
export function withFilter(query: string, name: string, value: string): string {
  const params = new URLSearchParams(query);
  if (value === "") params.delete(name);
  else params.set(name, value);
  return params.toString();
}

/** The query of `ollm://requests` for that of an address, which may have been typed: what it doesn't know is left out. */
export function requestsQuery(query: string, nowMs: number): Readonly<Record<string, string>> {
  const given = Object.fromEntries(new URLSearchParams(query));
  const { model, client, task, outcome, range = "" } = given;
  const by = dimensions.filter((name) => given["by"]?.split(",").includes(name)).join(",") || "model";
  const ms = ranges.find(({ id }) => id === range)?.ms ?? Infinity;
  const from = Number.isFinite(ms) ? new Date(nowMs - ms).toISOString() : undefined;
  return defined({ model, client, task, outcome, from, by });
}

/** The newest rows, then those that are known to be older; without these, if others may be between them. */
export function joined<Row extends { readonly id: string }>(newest: readonly Row[], known: readonly Row[]) {
  const at = known.findIndex(({ id }) => id === newest.at(-1)?.id);
  return at === -1 ? newest : [...newest, ...known.slice(at + 1)];
}

/** The beginning of a group's time: a day without a time would be one of UTC. */
export const timeOf = (at: string): string => at.replace(/^[\d-]+$/, "$&T00:00");

/** The choices of a filter: what was seen, and what the address names in any case. */
export function choicesOf(all: string, names: readonly string[], chosen: string) {
  const listed = [...new Set(chosen === "" ? names : [...names, chosen])];
  return [{ value: "", text: all }, ...listed.map((value) => ({ value, text: outcomeText(value) }))];
}

/** `failed: load failed` */
export function outcomeText(outcome: string): string {
  const [, kind] = /^failed:(\w+)$/.exec(outcome) ?? [];
  return kind === undefined ? outcome : `failed: ${kind.replaceAll("_", " ")}`;
}
