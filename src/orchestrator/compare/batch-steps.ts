import { Cancelled, InvalidRequest, OrchestratorError } from "../api/errors.ts";
import type { BatchItem, BatchRequest, PlannedStep } from "../api/facade-batches.ts";
import type { GenerateRequest, RoutePlan } from "../api/facade.ts";
import { advice } from "../api/next-step.ts";
import type { CallerContext } from "../api/types.ts";
import { type GenerationWorld, planGeneration } from "../generation/runner.ts";
import { oneLine } from "../util/control-characters.ts";
import { defined, isRecord, jsonIn, getOrInsert } from "../util/values.ts";
import { counted, shortened } from "../util/format-bytes.ts";
import { isNo, marksIn, withSteps } from "../util/placeholders.ts";
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
  for (const [at, step] of steps.entries()) {
    if (step.request.continueId !== undefined) {
      throw new InvalidRequest("the answers of a batch are no conversation", {
        next: advice("leave out the conversation"),
      });
    }
    if (step.over === undefined) checkedPrompts(step);
    const known = steps.slice(0, at).map(({ name }) => name);
    const unknown = sourcesOf(step).find((name) => !known.includes(name));
    if (unknown !== undefined) throw new InvalidRequest(`step ${step.name}: no earlier step is named ${unknown}`);
  }
  return withPrivacyOf(steps);
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

/** The error with the name of the step in its message. */
function ofStep({ name }: KeptStep, error: unknown): unknown {
  if (error instanceof OrchestratorError && !(error instanceof Cancelled))
    error.message = `step ${name}: ${error.message}`;
  return error;
}

