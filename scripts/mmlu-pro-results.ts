/**
 * Converts the public result files of MMLU-Pro for `npm run bench -- routing`:
 *
 * ```
 * git clone https://github.com/TIGER-AI-Lab/MMLU-Pro
 * npx tsx scripts/mmlu-pro-results.ts --from MMLU-Pro --to results
 * npm run bench -- routing --folder results --pools 40
 * ```
 *
 * `--from` is a checkout or a git directory; `eval_results/model_outputs_NAME_5shots.zip` becomes `NAME.jsonl`, one line a
 * question: `{question, category, model, correct}`. An answer that could not be read counts as wrong. Models that are not
 * open-weights and files without all questions are passed over, and named. None of the data is part of this repository.
 */
import { execFile } from "node:child_process";
import { mkdir, readFile, readdir, stat, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { strFromU8, unzipSync } from "fflate";
import * as z from "zod";

const folder = "eval_results";
const zipName = /^model_outputs_(.+?)_\d+-?shots.*\.zip$/;
/** Names of models that only their makers run. */
const closed = /^(?:arx|claude|flash|gemini|gpt|iask|opus|sonnet)/i;
/** A file with less than this share of the questions of the largest is incomplete. */
const completeShare = 0.999;

const recordsSchema = z.array(z.unknown());
const recordSchema = z.object({
  question_id: z.number(),
  category: z.string(),
  answer: z.string(),
  pred: z.string().nullish(),
});

/** Zips by name; undefined content: it is listed, but not there. */
export type Zips = ReadonlyMap<string, () => Promise<Uint8Array | undefined>>;

export interface Converted {
  readonly written: readonly { readonly model: string; readonly questions: number; readonly right: number }[];
  readonly passedOver: readonly { readonly file: string; readonly because: string }[];
}

/** Writes a file for each model to `to`. */
export async function convert(zips: Zips, to: string): Promise<Converted> {
  const written = [];
  const passedOver = [];
  await mkdir(to, { recursive: true });
  const read = [];
  for (const [file, content] of zips) {
    const model = zipName.exec(file)?.[1];
    if (model === undefined || closed.test(model)) {
      passedOver.push({ file, because: model === undefined ? "its name is of no model" : "not open-weights" });
      continue;
    }
    try {
      const bytes = await content();
      if (bytes === undefined) passedOver.push({ file, because: "its content is not there" });
      else read.push({ file, model, answers: answersOf(bytes) });
    } catch (error) {
      passedOver.push({ file, because: error instanceof Error ? error.message : String(error) });
    }
  }
  const most = Math.max(0, ...read.map(({ answers }) => answers.length));
  for (const { file, model, answers } of read) {
    if (answers.length < completeShare * most) {
      passedOver.push({ file, because: `has ${answers.length} of ${most} questions` });
      continue;
    }
    const lines = answers.map((answer) => `${JSON.stringify({ ...answer, model })}\n`);
    await writeFile(join(to, `${model}.jsonl`), lines.join(""));
    written.push({ model, questions: answers.length, right: answers.filter(({ correct }) => correct).length });
  }
  return { written, passedOver };
}

interface Answer {
  readonly question: number;
  readonly category: string;
  readonly correct: boolean;
}

function answersOf(zip: Uint8Array): readonly Answer[] {
  const files = unzipSync(zip, { filter: ({ name }) => name.endsWith(".json") && !name.startsWith("__MACOSX") });
  const [content] = Object.values(files);
  if (content === undefined) throw new Error("holds no JSON file");
  const records = recordsSchema.parse(JSON.parse(strFromU8(content)));
  // Some files have sums of their categories among the answers.
  return records.flatMap((record) => {
    const { data } = recordSchema.safeParse(record);
    if (data === undefined) return [];
    return [{ question: data.question_id, category: data.category, correct: data.pred === data.answer }];
  });
}

/** The zips of a checkout, else of the newest commit of a git directory. */
export async function zipsIn(from: string): Promise<Zips> {
  const checkout = join(from, folder);
  if ((await stat(checkout).catch(() => undefined))?.isDirectory() === true) {
    const names = (await readdir(checkout)).filter((name) => name.endsWith(".zip")).toSorted();
    return new Map(names.map((name) => [name, () => readFile(join(checkout, name))]));
  }
  const git = async (...args: readonly string[]) => {
    const options = { encoding: "buffer", maxBuffer: 2 ** 28 } as const;
    return (await promisify(execFile)("git", ["-C", from, ...args], options)).stdout;
  };
  const paths = (await git("ls-tree", "-r", "--name-only", "HEAD", folder)).toString().split("\n");
  const names = paths.filter((path) => path.endsWith(".zip")).toSorted();
  return new Map(
    // A partial mirror lists files whose content it lacks.
    names.map((path) => [basename(path), () => git("show", `HEAD:${path}`).catch(() => undefined)]),
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { from, to } = parseArgs({ options: { from: { type: "string" }, to: { type: "string" } } }).values;
  if (from === undefined || to === undefined) {
    console.error("usage: npx tsx scripts/mmlu-pro-results.ts --from CHECKOUT --to FOLDER");
    process.exitCode = 1;
  } else {
    const { written, passedOver } = await convert(await zipsIn(from), to);
    for (const { file, because } of passedOver) console.log(`passed over ${file}: ${because}`);
    for (const { model, questions, right } of written) console.log(`${model}: ${right} of ${questions} right`);
  }
}
