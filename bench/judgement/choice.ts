import { decide, readDecisions } from "../../test/orchestrator/routing/decisions/decisions.ts";
import type { Bench } from "../bench.ts";
import { rounded } from "../support/statistics.ts";
import { halves } from "./sets.ts";

const bar = 0.9;

export const choice: Bench = {
  name: "choice",
  summary: `the model that a written expert would take (bar ${bar} of judge)`,
  runsSources: true,
  async run() {
    const rows = halves.map((half) => {
      const decisions = readDecisions(half);
      const chosen = decisions.map((each) => ({ ...each, model: decide(each) ?? "" }));
      const shared = chosen.filter(({ model, expected }) => expected.includes(model)).length;
      const best = chosen.filter(({ model, expected }) => expected[0] === model).length;
      return {
        half,
        decisions: decisions.length,
        acceptable: rounded(shared / decisions.length, 3),
        best: rounded(best / decisions.length, 3),
      };
    });
    return { rows, passed: (rows.at(-1)?.acceptable ?? 0) >= bar };
  },
};
