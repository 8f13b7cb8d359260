import type { BatchItem } from "../api/facade-batches.ts";
import { counted, shortened } from "../util/format-bytes.ts";
import { oneLine } from "../util/control-characters.ts";
import { isRecord, jsonIn } from "../util/parse-json.ts";
import { placeholdersIn, withSteps } from "../util/placeholders.ts";
import type { KeptAnswer, KeptStep } from "./batch-store.ts";

/** The answers so far of a step, in the order of its prompts. */
export type AnswersOf = (step: string) => readonly KeptAnswer[];

const shownCharacters = 40;

/** The steps that a step takes from. */
export function sourcesOf(step: KeptStep): readonly string[] {
  const { items: _items, request, ...rest } = step;
  const { files: _files, ...asked } = request;
  const found = placeholdersIn([asked, rest, step.items.map(({ prompt }) => prompt ?? "")]).found;
  return [...new Set(found.map(({ name }) => name))];
}

/** What came of a private step stays on this machine in those that take from it. Pure. */
export function withPrivacyOf(steps: readonly KeptStep[]): readonly KeptStep[] {
  const isPrivate = new Set<string>();
  return steps.map((step) => {
    if (step.request.privacy !== "local_only" && !sourcesOf(step).some((name) => isPrivate.has(name))) return step;
    isPrivate.add(step.name);
    return { ...step, request: { ...step.request, privacy: "local_only" as const } };
  });
}

/** What a step gives to later ones: its text, its list, or a field of its JSON. Pure. */
export function valueOf(answers: readonly KeptAnswer[], field = "text"): string {
  const given = answers.filter(({ state }) => state === "done" || state === "doubtful");
  const [only] = given;
  if (only === undefined) return "";
  if (field === "items")
    return listOf(given)
      .map((each) => `- ${each}`)
      .join("\n");
  if (field !== "text") {
    const read = jsonIn(only.text ?? "");
    const value = isRecord(read) ? read[field] : undefined;
    return value === undefined || value === null ? "" : typeof value === "string" ? value : JSON.stringify(value);
  }
  if (answers.length === 1) return (only.text ?? "").trim();
  return given.map(({ item, text = "" }) => `## ${item}\n${text.trim()}`).join("\n\n");
}

/** The list that a step gives: one from each answer, or the elements or lines of the only one. Pure. */
export function listOf(answers: readonly KeptAnswer[]): readonly string[] {
  return answers.flatMap(({ text = "" }) => {
    const read = jsonIn(text);
    const lists = isRecord(read) ? Object.values(read).filter((value) => Array.isArray(value)) : [];
    const list: unknown = Array.isArray(read) ? read : lists.length === 1 ? lists[0] : undefined;
    if (Array.isArray(list))
      return list.map((each: unknown) => (typeof each === "string" ? each : JSON.stringify(each)));
    if (answers.length > 1 || isRecord(read)) return [text.trim()];
    return text
      .split("\n")
      .map((line) => line.replace(/^\s*(?:[-*•]|\d+[.)])\s+/, "").trim())
      .filter((line) => line !== "");
  });
}

/**
 * A step with what earlier ones gave it, or why it is skipped: its input, its list or its condition is empty. Pure.
 */
export function stepNow(step: KeptStep, answersOf: AnswersOf): KeptStep | { readonly skipped: string } {
  const value = (name: string, field?: string): string => valueOf(answersOf(name), field);
  const { when, over, input, ...rest } = step;
  const isCondition = when !== undefined && placeholdersIn(when).found.length > 0;
  if (isCondition && /^\s*(?:no|false|none|null|0|\[\s*\])?[\s.]*$/i.test(withSteps(when, value)))
    return { skipped: `when is ${JSON.stringify(shortened(withSteps(when, value).trim(), shownCharacters))}` };
  const read = (input ?? []).map((mark) => {
    const [source] = placeholdersIn(mark).found;
    return { path: `${source?.name ?? "input"}.md`, text: withSteps(mark, value) };
  });
  if (input !== undefined && read.every(({ text }) => text.trim() === ""))
    return { skipped: `${sourcesOf(step).join(" and ")} gave nothing` };
  const list = over === undefined ? undefined : listOver(over, answersOf);
  if (list?.length === 0) return { skipped: `there is nothing in its list` };
  const { files, ...asked } = step.request;
  const all = [...(files ?? []), ...read];
  const request = { ...withSteps(asked, value), ...(all.length > 0 && { files: all }) };
  const items = (list ?? step.items).map(({ prompt, ...item }) =>
    prompt === undefined ? item : { ...item, prompt: withSteps(prompt, value) },
  );
  const questions = step.questions === undefined ? {} : { questions: withSteps(step.questions, value) };
  return { ...rest, request, items, ...questions, ...(!isCondition && when !== undefined && { when }) };
}

function listOver(over: string, answersOf: AnswersOf): readonly BatchItem[] {
  const [source] = placeholdersIn(over).found;
  const given = answersOf(source?.name ?? "").filter(({ state }) => state === "done" || state === "doubtful");
  const { name = "", field = "items" } = source ?? {};
  const list = field === "items" ? listOf(given) : listOf([{ ...noAnswer, text: valueOf(given, field) }]);
  return list.map((text, at) => {
    const shown = shortened(oneLine(text).trim(), shownCharacters);
    return { name: `${name} ${at + 1}: ${shown}`, path: `${name} ${at + 1}`, text, isRow: true };
  });
}

export const noAnswer = { step: "", prompt: 0, item: "", state: "done" } as const;

/** Why nothing came of a step: all of its answers failed. */
export function failureOf(answers: readonly KeptAnswer[]): string | undefined {
  const failed = answers.filter(({ state }) => state === "failed");
  const [first] = failed;
  if (first === undefined || failed.length < answers.length) return undefined;
  const many = failed.length === 1 ? "" : `${counted(failed.length, "answer")} of it failed: `;
  return `${many}${first.why ?? ""}`;
}