/** The steps in the order that loads the fewest models, each with what it is expected to take; those in `skip` take nothing. */
export async function plannedSteps(
  world: GenerationWorld,
  caller: CallerContext,
  steps: readonly KeptStep[],
  skip: readonly string[] = [],
): Promise<readonly { readonly step: KeptStep; readonly planned?: PlannedStep }[]> {
  const plans: { readonly step: KeptStep; readonly assumed?: KeptStep; readonly plan?: RoutePlan }[] = [];
  for (const step of steps) {
    try {
      const assumed = skip.includes(step.name) ? undefined : stepAssumed(step);
      const plan = assumed && (await planGeneration(world, caller, longestRequest(assumed)));
      plans.push({ step, ...defined({ assumed, plan }) });
    } catch (error) {
      throw ofStep(step, error);
    }
  }
  const names = steps.map(({ name }) => name);
  const needs = steps.map((step) => sourcesOf(step).map((name) => names.indexOf(name)));
  const order = fewestChanges(
    plans.map(({ plan }) => plan?.model ?? ""),
    needs,
  );
  if (order.length < steps.length) throw new Error("steps need each other");
  const loaded = new Set(plans.flatMap(({ plan }) => (plan?.plan.isLoaded === true ? [plan.model] : [])));
  return order.flatMap((at) => {
    const { step, assumed, plan } = plans[at] ?? {};
    if (step === undefined) return [];
    if (assumed === undefined || plan === undefined) return [{ step }];
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
    return getOrInsert(known, key, () => {
      let found: ReturnType<typeof best> | undefined;
      for (const [at, model] of models.entries()) {
        const isReady = (done & (1 << at)) === 0 && (needs[at] ?? []).every((each) => (done & (1 << each)) !== 0);
        if (!isReady) continue;
        const rest = best(done | (1 << at), model);
        const changes = rest.changes + (model === last ? 0 : 1);
        if (found === undefined || changes < found.changes) found = { changes, order: [at, ...rest.order] };
      }
      return found ?? { changes: 0, order: [] };
    });
  };
  return best(0, "").order;
}

const assumedText = "Some words that an earlier step may give. ".repeat(40);

/** A step that can be planned before the others have run: what they give is assumed to be short. Pure. */
function stepAssumed({ when: _when, ...step }: KeptStep): KeptStep {
  const now = stepNow(step, { value: () => assumedText, list: () => [assumedText] });
  if ("skipped" in now) throw new Error(now.skipped);
  return now;
}

/** What earlier steps gave: `value` and `list` of one of them. */
interface Given {
  value(name: string, field?: string): string;
  list(name: string, field?: string): readonly string[];
}

/** What the steps that ran gave. */
export function givenBy(ran: readonly { readonly step: KeptStep; readonly answers: readonly KeptAnswer[] }[]): Given {
  const known = new Map<string, string>();
  const of = (name: string) => ran.find(({ step }) => step.name === name);
  return {
    value(name, field = "text") {
      const key = `${name}.${field}`;
      const { step, answers } = of(name) ?? {};
      return getOrInsert(known, key, () => (step === undefined ? "" : valueOf(step, answers ?? [], field)));
    },
    list(name, field = "items") {
      const { step, answers = [] } = of(name) ?? {};
      if (step === undefined) return [];
      return field === "items" ? listOf(step, answers) : linesIn(valueOf(step, answers, field));
    },
  };
}

const shownCharacters = 40;

/** The steps that a step takes from. Files and prompts of single texts are not looked at: they take nothing. */
function sourcesOf({ request: { prompt, system }, input = [], over, when, questions = [] }: KeptStep) {
  const taking = [prompt, system, over, when, ...input, ...questions].flatMap((text) => text ?? []);
  return [...new Set(marksIn(taking).map(({ name }) => name))];
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

function usable(answers: readonly KeptAnswer[]): readonly KeptAnswer[] {
  return answers.filter(({ state }) => state === "done" || state === "doubtful");
}

/** What a step gives to later ones: its text, its list, or a field of its JSON. Pure. */
export function valueOf(step: Pick<KeptStep, "isMany">, answers: readonly KeptAnswer[], field = "text"): string {
  const given = usable(answers);
  const [only] = given;
  if (only === undefined) return "";
  if (field === "items")
    return listOf(step, answers)
      .map((each) => `- ${each}`)
      .join("\n");
  if (field !== "text") {
    const read = jsonIn(only.text ?? "");
    const value = isRecord(read) ? read[field] : undefined;
    return value === undefined || value === null ? "" : typeof value === "string" ? value : JSON.stringify(value);
  }
  if (step.isMany !== true) return (only.text ?? "").trim();
  return given
    .map(({ item, question, text = "" }) => `## ${[item, question].filter(Boolean).join(": ")}\n${text.trim()}`)
    .join("\n\n");
}

/** The list that a step gives: its answers, or the elements or lines of the only one. Pure. */
export function listOf(step: Pick<KeptStep, "isMany">, answers: readonly KeptAnswer[]): readonly string[] {
  const texts = usable(answers).map(({ text = "" }) => text);
  return step.isMany === true ? texts.map((text) => text.trim()) : texts.flatMap(linesIn);
}

function linesIn(text: string): readonly string[] {
  const read = jsonIn(text);
  const lists = isRecord(read) ? Object.values(read).filter((value) => Array.isArray(value)) : [];
  const list: unknown = Array.isArray(read) ? read : lists.length === 1 ? lists[0] : undefined;
  if (Array.isArray(list)) return list.map((each: unknown) => (typeof each === "string" ? each : JSON.stringify(each)));
  if (isRecord(read)) return [text.trim()];
  return text
    .split("\n")
    .map((line) => line.replace(/^\s*(?:[-*•]|\d+[.)])\s+/, "").trim())
    .filter((line) => line !== "");
}

/**
 * A step with what earlier ones gave it, or why it is skipped: its input, its list or its condition is empty. Pure. Throws
 * `InvalidRequest` where that is too long for a prompt.
 */
export function stepNow(step: KeptStep, given: Given): KeptStep | { readonly skipped: string } {
  const fill = <Value>(value: Value): Value => withSteps(value, (name, field) => given.value(name, field));
  const { when, over, input, questions, ...rest } = step;
  const told = when === undefined ? undefined : fill(when);
  if (told !== undefined && isNo(told))
    return { skipped: `when is ${JSON.stringify(shortened(told.trim(), shownCharacters))}` };
  const read = (input ?? []).map((mark) => ({ path: `${marksIn(mark)[0]?.name ?? "input"}.md`, text: fill(mark) }));
  if (input !== undefined && read.every(({ text }) => text.trim() === ""))
    return { skipped: `${sourcesOf(step).join(" and ")} gave nothing` };
  const [listed] = over === undefined ? [] : marksIn(over);
  const items = listed === undefined ? step.items : itemsIn(given.list(listed.name, listed.field), listed.name);
  if (items.length === 0) return { skipped: `there is nothing in the list of ${listed?.name}` };
  const { prompt, system, files = [] } = step.request;
  const all = [...files, ...read];
  const request = {
    ...step.request,
    prompt: fill(prompt),
    ...(system !== undefined && { system: fill(system) }),
    ...(all.length > 0 && { files: all }),
  };
  const asked = { ...rest, request, items: [...items], ...defined({ questions: questions && fill(questions) }) };
  return told === when && told !== undefined ? { ...asked, when: told } : asked;
}

function itemsIn(list: readonly string[], name: string): readonly BatchItem[] {
  return list.map((text, at) => {
    const shown = shortened(oneLine(text).trim(), shownCharacters);
    return { name: `${name} ${at + 1}: ${shown}`, path: `${name} ${at + 1}`, text, isRow: true };
  });
}

/** Why nothing came of a step: all of its answers failed. */
export function failureOf(answers: readonly KeptAnswer[]): string | undefined {
  const failed = answers.filter(({ state }) => state === "failed");
  const [first] = failed;
  if (first === undefined || failed.length < answers.length) return undefined;
  const many = failed.length === 1 ? "" : `${counted(failed.length, "answer")} of it failed: `;
  return `${many}${first.why ?? ""}`;
}

/**
 * What a batch waits for; undefined: it may go on. `when` is `now` (or yes), `idle` (no other
 * request runs, and no battery is used) or hours of this machine's day, `22:00-06:00`. Throws `InvalidRequest` for anything else.
 */
export async function waitsFor(
  when: string | undefined,
  now: Date,
  machine: { isBusy(): boolean; onBattery(): Promise<boolean> },
): Promise<string | undefined> {
  if (when === undefined || /^(?:now|yes|true)$/i.test(when)) return undefined;
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
