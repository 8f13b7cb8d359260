import { asksOnePlace } from "../../src/orchestrator/reading/one-place.ts";
import type { Bench } from "../bench.ts";
import { rounded } from "../support/statistics.ts";
import { halves, readHalf } from "./sets.ts";

interface Asked {
  readonly question: string;
  readonly scope: "whole" | "lookup";
}

/** What a request with files and this prompt would read. */
const scopeOf = (prompt: string): Asked["scope"] => (asksOnePlace({ prompt }) ? "lookup" : "whole");

export const scope: Bench = {
  name: "scope",
  summary: "questions about a text: is one that needs all of it answered from passages, is a look-up read whole",
  runsSources: true,
  async run() {
    // The second are of the author of the rules, written before any change to fit them.
    const sets = ["questions", "questions-2"].flatMap((set) => halves.map((half) => ({ set, half })));
    const rows = await Promise.all(
      sets.map(async ({ set, half }) => {
        const questions = await readHalf<Asked>(set, half);
        const wrong = (of: Asked["scope"]) => {
          const those = questions.filter((each) => each.scope === of);
          const missed = those.filter(({ question }) => scopeOf(question) !== of);
          return those.length === 0 ? 0 : rounded(missed.length / those.length, 3);
        };
        return {
          set,
          half,
          questions: questions.length,
          wholeFromPassages: wrong("whole"),
          lookupsReadWhole: wrong("lookup"),
        };
      }),
    );
    return { rows: rows.filter(({ questions }) => questions > 0) };
  },
};
