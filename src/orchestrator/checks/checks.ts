import { randomInt } from "node:crypto";
import { CheckFailed, InvalidRequest, OrchestratorError, PromptTooLong, throwIfCancelled } from "../api/errors.ts";
import { type NextStep, advice } from "../api/next-step.ts";
import type { JsonSchema } from "../api/types.ts";
import { counted, formatAmount } from "../util/format-bytes.ts";
import { sameModel } from "../util/model-name.ts";
import { type AnswerCheck, type CheckPlace, type Sample, type agreeCheck, checkOf } from "./answer-checks.ts";
import type { Commands } from "./command.ts";
import type {
  Answered,
  Asking,
  ChainStep,
  Resolved,
  Judge,
  Judged,
  JudgedModel,
  Judging,
  Quoted,
  Spent,
  ModelTurn,
} from "../generation/ports.ts";
import { CheckThreads } from "./check-threads.ts";
import type { TriedFormat } from "./check-worker.ts";
import { type GroundedAnswer, groundedRequest, ungroundedProblem } from "./grounded.ts";
import { JsonFormat, type JsonText, type Validation, isQuick, notValidated } from "./json-format.ts";
import { questionOf } from "../util/file-name.ts";
import { defined } from "../util/values.ts";

export { valueKey } from "./answer-checks.ts";

type Candidate = ChainStep["entry"]["candidate"];

/** A format that answers are validated against. */
type Format = Awaited<ReturnType<typeof formatOf>>;

/** Throws `InvalidRequest` for a format that can't be used. */
async function formatOf(
  format: NonNullable<Resolved["format"]>,
  place: Pick<CheckPlace, "threads" | "caller" | "signal">,
) {
  const own = isQuick(format) ? new JsonFormat(format).tryOut() : undefined;
  const { ignoredPatterns } = own ?? (await tried(format, place));
  return {
    ignoredPatterns,
    async validate({ text, finishReason }: JsonText): Promise<Validation> {
      if (own !== undefined && isQuick(format, text.length)) return own.validate({ text, finishReason });
      const end = await place.threads.run({ kind: "validate", format, answer: { text, finishReason } }, place);
      if ("found" in end) return end.found as Validation;
      const sofar = (end.sofar ?? { text }) as Validation;
      return sofar.problem === undefined ? { ...sofar, unchecked: end.unfinished } : sofar;
    },
  };
}

/** Says why a text does not match a schema, as a predicate; undefined if it does. Throws `InvalidRequest` for a schema that can't be used. */
export function createValidator(entry: string, ended: AbortSignal) {
  const threads = new CheckThreads(entry, ended);
  return async (text: string, schema: JsonSchema, asking: Pick<Asking, "caller" | "signal">) => {
    const format = await formatOf(schema, { ...asking, threads });
    const { problem, unchecked } = await format.validate({ text, finishReason: "stop" });
    return problem ?? (unchecked === undefined ? undefined : `was not checked: ${unchecked}`);
  };
}

type Grounding = (answer: string) => Promise<GroundedAnswer>;

function groundingOf(
  { request, texts, question }: NonNullable<ReturnType<typeof groundedRequest>>,
  place: CheckPlace,
): Grounding {
  const { format = "json" } = request;
  return async (answer) => {
    const end = await place.threads.run({ kind: "values", format, texts, question, answer }, place);
    if ("found" in end) return end.found as GroundedAnswer;
    const notes = [`the values were not looked for in the text: ${end.unfinished}`];
    return { text: answer, where: {}, notJudged: [], missing: [], notes };
  };
}

const count = (found: GroundedAnswer | undefined): number => Object.keys(found?.where ?? {}).length;

async function tried(
  format: NonNullable<Resolved["format"]>,
  place: Parameters<typeof formatOf>[1],
): Promise<TriedFormat> {
  const end = await place.threads.run({ kind: "format", format }, place);
  if ("found" in end) {
    const { refusal, ...found } = end.found as TriedFormat;
    if (refusal !== undefined) throw new InvalidRequest(refusal.message, { next: refusal.next });
    return found;
  }
  if (end.isOwnFault) throw notValidated(end.unfinished);
  // The answer says that it was not checked.
  return { ignoredPatterns: [] };
}

