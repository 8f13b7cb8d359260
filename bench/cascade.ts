import { countTokens } from "gpt-tokenizer/encoding/o200k_base";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { InvalidRequest } from "../src/orchestrator/api/errors.ts";
import { wordsOf } from "../src/orchestrator/checks/quote-search.ts";
import { parse } from "yaml";
import { type Call, withSmolLm2 } from "./embedded.ts";
import type { Bench, BenchResult } from "./bench.ts";
import { rounded } from "./support/statistics.ts";

const questionsFile = new URL("support/cascade/questions.yaml", import.meta.url);
const checks = ["none", "quotes", "agree"] as const;
const halves = ["tuning", "report"] as const;
/** Longer answers are not graded by what they contain: a copy of the file contains everything. */
const mostWords = 40;
/** `no.` is a number. */
const saysNothing = /\b(?:not|unknown|none|nothing|cannot|no(?!\.))\b|n['’]t\b/i;

export const cascade: Bench = {
  name: "cascade",
  summary: "extraction with small models here: share answered locally, and how much of it is right, for each check",
  options: ["larger", "half", "check", "questions", "answers"],
  help: [
    "SmolLM2-135M answers first (OLLM_TEST_WEIGHTS, or downloaded with pip); each text is a file.",
    "--larger FILE: a GGUF that is asked after it. --half tuning or report; --check none, quotes or agree; default: all.",
    "--questions N: only the first N texts of a half. --answers FILE: writes each answer as a JSON line.",
    "right: a label is in the answer; where the text has no answer: the answer says so. `precision` is the share of right",
    "answers among those given; `local` the share of questions with one, which passed the check. `saved_tokens` compares",
    "with reading the file: text and question less call and answer, for a question; a failed check costs both.",
  ].join("\n"),
  run: measure,
};

const textsSchema = z.array(
  z.strictObject({
    path: z.string(),
    text: z.string(),
    questions: z.array(z.strictObject({ ask: z.string(), accept: z.array(z.string()) })),
  }),
);
type Text = z.output<typeof textsSchema>[number];

interface Graded {
  readonly half: (typeof halves)[number];
  readonly check: (typeof checks)[number];
  readonly isLocal: boolean;
  readonly isRight: boolean;
  readonly model: string;
  readonly savedTokens: number;
  readonly ms: number;
}

async function measure(options: Readonly<Record<string, string | undefined>>): Promise<BenchResult> {
  const [chosenHalves, chosenChecks] = [chosen("half", halves, options), chosen("check", checks, options)];
  const most = options["questions"] === undefined ? Number.POSITIVE_INFINITY : Number(options["questions"]);
  if (!(most >= 1)) throw new InvalidRequest("--questions takes a number from 1");
  const texts = textsSchema.parse(parse(await readFile(questionsFile, "utf8")));
  const graded = await withSmolLm2(
    async (call, { root }) => {
      if (options["larger"] !== undefined) {
        await call("pull_model", { model: "larger:latest", from: options["larger"], engine: "llama-cpp" });
      }
      const results: Graded[] = [];
      for (const half of chosenHalves) {
        const own = texts.filter((_text, index) => halves[index % 2] === half).slice(0, most);
        for (const text of own) {
          // By its whole name: one like it may be in the working directory.
          const file = join(root, text.path);
          await writeFile(file, text.text);
          for (const check of chosenChecks) results.push(...(await askAll(call, { half, check, text, file, options })));
        }
      }
      return results;
    },
    // A busy machine must not turn an answer into a job.
    { environment: { OLLM_MODEL_DEFAULT: "smollm2:135m", OLLM_JOBS_PATIENCE: "600" } },
  );
  const rows = chosenHalves.flatMap((half) =>
    chosenChecks.map((check) =>
      rowOf(
        half,
        check,
        graded.filter((each) => each.half === half && each.check === check),
      ),
    ),
  );
  return { rows, totals: totalsOf(rows), verdict: verdictOf(rows) };
}

function chosen<Name extends string>(
  option: string,
  names: readonly Name[],
  options: Readonly<Record<string, string | undefined>>,
): readonly Name[] {
  const given = options[option];
  const own = names.filter((name) => given === undefined || name === given);
  if (own.length === 0) throw new InvalidRequest(`--${option} takes ${names.join(", ")}, not ${given}`);
  return own;
}

async function askAll(
  call: Call,
  at: Pick<Graded, "half" | "check"> & {
    readonly text: Text;
    /** Where it is. */
    readonly file: string;
    readonly options: Readonly<Record<string, string | undefined>>;
  },
): Promise<readonly Graded[]> {
  const results: Graded[] = [];
  for (const { ask, accept } of at.text.questions) {
    // Answers at temperature 0 always agree.
    const sampling = at.check === "agree" ? {} : { temperature: 0 };
    const request = { prompt: ask, files: [at.file], check: at.check, max_tokens: 64, ...sampling };
    const startedAt = performance.now();
    const { text, model, check } = answerSchema.parse(await call("route_and_generate", request));
    const isLocal = check?.passed ?? true;
    // Marks of the check are no part of the answer.
    const answer = text.replaceAll(/ \[[^\]]*\]$/gm, "");
    const [question, source] = [countTokens(ask), countTokens(at.text.text)];
    const spent = countTokens(JSON.stringify(request)) + countTokens(text);
    const graded: Graded = {
      half: at.half,
      check: at.check,
      isLocal,
      isRight: isRight(answer, accept),
      model,
      savedTokens: (isLocal ? source + question : 0) - spent,
      ms: performance.now() - startedAt,
    };
    results.push(graded);
    const log = at.options["answers"];
    const line = JSON.stringify({ ...graded, ask, accept, text, problem: check?.problem });
    if (log !== undefined) await writeFile(log, `${line}\n`, { flag: "a" });
  }
  return results;
}

