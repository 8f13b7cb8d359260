import { copyFile, mkdir, stat } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { buildAll } from "../../scripts/build.ts";
import type { Bench } from "../bench.ts";
import { withSmolLm2 } from "../embedded.ts";
import { rounded } from "../support/statistics.ts";
import { halves, readHalf } from "./sets.ts";

interface Question {
  readonly id: string;
  readonly table: string;
  readonly question: string;
  readonly answer: string | number;
}

const name = "qwen2.5-coder:1.5b";
/** An answer that takes longer counts as none. */
const limitMs = 300_000;
const tables = fileURLToPath(new URL("sets/", import.meta.url));

export const rows: Bench = {
  name: "rows",
  summary:
    "questions about ten tables that need counts, sums, groups or sorting: right answers, by queries and by reading",
  options: ["model", "way", "kilobytes"],
  help:
    "--model FILE.gguf answers (an instruction-tuned model). --way query|read, query by default: read hides from the program that the " +
    "files are tables. --kilobytes leaves out larger tables: reading takes minutes a question. An answer is right if it has the " +
    "expected value, and takes five minutes at most; `queries` counts the answers that were made by a query.",
  async run({ model, way = "query", kilobytes = "1000000" }) {
    if (model === undefined) throw new Error("--model FILE.gguf is missing");
    await buildAll();
    const weights = { name, file: resolve(model) };
    return await withSmolLm2(
      async (_call, { root, client }) => {
        await mkdir(join(root, "tables"), { recursive: true });
        const measured = [];
        for (const half of halves) {
          const all = await readHalf<Question>("tables", half);
          const sizes = await Promise.all(all.map(async ({ table }) => (await stat(join(tables, table))).size));
          const asked = all.filter((_, at) => (sizes[at] ?? 0) <= Number(kilobytes) * 1_000);
          let [right, queries] = [0, 0];
          const startedAt = performance.now();
          for (const question of asked) {
            const file = `${question.table}${way === "read" ? ".txt" : ""}`;
            await copyFile(join(tables, question.table), join(root, file));
            const request = { prompt: question.question, files: [file], model: name, max_tokens: 200, temperature: 0 };
            const answered = await client
              .callTool(
                { name: "route_and_generate", arguments: request },
                { timeout: limitMs, onprogress: () => undefined },
              )
              .catch(() => undefined);
            const found = (answered?.structuredContent ?? {}) as {
              readonly text?: string;
              readonly query?: { readonly text: string };
            };
            const isRight = states(found.text ?? "", question.answer);
            if (isRight) right += 1;
            if (found.query !== undefined) queries += 1;
            const shown = JSON.stringify([
              question.id,
              isRight,
              question.answer,
              found.text?.slice(0, 90),
              found.query?.text,
            ]);
            process.stderr.write(`${shown}\n`);
          }
          const seconds = asked.length === 0 ? 0 : (performance.now() - startedAt) / 1_000 / asked.length;
          measured.push({
            half,
            model: basename(weights.file),
            way,
            questions: asked.length,
            queries,
            right,
            seconds_each: rounded(seconds, 1),
          });
        }
        return { rows: measured };
      },
      { weights, clientName: "claude-code" },
    );
  },
};

/** Whether a text has the value: a number to its last digit, a day in any order. */
function states(text: string, answer: string | number): boolean {
  if (typeof answer === "string") return texts(answer).some((each) => text.toLowerCase().includes(each.toLowerCase()));
  const digits = `${answer}`.split(".")[1]?.length ?? 0;
  const numbers = text.replaceAll(/(?<=\d)[, ](?=\d{3}(?!\d))/g, "").match(/-?\d+(?:\.\d+)?/g) ?? [];
  return numbers.some(
    (each) =>
      Math.abs(Number(each) - answer) <= 0.5001 * 10 ** -Math.max(digits, 1) && (digits > 0 || Number(each) === answer),
  );
}

function texts(answer: string): readonly string[] {
  const [, day, month, year] = /^(\d{2})\.(\d{2})\.(\d{4})$/.exec(answer) ?? [];
  return day === undefined ? [answer] : [answer, `${year}-${month}-${day}`];
}
