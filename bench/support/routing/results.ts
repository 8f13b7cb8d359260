import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { InvalidRequest } from "../../../src/orchestrator/api/errors.ts";

/** What models answered to the same questions, in the order in which the questions were read. */
export interface Results {
  readonly models: readonly string[];
  readonly questions: readonly Question[];
}

interface Question {
  readonly category: string;
  /** By position of the model: 0 to 1; undefined where it has no result. */
  readonly scores: readonly (number | undefined)[];
}

const lineSchema = z.object({
  question: z.union([z.string(), z.number()]).transform(String),
  category: z.string(),
  model: z.string().min(1),
  correct: z.union([z.boolean().transform(Number), z.number().min(0).max(1)]),
});

/** Reads all `*.jsonl` of a folder, by name. Throws with file and line where one can't be used. */
export async function readResults(folder: string): Promise<Results> {
  const names = await readdir(folder).catch((error: unknown) => {
    throw new InvalidRequest(`--folder ${folder}: ${error instanceof Error ? error.message : String(error)}`);
  });
  const files = names.filter((name) => name.endsWith(".jsonl")).toSorted((a, b) => (a < b ? -1 : 1));
  if (files.length === 0) throw new InvalidRequest(`--folder ${folder} has no *.jsonl files`);
  const models = new Map<string, number>();
  const questions = new Map<string, { readonly category: string; readonly scores: (number | undefined)[] }>();
  // A text that a model was asked twice is two questions.
  const times = new Map<string, number>();
  for (const file of files) {
    const lines = (await readFile(join(folder, file), "utf8")).replace(/^\uFEFF/, "").split("\n");
    for (const [index, line] of lines.entries()) {
      if (line.trim() === "") continue;
      const { question, category, model, correct } = parsed(line, `${join(folder, file)}:${index + 1}`);
      const asked = JSON.stringify([category, question]);
      const time = (times.get(`${asked}${model}`) ?? 0) + 1;
      times.set(`${asked}${model}`, time);
      const key = `${asked}${time}`;
      const at = models.get(model) ?? models.size;
      models.set(model, at);
      const found = questions.get(key) ?? { category, scores: [] };
      questions.set(key, found);
      found.scores[at] = correct;
    }
  }
  if (models.size === 0) throw new InvalidRequest(`the files in ${folder} have no lines`);
  return { models: [...models.keys()], questions: [...questions.values()] };
}

function parsed(line: string, place: string): z.infer<typeof lineSchema> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    throw new InvalidRequest(`${place}: not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  const { data, error } = lineSchema.safeParse(value);
  if (data !== undefined) return data;
  const [issue] = error.issues;
  const where = issue === undefined || issue.path.length === 0 ? "the line" : issue.path.join(".");
  throw new InvalidRequest(
    `${place}: ${where}: ${issue?.message ?? "wrong"}; expected {"question": id or text, "category": text, "model": name, "correct": true, false or 0 to 1}`,
  );
}

/** A pool of models, in an order that holds before anything is learned, and the questions that all of them answered. */
export interface Pool {
  readonly models: readonly string[];
  readonly questions: readonly { readonly category: string; readonly scores: readonly number[] }[];
}

/** The pool of these models; questions that one of them lacks are left out. */
export function poolOf({ models, questions }: Results, names: readonly string[]): Pool {
  const places = names.map((name) => models.indexOf(name));
  return {
    models: names,
    questions: questions.flatMap(({ category, scores }) => {
      const own = places.map((place) => scores[place]);
      return own.every((score) => score !== undefined) ? [{ category, scores: own }] : [];
    }),
  };
}