/**
 * Judges requests with a format, a check or tools; loaded with the first one. `entry` is the absolute path of the built
 * `check-worker.mjs`; idle threads end when `signal` aborts.
 */
export function createJudging(
  entry: string,
  settings: () => { readonly checks: Commands; readonly model: { readonly judge?: string | undefined } },
  signal: AbortSignal,
): Judging {
  const threads = new CheckThreads(entry, signal);
  return async (given, asking, quoted) => {
    const { checks: commands, model } = settings();
    const place = { others: none, ...asking, threads, commands, judge: model.judge, answers: [] };
    const { tools, chat = tools && { messages: [], sampling: {}, tools } } = given;
    if (chat === undefined) return checking(given, place, quoted);
    const { CallCheck } = await import("./tool-calls.ts");
    const check = new CallCheck(chat, given.format !== undefined, (schema) => formatOf(schema, place));
    return { request: given, ask: check.ask.bind(check), stepsAfter: stepsAfterCheck, spent: spentOn };
  };
}

const none: NonNullable<Asking["others"]> = {
  list: () => Promise.resolve([]),
  ask: () => Promise.reject(new InvalidRequest("no other model may be asked")),
};

async function checking(
  given: Resolved,
  place: CheckPlace,
  quoted: Quoted = { files: given.files, question: given.prompt },
): Promise<Judge> {
  const check = await checkOf(given, quoted, place);
  const checked = check?.request ?? given;
  const inText = groundedRequest(checked, quoted);
  const request = inText?.request ?? checked;
  const ground = inText && groundingOf(inText, place);
  const format = request.format === undefined ? undefined : await formatOf(request.format, place);
  const valid = { format, ground };
  return {
    request,
    stepsAfter: stepsAfterCheck,
    // With those of other models than the one that is asked.
    spent: (answers) => spentOn([...answers, ...place.answers]),
    async ask(model, asked, context) {
      // What the caller gets is made from it.
      const silent = { ...context, addText: () => undefined };
      if (check === undefined)
        return validAnswer(valid, model, { request: asked, context: ground === undefined ? context : silent });
      if ("vote" in check) return agreed(valid, check, model, asked, silent);
      const turn = { request: asked, context: silent };
      const { answered } = await validAnswer(valid, model, turn);
      const found = await check.judge(answered.generation, model.name);
      const once =
        found.correct === undefined ? undefined : await corrected(valid, check, model, turn, answered, found.correct);
      return once ?? judged(answered, found);
    },
  };
}

/** What answers are held to before their check. */
interface Valid {
  readonly format: Format | undefined;
  readonly ground: Grounding | undefined;
}

/** The answer once corrected, if it passes then. */
async function corrected(
  valid: Valid,
  check: AnswerCheck,
  model: JudgedModel,
  turn: ModelTurn,
  answered: Answered,
  problem: string,
): Promise<Judged | undefined> {
  const { context } = turn;
  context.report({ message: `${model.name} ${problem}; asking it to correct that` });
  try {
    const wanted = `${problem}\n\nAnswer again, corrected, and nothing else.`;
    const again = { ...correction(turn, answered.generation.text, wanted), corrects: answered, context };
    const { answered: second } = await validAnswer(valid, model, again);
    const found = await check.judge(second.generation, model.name);
    return found.result.problem === undefined ? judged(second, found) : undefined;
  } catch (error) {
    throwIfCancelled(context.signal, "the request");
    if (!(error instanceof OrchestratorError)) throw error;
    // What is wrong with the first answer is more useful.
    return undefined;
  }
}