const answerSchema = z.object({
  text: z.string(),
  model: z.string(),
  check: z.object({ passed: z.boolean(), problem: z.string().optional() }).optional(),
});

function isRight(answer: string, accept: readonly string[]): boolean {
  if (accept.length === 0) return saysNothing.test(answer);
  const words = wordsOf(answer);
  const folded = ` ${words.join(" ")} `;
  return words.length <= mostWords && accept.some((label) => folded.includes(` ${wordsOf(label).join(" ")} `));
}

type Row = Readonly<Record<"half" | "check", string> & Record<string, string | number>>;

function rowOf(half: string, check: string, own: readonly Graded[]): Row {
  const local = own.filter(({ isLocal }) => isLocal);
  const right = local.filter((each) => each.isRight).length;
  const mean = (values: readonly number[]) =>
    values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
  return {
    half,
    check,
    questions: own.length,
    local: rounded(local.length / Math.max(1, own.length), 3),
    right,
    wrong: local.length - right,
    precision: local.length === 0 ? 0 : rounded(right / local.length, 3),
    by_larger: local.filter(({ model }) => model.startsWith("larger")).length,
    saved_tokens: rounded(mean(own.map(({ savedTokens }) => savedTokens))),
    mean_ms: Math.round(mean(own.map(({ ms }) => ms))),
  };
}

function totalsOf(rows: readonly Row[]): Readonly<Record<string, number>> {
  const reported = rows.filter(({ half }) => half === "report");
  return Object.fromEntries(
    reported.flatMap((row) => [
      [`${row.check}_local`, Number(row["local"])],
      [`${row.check}_precision`, Number(row["precision"])],
      [`${row.check}_saved_tokens`, Number(row["saved_tokens"])],
    ]),
  );
}

function verdictOf(rows: readonly Row[]): string {
  const parts = rows.map(
    (row) => `${row.half}, ${row.check}: ${row["local"]} answered locally, ${row["precision"]} of it right`,
  );
  return parts.join("; ");
}
