import { kinds, taskFor, valueIn, type Kind, type Sample } from "../scripts/demo/kinds.ts";
import type { Bench } from "./bench.ts";
import { withSmolLm2, type Call } from "./embedded.ts";

const model = "smollm2:135m";
const bar = 9;

export const demoTasks: Bench = {
  name: "demo-tasks",
  summary: `right answers of SmolLM2-135M to the demo's kinds of task, of ten unseen sentences each (at least ${bar})`,
  run: () =>
    withSmolLm2(async (call) => {
      const rows: Readonly<Record<"kind" | "wrong", string> & Record<"right" | "of" | "chosen_on_right", number>>[] =
        [];
      for (const kind of kinds) {
        const wrong = await wrongAnswers(call, kind, kind.unseen);
        const known = await wrongAnswers(call, kind, kind.chosenOn);
        rows.push({
          kind: kind.name,
          right: kind.unseen.length - wrong.length,
          of: kind.unseen.length,
          chosen_on_right: kind.chosenOn.length - known.length,
          wrong: wrong.join("; "),
        });
      }
      const counts = rows.map(({ kind, right, of }) => `${kind} ${right} of ${of}`).join(", ");
      return {
        rows,
        verdict: `right on unseen sentences: ${counts}; bar ${bar}`,
        passed: rows.every(({ right }) => right >= bar),
      };
    }),
};

/** The sentences with a wrong answer, each with the answer. */
async function wrongAnswers(call: Call, kind: Kind, samples: readonly Sample[]): Promise<readonly string[]> {
  const wrong: string[] = [];
  for (const [sentence, expected] of samples) {
    const { text } = await call("route_and_generate", { ...taskFor(kind, sentence), model });
    const value = valueIn(kind, typeof text === "string" ? text : undefined);
    if (value !== expected) wrong.push(`${sentence} -> ${value ?? "no answer"}`);
  }
  return wrong;
}
