import { watchRepetition } from "../../src/orchestrator/generation/repetition.ts";
import type { Bench } from "../bench.ts";
import { rounded } from "../support/statistics.ts";
import { halves, readHalf } from "./sets.ts";

interface Labelled {
  readonly id: string;
  readonly text: string;
  readonly loop: boolean;
}

/** Fed in pieces of four characters, as an engine streams an answer. */
function isFound(text: string): boolean {
  const watch = watchRepetition();
  for (let at = 0; at < text.length; at += 4) {
    if (watch.add(text.slice(at, at + 4)) !== undefined) return true;
  }
  return false;
}

export const loops: Bench = {
  name: "loops",
  summary: "answers that repeat themselves: which loops are found, and which honest answers are cut",
  runsSources: true,
  async run() {
    const rows = await Promise.all(
      halves.map(async (half) => {
        const texts = await readHalf<Labelled>("loops", half);
        const asLoop = texts.filter(({ loop }) => loop);
        const honest = texts.filter(({ loop }) => !loop);
        const missed = asLoop.filter(({ text }) => !isFound(text)).map(({ id }) => id);
        const falseAlarms = honest.filter(({ text }) => isFound(text)).map(({ id }) => id);
        return {
          half,
          texts: texts.length,
          loopsFound: asLoop.length === 0 ? 0 : rounded(1 - missed.length / asLoop.length, 3),
          honestCut: falseAlarms.length,
          // Names of the other half would be looked at.
          wrong: half === "dev" ? [...missed, ...falseAlarms].join(" ") : "",
        };
      }),
    );
    return { rows };
  },
};
