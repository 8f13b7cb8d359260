import { valueKey } from "../../src/orchestrator/checks/answer-checks.ts";
import type { Bench } from "../bench.ts";
import { rounded } from "../support/statistics.ts";
import { halves, readHalf } from "./sets.ts";

interface Pair {
  readonly a: string;
  readonly b: string;
  readonly same: boolean;
}

export const agree: Bench = {
  name: "agree",
  summary: "pairs of answers that state the same value, or don't",
  runsSources: true,
  async run() {
    const rows = await Promise.all(
      halves.map(async (half) => {
        const pairs = await readHalf<Pair>("agree", half);
        const wrong = pairs.filter(({ a, b, same }) => (valueKey(a) === valueKey(b)) !== same);
        return {
          half,
          pairs: pairs.length,
          right: pairs.length === 0 ? 0 : rounded(1 - wrong.length / pairs.length, 3),
        };
      }),
    );
    return { rows };
  },
};
