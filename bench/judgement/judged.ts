import { basename, resolve } from "node:path";
import { buildAll } from "../../scripts/build.ts";
import { generalPrompt } from "../../src/orchestrator/checks/judged.ts";
import { startEngine } from "../../test/orchestrator/engines/llama-cpp/engine-under-test.ts";
import { installedEngine } from "../../test/support/engine.ts";
import type { Bench } from "../bench.ts";
import { rounded } from "../support/statistics.ts";
import { type halves, readHalf } from "./sets.ts";

interface Item {
  readonly id: string;
  readonly source: string;
  readonly statement: string;
  readonly truth: boolean | "opinion";
}

const name = "judge:bench";
const choices = ["yes", "no", "unclear"];
const bar = { precision: 0.95, recall: 0.5 };
const never = new AbortController().signal;

export const judged: Bench = {
  name: "judged",
  summary:
    "how sure a general model is that statements are supported by their texts: precision and recall by threshold",
  options: ["model", "half", "threshold"],
  help:
    "--model FILE.gguf judges, through the embedded engine, with each text whole. --half dev|judge, dev by default; --threshold is the one " +
    `that was chosen on dev. The bar is a precision of ${bar.precision} at a recall of ${bar.recall}.`,
  runsSources: true,
  async run({ model, half = "dev", threshold }) {
    if (model === undefined) throw new Error("--model FILE.gguf is missing");
    await buildAll();
    const { modulePath } = await installedEngine();
    const { engine, dispose } = await startEngine(modulePath, { [name]: resolve(model) });
    try {
      const items = (await readHalf<Item>("statements", half as (typeof halves)[number])).toSorted((a, b) =>
        a.source < b.source ? -1 : 1,
      );
      const seen: { readonly share: number; readonly isTrue: boolean }[] = [];
      for (const { source, statement, truth } of items) {
        const { likelihoods = {} } = await engine.generate(
          {
            model: name,
            messages: [{ role: "user", content: generalPrompt(source, statement) }],
            choices,
            maxTokens: 1,
            sampling: { temperature: 0 },
            contextTokens: 4_096,
          },
          { text: () => undefined, thinking: () => undefined, phase: () => undefined },
          never,
        );
        const all = choices.reduce((sum, choice) => sum + (likelihoods[choice] ?? 0), 0);
        seen.push({ share: all < 0.5 ? 0 : (likelihoods["yes"] ?? 0) / all, isTrue: truth === true });
        if (half === "dev") process.stderr.write(`${seen.length} of ${items.length}\r`);
      }
      const at = (least: number) => {
        const supported = seen.filter(({ share }) => share >= least);
        const right = supported.filter(({ isTrue }) => isTrue).length;
        return {
          half,
          model: basename(model),
          threshold: rounded(least, 3),
          statements: seen.length,
          supported: supported.length,
          precision: rounded(supported.length === 0 ? 0 : right / supported.length, 3),
          recall: rounded(right / seen.filter(({ isTrue }) => isTrue).length, 3),
        };
      };
      const levels = threshold === undefined ? [0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99] : [Number(threshold)];
      // The best at the recall of the bar.
      const enough = seen.map(({ share }) => at(share)).filter(({ recall }) => recall >= bar.recall);
      const best = enough.toSorted((a, b) => b.precision - a.precision).slice(0, threshold === undefined ? 1 : 0);
      const rows = [...levels.map(at), ...best];
      const passed = rows.some(({ precision, recall }) => precision >= bar.precision && recall >= bar.recall);
      return {
        rows,
        verdict: `a precision of ${bar.precision} at a recall of ${bar.recall}: ${passed ? "reached" : "missed"}`,
      };
    } finally {
      await dispose();
    }
  },
};