/** An answer that matches the format. A model whose answer doesn't is shown it with the reason, once. */
async function validAnswer({ format, ground }: Valid, model: JudgedModel, given: ModelTurn): Promise<Judged> {
  const { context } = given;
  const first = await model.ask(given);
  if (format === undefined) return { answered: first };
  const validation = await format.validate(first.generation);
  const found = validation.problem === undefined ? await ground?.(validation.text) : undefined;
  const problem =
    validation.problem ?? (found !== undefined && found.missing.length > 0 ? ungroundedProblem(found) : undefined);
  if (problem === undefined) return noted(format, first, validation, found);
  context.report({ message: `${model.name} ${problem}; asking it to correct that` });
  context.clearText();
  const wanted = `${problem.replace("its JSON", "your JSON")}. Answer again, with the corrected JSON and nothing else.`;
  const turn = { ...correction(given, first.generation.text, wanted), corrects: first, context };
  try {
    const second = await model.ask(turn);
    const again = await format.validate(second.generation);
    if (again.problem !== undefined) throw invalid(model.name, again.problem, second);
    const now = await ground?.(again.text);
    return count(now) < count(found) ? noted(format, first, validation, found) : noted(format, second, again, now);
  } catch (error) {
    throwIfCancelled(context.signal, "the request");
    // The first one had values that can be kept.
    if (found !== undefined && error instanceof OrchestratorError) return noted(format, first, validation, found);
    if (error instanceof PromptTooLong) throw invalid(model.name, problem, first);
    throw error;
  }
}

function noted(
  format: Format | undefined,
  answered: Answered,
  { text, unchecked }: Validation,
  found?: GroundedAnswer,
): Judged {
  const ignored = format?.ignoredPatterns ?? [];
  const { where, notJudged } = found ?? {};
  const not = "the answer was not checked against";
  const note =
    unchecked !== undefined
      ? `${not} the JSON schema: ${unchecked}`
      : ignored.length > 0
        ? `${not} patterns that are no regular expressions: ${ignored.join(", ")}`
        : undefined;
  return {
    answered: {
      ...withText(answered, found?.text ?? text),
      ...(where && notJudged && { values: { where, notJudged } }),
      notes: [...answered.notes, ...(found?.notes ?? []), ...(note === undefined ? [] : [note])],
    },
    isUnchecked: unchecked !== undefined,
  };
}

/** The majority of several answers. One that fails is no vote for any. */
async function agreed(
  { format, ground }: Valid,
  check: ReturnType<typeof agreeCheck>,
  model: JudgedModel,
  request: Resolved,
  context: ModelTurn["context"],
): Promise<Judged> {
  let done = 0;
  const { keepAliveSeconds, ...kept } = request;
  const one = async (index: number): Promise<Sample & { readonly answered?: Answered }> => {
    // Unloaded after the last answer only, or each one would load the model.
    const isKept = keepAliveSeconds === 0 && !model.isParallel && index < check.answers - 1;
    // A model's own seed would make all answers equal.
    const seeded = { ...(isKept ? kept : request), seed: randomInt(2 ** 31) };
    try {
      const answered = await model.ask({ request: seeded, context });
      const { text, finishReason } = answered.generation;
      if (format === undefined) return { text, answered, isCut: finishReason === "length" };
      const validation = await format.validate(answered.generation);
      const { problem } = validation;
      if (problem !== undefined) return { failure: invalid(model.name, problem, answered) };
      return { text: validation.text, answered: noted(format, answered, validation).answered };
    } catch (error) {
      throwIfCancelled(context.signal, "the request");
      if (!(error instanceof OrchestratorError)) throw error;
      return { failure: error };
    } finally {
      done += 1;
      context.report({ message: `${model.name}: ${done} of ${check.answers} answers` });
    }
  };
  const samples: Awaited<ReturnType<typeof one>>[] = [];
  if (model.isParallel) {
    // All have ended before any error is thrown, so that a cancelled request leaves none behind.
    const settled = await Promise.allSettled(Array.from({ length: check.answers }, (_, index) => one(index)));
    for (const each of settled) {
      if (each.status === "rejected") throw each.reason;
      samples.push(each.value);
    }
  } else while (samples.length < check.answers) samples.push(await one(samples.length));
  const { text, result } = check.vote(samples);
  const chosen = samples.find((sample) => sample.answered !== undefined && sample.text?.trim() === text);
  const failure = samples.find((sample) => sample.failure !== undefined)?.failure;
  if (chosen?.answered === undefined)
    throw failure ?? new CheckFailed(`${model.name} gave empty answers`, { text: "" });
  const found = await ground?.(text);
  return { ...noted(format, chosen.answered, { text }, found), check: result };
}

function judged(
  answered: Answered,
  { text, result, isUnchecked = false, notes = [] }: Awaited<ReturnType<AnswerCheck["judge"]>>,
): Judged {
  const told = { ...withText(answered, text), notes: [...answered.notes, ...notes] };
  return { answered: told, check: result, isUnchecked };
}

