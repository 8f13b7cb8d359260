import type { ResourceData } from "../../resources/index.ts";
import type { CommandIo } from "../terminal/io.ts";
import { withSession } from "../terminal/session.ts";
import { show } from "./show.ts";
import { hanging, styled } from "../terminal/terminal-text.ts";
import { oneLine } from "../../orchestrator/util/control-characters.ts";

type DecisionRow = ResourceData["ollm://decisions"]["decisions"][number];

/** `ollm decisions`: the newest `limit` decisions, newest last, as in a log. */
export function listDecisions(
  options: { readonly limit?: number; readonly json?: boolean },
  io: CommandIo,
): Promise<number> {
  return withSession(io, {}, async ({ read }) => {
    const { decisions } = await read("ollm://decisions");
    const wanted = { decisions: decisions.slice(0, options.limit) };
    show(wanted, options, io, (found) => renderDecisions(found.decisions, io, Date.now()));
    return 0;
  });
}

/** With dates for decisions of earlier days. */
export function renderDecisions(decisions: readonly DecisionRow[], io: CommandIo, nowMs: number): string {
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
