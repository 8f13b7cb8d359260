import { copyFile, mkdir, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { buildAll } from "../../scripts/build.ts";
import type { Bench } from "../bench.ts";
import { withSmolLm2 } from "../embedded.ts";
import { rounded } from "../support/statistics.ts";
import { halves, readHalf } from "./sets.ts";

interface Question {
  readonly id: string;
  /** Its file, or several that are joined. */
  readonly table: string | readonly string[];
  readonly question: string;
  readonly answer: string | number;
}

const name = "qwen2.5-coder:1.5b";
/** An answer that takes longer counts as none. */
const limitMs = 300_000;
/** A note that says why an answer by a query may not be what was asked for. */
const doubt = /the query may not/;
const folder = fileURLToPath(new URL("sets/", import.meta.url));
/** The halves of one set, and a second one to tune on: exports as banks, shops and devices write them. */
const sets = [
  ...halves.map((half) => ({ set: half as string, read: () => readHalf<Question>("tables", half) })),
  { set: "exports", read: () => readHalf<Question>("exports", "dev") },
];

export const rows: Bench = {
  name: "rows",
  summary:
    "questions about ten tables that need counts, sums, groups or sorting: right answers, by queries and by reading",
  options: ["model", "way", "kilobytes", "set"],
  help:
    "--model FILE.gguf answers (an instruction-tuned model). --way query|read, query by default: read hides from the program that the " +
    "files are tables. --kilobytes leaves out larger tables: reading takes minutes a question. --set dev|judge|exports measures one " +
    "set. An answer is right if it has the expected value, and takes five minutes at most; `queries` counts the answers that were " +
    "made by a query, `wrong_unsaid` those of them that are wrong with nothing in the answer that says what may be.",
  async run({ model, way = "query", kilobytes = "1000000", set: wanted }) {
    if (model === undefined) throw new Error("--model FILE.gguf is missing");
    await buildAll();
    const weights = { name, file: resolve(model) };
    return await withSmolLm2(
      async (_call, { root, client }) => {
        const measured = [];
        for (const { set, read } of sets) {
          if (wanted !== undefined && wanted !== set) continue;
          const all = await read();
          const sizes = await Promise.all(all.map(({ table }) => bytesOf([table].flat())));
          const asked = all.filter((_, at) => (sizes[at] ?? 0) <= Number(kilobytes) * 1_000);
          let [right, queries, doubted, unsaid] = [0, 0, 0, 0];
          const startedAt = performance.now();
          for (const question of asked) {
            const files = await Promise.all(
              [question.table].flat().map(async (table) => {
                const file = `${table}${way === "read" ? ".txt" : ""}`;
                await mkdir(dirname(join(root, file)), { recursive: true });
                await copyFile(join(folder, table), join(root, file));
                return file;
              }),
            );
            const request = { prompt: question.question, files, model: name, max_tokens: 200, temperature: 0 };
            const answered = await client
              .callTool(
                { name: "route_and_generate", arguments: request },
                { timeout: limitMs, onprogress: () => undefined },
              )
              .catch(() => undefined);
            const found = (answered?.structuredContent ?? {}) as {
              readonly text?: string;
              readonly notes?: readonly string[];
              readonly query?: { readonly text: string };
            };
            const isRight = states(found.text ?? "", question.answer);
            const isDoubted = found.notes?.some((note) => doubt.test(note)) === true;
            if (isRight) right += 1;
            if (found.query !== undefined) queries += 1;
            if (isDoubted) doubted += 1;
            if (!isRight && found.query !== undefined && !isDoubted) unsaid += 1;
            // What judges is not looked at, also not in a log.
            if (set === "judge") continue;
            const { text = "", query, notes } = found;
            const { id, answer } = question;
            process.stderr.write(`${JSON.stringify([id, isRight, answer, text.slice(0, 90), query?.text, notes])}\n`);
          }
          const seconds = asked.length === 0 ? 0 : (performance.now() - startedAt) / 1_000 / asked.length;
          measured.push({
            set,
            model: basename(weights.file),
            way,
            questions: asked.length,
            queries,
            right,
            doubted,
            wrong_unsaid: unsaid,
            seconds_each: rounded(seconds, 1),
          });
        }
        return { rows: measured };
      },
      { weights, clientName: "claude-code" },
    );
  },
};

async function bytesOf(files: readonly string[]): Promise<number> {
  const found = await Promise.all(files.map((file) => stat(join(folder, file))));
  return found.reduce((sum, { size }) => sum + size, 0);
}

/** Whether a text has the value: a number to its last digit, a day in any order. */
function states(text: string, answer: string | number): boolean {
  if (typeof answer === "string") return texts(answer).some((each) => text.toLowerCase().includes(each.toLowerCase()));
  const digits = `${answer}`.split(".")[1]?.length ?? 0;
  const pointed = text.replaceAll(/(?<=\d)[, ](?=\d{3}(?!\d))/g, "");
  const commaed = text.replaceAll(/(?<=\d)[. ](?=\d{3}(?!\d))/g, "").replaceAll(/(?<=\d),(?=\d)/g, ".");
  const numbers = `${pointed} ${commaed}`.match(/-?\d+(?:\.\d+)?/g) ?? [];
  return numbers.some(
    (each) =>
      Math.abs(Number(each) - answer) <= 0.5001 * 10 ** -Math.max(digits, 1) && (digits > 0 || Number(each) === answer),
  );
}

function texts(answer: string): readonly string[] {
  const [, day, month, year] = /^(\d{2})\.(\d{2})\.(\d{4})$/.exec(answer) ?? [];
  return day === undefined ? [answer] : [answer, `${year}-${month}-${day}`];
}