/**
 * The request that shows a model its answer, with what completes "You". All before it stays as it was, so that the
 * engine's cache is used.
 */
function correction(
  { request, before = [] }: ModelTurn,
  answer: string,
  problem: string,
): Required<Pick<ModelTurn, "request" | "before">> {
  const { files: _files, images, audio, ...rest } = request;
  const asked = { content: questionOf(request), ...(images && { images }), ...(audio && { audio }) };
  return {
    request: { ...rest, prompt: `You ${problem}` },
    before: [
      ...before,
      { role: "user", ...asked },
      { role: "assistant", content: answer.trim() === "" ? "(empty)" : answer },
    ],
  };
}

function invalid(model: string, problem: string, { generation }: Answered): CheckFailed {
  const isCut = generation.finishReason === "length";
  const next: readonly NextStep[] = isCut
    ? [{ step: "raiseArgument", argument: "maxTokens" }, advice("use a schema that requires less text")]
    : [{ step: "retry" }, advice("use a larger model or a simpler schema (no bounds or patterns)")];
  return new CheckFailed(`${model} ${problem}`, { text: generation.text, next });
}

function withText(answered: Answered, text: string): Answered {
  return { ...answered, generation: { ...answered.generation, text } };
}

/**
 * The steps of a chain that may do better than a model whose answer failed its check: larger local models, then remote
 * ones. After a remote model only those that are known to be larger, since each one costs. The order is kept otherwise;
 * a named model is the only one of its chain, so that nothing is left.
 */
export function stepsAfterCheck<Step extends ChainStep>(waiting: readonly Step[], failed: Candidate): readonly Step[] {
  const others = waiting.filter(({ entry }) => !sameModel(entry.candidate.model, failed.model));
  const isRemote = ({ entry }: Step) => entry.candidate.trust === "remote";
  const isLarger = ({ entry }: Step) => compareSizes(entry.candidate, failed);
  const remote = others.filter(isRemote);
  if (failed.trust === "remote") return remote.filter((step) => isLarger(step) === true);
  // A server of its own may not tell the size of its models.
  return [...others.filter((step) => !isRemote(step) && isLarger(step) !== false), ...remote];
}

/** Whether a model is larger than another one; undefined if that is unknown. */
function compareSizes(one: Candidate, other: Candidate): boolean | undefined {
  if (one.parameterCount !== undefined && other.parameterCount !== undefined) {
    return one.parameterCount > other.parameterCount;
  }
  return one.sizeBytes > 0 && other.sizeBytes > 0 ? one.sizeBytes > other.sizeBytes : undefined;
}

function spentOn(answers: readonly Answered[]): Spent | undefined {
  const [first] = answers;
  if (first === undefined || answers.length < 2) return undefined;
  const sum = (of: (answered: Answered) => number | undefined) =>
    answers.reduce<number | undefined>((total, each) => {
      const value = of(each);
      return value === undefined ? total : (total ?? 0) + value;
    }, undefined);
  const promptTokens = sum(({ generation }) => generation.promptTokens);
  const cachedPromptTokens = sum(({ generation }) => generation.cachedPromptTokens);
  const cost = answers.findLast((each) => each.cost !== undefined)?.cost;
  const costs = answers.flatMap((each) => each.cost ?? []);
  const [same, others] = [
    costs.filter(({ currency }) => currency === cost?.currency),
    costs.filter(({ currency }) => currency !== cost?.currency),
  ];
  const amount = same.reduce((total, each) => total + each.amount, 0);
  return {
    ...defined({ promptTokens, cachedPromptTokens }),
    completionTokens: sum(({ generation }) => generation.completionTokens) ?? 0,
    firstTokenMs: first.generation.firstTokenMs,
    queueMs: sum(({ queueMs }) => queueMs) ?? 0,
    loadMs: sum(({ loadMs }) => loadMs) ?? 0,
    cost: cost && {
      ...cost,
      amount,
      ...(same.some(({ isEstimated }) => isEstimated) && { isEstimated: true as const }),
    },
    notes: [
      `models answered ${counted(answers.length, "time")} for the check: the tokens${cost ? " and the cost" : ""} are those of all`,
      ...others.map((each) => `another answer cost ${formatAmount(each.amount, each.currency)}`),
    ],
  };
}
