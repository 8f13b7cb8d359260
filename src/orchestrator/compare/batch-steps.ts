import { InvalidRequest, OrchestratorError } from "../api/errors.ts";
import type { BatchItem, BatchRequest, PlannedStep } from "../api/facade-batches.ts";
import type { GenerateRequest, RoutePlan } from "../api/facade.ts";
import { advice } from "../api/next-step.ts";
import type { CallerContext } from "../api/types.ts";
import { type GenerationWorld, planGeneration } from "../generation/runner.ts";
import { oneLine } from "../util/control-characters.ts";
import { defined } from "../util/defined.ts";
import { counted, shortened } from "../util/format-bytes.ts";
import { isRecord, jsonIn } from "../util/parse-json.ts";
import { placeholdersIn, withSteps } from "../util/placeholders.ts";
import { promptsOf, requestFor, sizeOf } from "./batch-run.ts";
import type { KeptAnswer, KeptStep } from "./batch-store.ts";

const maxPrompts = 10_000;

/** All prompts of a step. Throws `InvalidRequest` for none, and too many. */
export function checkedPrompts(step: KeptStep): ReturnType<typeof promptsOf> {
  const prompts = promptsOf(step);
  const { length } = prompts.flat();
  if (length === 0) throw new InvalidRequest("there is nothing to ask about", { next: advice("name other files") });
  if (length <= maxPrompts) return prompts;
  throw new InvalidRequest(`${counted(length, "prompt")} in one batch; at most ${maxPrompts} are asked`, {
    next: advice("limit it, or name fewer files"),
  });
}

/** Its steps as they are kept. Throws `InvalidRequest`. */
export function checkedSteps({ steps }: BatchRequest<GenerateRequest>): readonly KeptStep[] {
  const kept = steps.map(({ items, input, questions, ...step }): KeptStep => {
    if (step.request.continueId !== undefined) {
      throw new InvalidRequest("the answers of a batch are no conversation", {
        next: advice("leave out the conversation"),
      });
    }
    const lists = defined({ input: input && [...input], questions: questions && [...questions] });
    return { ...step, items: [...items], ...lists };
  });
  for (const step of kept) if (step.over === undefined) checkedPrompts(step);
  return withPrivacyOf(kept);
}

/** The longest prompt of a step, for which its model is chosen. */
function longestRequest(step: KeptStep): GenerateRequest {
  const [longest] = promptsOf(step)
    .flat()
    .toSorted((a, b) => sizeOf(b) - sizeOf(a));
  if (longest === undefined) throw new Error("a step without prompts");
  return requestFor(step, longest);
}

function expectedOf(step: KeptStep, assumed: KeptStep, plan: RoutePlan, isLoad: boolean): PlannedStep {
  const all = promptsOf(assumed).flat();
  const sizes = all.map((asked) => sizeOf(asked) + textsOf(requestFor(assumed, asked)));
  // The plan is that of the longest.
  const factor = sizes.reduce((sum, size) => sum + size, 0) / Math.max(1, ...sizes);
  const { model, engine, notes, promptTokens, route } = plan;
  const terms = route.considered.find((each) => each.model === model && each.engine === engine)?.terms;
  const seconds =
    terms && terms.promptSeconds * factor + terms.answerSeconds * all.length + (isLoad ? terms.loadSeconds : 0);
  return {
    step: step.name,
    model,
    engine,
    notes,
    isLoad,
    ...defined({
      prompts: step.over === undefined ? all.length : undefined,
      promptTokens: promptTokens && Math.round(promptTokens * factor),
      seconds: seconds && Math.ceil(seconds),
    }),
  };
}

function textsOf({ prompt, files = [] }: GenerateRequest): number {
  return prompt.length + files.reduce((sum, { text }) => sum + text.length, 0);
}

function ofStep({ name }: KeptStep, error: unknown): unknown {
  if (!(error instanceof OrchestratorError)) return error;
  return new InvalidRequest(`step ${name}: ${error.message}`, { next: error.next, cause: error });
}

