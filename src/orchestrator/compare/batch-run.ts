import { BudgetExceeded, OrchestratorError, throwIfCancelled } from "../api/errors.ts";
import type { BatchItem } from "../api/facade-batches.ts";
import type { GenerateRequest, GenerateResult } from "../api/facade.ts";
import type { CallerContext } from "../api/types.ts";
import { type GenerationWorld, planGeneration, runGeneration } from "../generation/runner.ts";
import type { OperationContext } from "../jobs/operations.ts";
import { defined, jsonIn } from "../util/values.ts";
import { counted } from "../util/format-bytes.ts";
import { failureText, silent } from "./ask-model.ts";
import type { KeptAnswer, KeptStep } from "./batch-store.ts";

/** So many requests in a row that an engine or this machine refuses: what is open stays open. */
const maxRefusals = 3;
/** If so many answers fail and none succeeds, the others would, too. */
const maxFirstFailures = 5;
/** Prompts at the same time where the engine batches; one place is left to other requests. */
const maxParallel = 4;
const retryTemperature = 0.6;

const notStated = "NOT STATED";
const orNothing = `If the text does not say, answer only: ${notStated}`;

/** One prompt about one item. */
interface Asked {
  /** Its place among all prompts. */
  readonly prompt: number;
  readonly item: BatchItem;
  readonly question: string;
  /** It has an answer, with doubts. */
  readonly hasAnswer?: true;
}

interface BatchRunDeps {
  readonly world: GenerationWorld;
  readonly caller: CallerContext;
  readonly step: KeptStep;
  readonly context: OperationContext;
  readonly counts: { readonly total: number; readonly answered: number };
  /** Resolves when the answer is on disk. */
  keep(answer: KeptAnswer): Promise<unknown>;
  /** Resolves when the next prompt may be asked, and reports what it waits for. */
  turn(report: (why: string) => void): Promise<void>;
}

/** The prompts of a step: all questions about an item in sequence, so that its text is read once. */
export function promptsOf({ items, questions, request, sample, limit = items.length }: KeptStep) {
  const first = Math.min(limit, items.length);
  const count = Math.min(sample ?? first, first);
  return Array.from({ length: count }, (_, at) => Math.floor((at * first) / count)).map((at) => {
    const item = items[at];
    if (item === undefined) throw new Error(`no item ${at}`);
    const asked = questions ?? [item.prompt ?? request.prompt];
    return asked.map((question, each): Asked => ({ prompt: at * asked.length + each, item, question }));
  });
}

/**
 * Asks what is open. One model answers all, so that it is loaded once; what it fails at, others are asked afterwards. Returns
 * why it ended before all was asked; undefined if all was.
 */
export async function askOpen(
  open: readonly (readonly Asked[])[],
  { world, caller, step, context, counts, keep, turn }: BatchRunDeps,
): Promise<string | undefined> {
  let { answered } = counts;
  let [failed, succeeded, refusals] = [0, 0, 0];
  const again: Asked[] = [];
  let stopped: string | undefined;
  const { onFail = "next model" } = step;
  /** Whether what failed goes on with the next prompt. */
  const goesOn = onFail === "retry" || onFail === "next model";
  const far = (): string => `${answered} of ${counted(counts.total, "answer")}`;
  const nextTurn = (): Promise<void> => turn((why) => context.report({ message: `${far()}; ${why}` }));

  const all = open.flat();
  const [longest] = all.toSorted((a, b) => sizeOf(b) - sizeOf(a));
  if (longest === undefined) return undefined;
  await nextTurn();
  const { model, engine, plan, route } = await planGeneration(world, caller, requestFor(step, longest));
  const pinned = { model, task: route.task, contextTokens: plan.contextTokens };
  const places = world.inventory.engines.find(({ id }) => id === engine)?.parallelAnswers ?? 1;
  const waiting = [...open];
  const mayGoOn = (): boolean => stopped === undefined && (succeeded > 0 || again.length < maxFirstFailures);
  const lane = async (): Promise<void> => {
    while (mayGoOn() && waiting.length > 0)
      for (const asked of waiting.shift() ?? []) await askOne(asked, pinned, true);
  };
  while (stopped === undefined && waiting.length + again.length > 0) {
    await Promise.all(Array.from({ length: Math.max(1, Math.min(places - 1, maxParallel)) }, lane));
    // The same model once more, which must be able to say something else; or any model of the chain.
    const temperature = Math.max(retryTemperature, step.request.temperature ?? 0);
    const fixed = step.onFail === "retry" ? { ...pinned, temperature } : { task: route.task };
    for (const asked of again.splice(0)) await askOne(asked, fixed, false);
  }
  return stopped;

  async function askOne(asked: Asked, fixed: Partial<GenerateRequest>, mayRepeat: boolean): Promise<void> {
    if (stopped !== undefined) return;
    await nextTurn();
    if (stopped !== undefined) return;
    const startedAtMs = world.steady();
    try {
      const request = { ...requestFor(step, asked), ...fixed };
      const result = await runGeneration({ ...world, isBackground: true }, caller, request, reporting(asked));
      refusals = 0;
      const answer = answerOf(result, asked.item);
      if (asked.hasAnswer !== true) {
        succeeded += 1;
        answered += 1;
      } else if (answer.state !== "done") return;
      await keepAnswer(asked, { ...answer, ms: Math.round(world.steady() - startedAtMs) });
      if (answer.state !== "doubtful" || step.onFail === undefined) return;
      if (!goesOn) stopped = answer.why;
      else if (mayRepeat) again.push({ ...asked, hasAnswer: true });
    } catch (error) {
      throwIfCancelled(context.signal, "the batch");
      if (error instanceof OrchestratorError && error.facts.code === "store_failed") throw error;
      const why = failureText(error, world, context.signal);
      const { blames, code } =
        error instanceof OrchestratorError ? error.facts : { blames: "machine", code: "internal" };
      if (asked.hasAnswer === true) return;
      if (error instanceof BudgetExceeded || code === "privacy_locked") stopped = why;
      else if (blames === "engine" || blames === "machine") refuse(asked, why, mayRepeat);
      else if (blames === "model" && mayRepeat && goesOn) again.push(asked);
      else await fail(asked, why);
    }
  }

  function keepAnswer({ prompt, item, question }: Asked, answer: Omit<KeptAnswer, "step" | "prompt" | "item">) {
    const { name, questions } = step;
    return keep({ step: name, prompt, item: item.name, ...(questions !== undefined && { question }), ...answer });
  }

  function refuse(asked: Asked, why: string, mayRepeat: boolean): void {
    refusals += 1;
    if (mayRepeat) again.push(asked);
    if (refusals >= maxRefusals || !mayRepeat) stopped = why;
  }

  async function fail(asked: Asked, why: string): Promise<void> {
    failed += 1;
    answered += 1;
    await keepAnswer(asked, { state: "failed", why });
    if (!goesOn) stopped = why;
    else if (succeeded === 0 && failed >= maxFirstFailures)
      stopped = `the first ${counted(failed, "answer")} failed: ${why}`;
  }

  function reporting({ item }: Asked): OperationContext {
    return silent({ ...context, background: AbortSignal.abort() }, ({ message, model: by }) =>
      context.report({ message: `${far()}; ${item.name}: ${message}`, ...defined({ model: by }) }),
    );
  }
}

