import type { CommandIo } from "../commands/io.ts";
import { withSession } from "./session.ts";
import { show } from "./show.ts";
import { styled } from "./table.ts";
import { oneLine } from "./width.ts";

interface DecisionRow {
  readonly at: string;
  readonly kind: string;
  readonly model: string;
  readonly engine: string;
  readonly steps: readonly string[];
}

interface Decisions {
  readonly decisions: readonly DecisionRow[];
}

/** `ollm decisions`: newest last, as in a log. `limit`: of the newest. */
export function listDecisions(
  options: { readonly limit?: number; readonly json?: boolean },
  io: CommandIo,
): Promise<number> {
  return withSession(io, {}, async ({ read }) => {
    const { decisions } = await read<Decisions>("ollm://decisions");
    const wanted = { decisions: decisions.slice(0, options.limit) };
    show(wanted, options, io, (found) => renderDecisions(found.decisions, io));
    return 0;
  });
}

function renderDecisions(decisions: readonly DecisionRow[], io: CommandIo): string {
  if (decisions.length === 0) return "Nothing was loaded or unloaded since the owner started.\n";
  return decisions
    .toReversed()
    .map(({ at, kind, model, steps }) => {
      const head = `${new Date(at).toLocaleTimeString("en-GB")}  ${styled(kind, colours[kind] ?? "cyan", io)} ${model}`;
      return [head, ...steps.map((step) => `          ${oneLine(step)}`)].join("\n") + "\n";
    })
    .join("");
}

const colours: Readonly<Record<string, "green" | "yellow" | "red">> = {
  load: "green",
  wait: "yellow",
  replan: "yellow",
  refuse: "red",
  fail: "red",
};