/** The steps in the order that loads the fewest models, each with what it is expected to take. */
export async function plannedSteps(world: GenerationWorld, caller: CallerContext, steps: readonly KeptStep[]) {
  const plans: { readonly step: KeptStep; readonly assumed: KeptStep; readonly plan: RoutePlan }[] = [];
  for (const step of steps) {
    try {
      const assumed = stepAssumed(step);
      const plan = await planGeneration(world, caller, longestRequest(assumed));
      plans.push({ step, assumed, plan });
    } catch (error) {
      throw ofStep(step, error);
    }
  }
  const names = steps.map(({ name }) => name);
  const needs = steps.map((step) => sourcesOf(step).map((name) => names.indexOf(name)));
  const models = plans.map(({ plan }) => plan.model);
  const order = fewestChanges(models, needs);
  const loaded = new Set(plans.filter(({ plan: { plan } }) => plan.isLoaded).map(({ plan }) => plan.model));
  return order.flatMap((at) => {
    const found = plans[at];
    if (found === undefined) return [];
    const { step, assumed, plan } = found;
    const isLoad = !loaded.has(plan.model);
    if (isLoad) for (const { name } of plan.plan.evict) loaded.delete(name);
    loaded.add(plan.model);
    return [{ step, planned: expectedOf(step, assumed, plan, isLoad) }];
  });
}

/**
 * The order of steps with the fewest changes of the model, each after those that it needs; that in which they are written,
 * where several do. `models` and `needs` (places) by step. Looks at every order: for a dozen steps at most. Pure.
 */
export function fewestChanges(models: readonly string[], needs: readonly (readonly number[])[]): readonly number[] {
  const known = new Map<string, { readonly changes: number; readonly order: readonly number[] }>();
  const best = (done: number, last: string): { readonly changes: number; readonly order: readonly number[] } => {
    const key = `${done} ${last}`;
    const before = known.get(key);
    if (before !== undefined) return before;
    let found: ReturnType<typeof best> | undefined;
    for (const [at, model] of models.entries()) {
      const isReady = (done & (1 << at)) === 0 && (needs[at] ?? []).every((each) => (done & (1 << each)) !== 0);
      if (!isReady) continue;
      const rest = best(done | (1 << at), model);
      const changes = rest.changes + (model === last ? 0 : 1);
      if (found === undefined || changes < found.changes) found = { changes, order: [at, ...rest.order] };
    }
    found ??= { changes: 0, order: [] };
    known.set(key, found);
    return found;
  };
  return best(0, "").order;
}

/** A step that can be planned before the others have run: their texts are assumed to be short. Pure. */
function stepAssumed(step: KeptStep): KeptStep {
  const text = "Some words that an earlier step may give. ".repeat(40);
  const answer = { ...noAnswer, text };
  const now = stepNow({ ...step, ...(step.when !== undefined && { when: "now" }) }, () => [answer]);
  if ("skipped" in now) throw new Error(now.skipped);
  return step.over === undefined ? now : { ...now, items: now.items.slice(0, 1) };
}

/** The answers so far of a step, in the order of its prompts. */
type AnswersOf = (step: string) => readonly KeptAnswer[];

const shownCharacters = 40;

/** The steps that a step takes from. */
function sourcesOf(step: KeptStep): readonly string[] {
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

const noAnswer = { step: "", prompt: 0, item: "", state: "done" } as const;

/** Why nothing came of a step: all of its answers failed. */
export function failureOf(answers: readonly KeptAnswer[]): string | undefined {
  const failed = answers.filter(({ state }) => state === "failed");
  const [first] = failed;
  if (first === undefined || failed.length < answers.length) return undefined;
  const many = failed.length === 1 ? "" : `${counted(failed.length, "answer")} of it failed: `;
  return `${many}${first.why ?? ""}`;
}

/**
 * What a batch waits for; undefined: it may go on. `when` is `now`, `idle` (no other
 * request runs, and no battery is used) or hours of this machine's day, `22:00-06:00`. Throws `InvalidRequest` for anything else.
 */
export async function waitsFor(
  when: string | undefined,
  now: Date,
  machine: { isBusy(): boolean; onBattery(): Promise<boolean> },
): Promise<string | undefined> {
  if (when === undefined || when === "now") return undefined;
  if (when === "idle") {
    if (machine.isBusy()) return "waits for other requests";
    return (await machine.onBattery()) ? "waits for power" : undefined;
  }
  const [, from, to] = /^(\d\d?:\d\d)\s*[-–]\s*(\d\d?:\d\d)$/.exec(when) ?? [];
  const [start, end] = [minutesOf(from), minutesOf(to)];
  if (start === undefined || end === undefined || start === end)
    throw new InvalidRequest(`when is ${JSON.stringify(when)}; allowed: now, idle, hours such as 22:00-06:00`);
  const minute = now.getHours() * 60 + now.getMinutes();
  const isInside = start < end ? minute >= start && minute < end : minute >= start || minute < end;
  return isInside ? undefined : `waits until ${from}`;
}

function minutesOf(time: string | undefined): number | undefined {
  const [hours = Number.NaN, minutes = Number.NaN] = time?.split(":").map(Number) ?? [];
  return hours < 24 && minutes < 60 ? hours * 60 + minutes : undefined;
}