export function sizeOf({ item, question }: Asked): number {
  return (item.text?.length ?? 0) + question.length;
}

export function requestFor({ request, questions }: KeptStep, { item, question }: Asked): GenerateRequest {
  const { path, text, firstLine } = item;
  const isPart = firstLine !== undefined;
  // Of a whole file a prompt may ask what it does not say in so many words: a summary.
  const isQuestion = text !== undefined && request.format === undefined && (questions !== undefined || isPart);
  return {
    ...request,
    prompt: isQuestion ? `${question}\n${orNothing}` : question,
    ...(text !== undefined && { files: [...(request.files ?? []), { path, text }] }),
  };
}

/** What is kept of an answer. */
export function answerOf(result: GenerateResult, item: BatchItem): Omit<KeptAnswer, "step" | "prompt" | "item"> {
  const { text, check, values, notes, finishReason, model, promptTokens, completionTokens } = result;
  const unchecked = notes.find((note) => note.startsWith("the answer was not checked"));
  const cut = finishReason === "length" ? "cut at its limit of tokens" : undefined;
  const why = check?.problem ?? unchecked ?? cut;
  const quoted =
    check?.statements.flatMap(({ text: said, where }) => (where === undefined ? [] : [[said, where]])) ?? [];
  const where = Object.entries({ ...values?.where, ...(Object.fromEntries(quoted) as Record<string, string>) });
  return {
    state: isEmpty(text) ? "empty" : why === undefined ? "done" : "doubtful",
    text,
    ...defined({ why, promptTokens }),
    ...(where.length > 0 && { where: Object.fromEntries(where.map(([what, place]) => [what, placed(place, item)])) }),
    model,
    completionTokens,
  };
}

/** A place in a part of a file as one in the file: its lines are counted from where the part begins. */
function placed(where: string, { path, firstLine = 1, isRow }: BatchItem): string {
  if (isRow === true) return path;
  if (firstLine === 1) return where;
  return where
    .split(", ")
    .map((place) => {
      if (!place.startsWith(`${path}:`)) return place;
      return path + place.slice(path.length).replaceAll(/\d+/g, (line) => String(Number(line) + firstLine - 1));
    })
    .join(", ");
}

/** Whether an answer says that the text does not say, or is JSON without a value. */
function isEmpty(text: string): boolean {
  const trimmed = text.trim();
  if (
    trimmed === "" ||
    trimmed
      .replaceAll(/[^\p{L}\s]/gu, "")
      .trim()
      .toUpperCase() === notStated
  )
    return true;
  return /^[[{]/.test(trimmed) && !hasValue(jsonIn(trimmed), true);
}

function hasValue(value: unknown, isWhole = false): boolean {
  if (typeof value === "object" && value !== null) return Object.values(value).some((each) => hasValue(each));
  // What isn't JSON after all is an answer.
  return isWhole || (value !== null && value !== undefined && value !== "");
}
