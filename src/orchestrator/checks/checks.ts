import { randomInt } from "node:crypto";
import { CheckFailed, InvalidRequest, OrchestratorError, PromptTooLong, throwIfCancelled } from "../api/errors.ts";
import type { CheckResult } from "../api/facade-answers.ts";
import { type NextStep, advice } from "../api/next-step.ts";
import { counted, formatAmount } from "../util/format-bytes.ts";
import { sameModel } from "../util/model-name.ts";
import { type AgreeCheck, type Sample, agreeCheck } from "./agree.ts";
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
import { type GroundedAnswer, type GroundedRequest, groundedRequest, ungroundedProblem } from "./grounded.ts";
import { JsonFormat, type JsonText, type Validation, isQuick, notValidated } from "./json-format.ts";
import { questionOf } from "../util/file-name.ts";
import { QuotesCheck } from "./quotes.ts";
import { defined } from "../util/defined.ts";

type Candidate = ChainStep["entry"]["candidate"];

/** Prepares a request for a check, and judges the answer. */
interface AnswerCheck {
  /** The request as models get it: with instructions, a format, limits. */
  readonly request: Resolved;
  /** The answer as the caller gets it, and what the check found. */
  judge(answer: string): Promise<Found>;
}

interface Found {
  readonly text: string;
  readonly result: CheckResult;
  readonly isUnchecked?: boolean;
}

/** Where checks that may take long run, and for whom. */
interface CheckPlace extends Asking {
  readonly threads: CheckThreads;
}

type RequestCheck = AnswerCheck | AgreeCheck<Resolved>;

/** The check that a request asks for. Throws `InvalidRequest` for one that can't be made. */
function checkOf(request: Resolved, quoted: Quoted, place: CheckPlace): RequestCheck | undefined {
  if (request.check === "agree") return agreeCheck(request);
  if (request.check === "quotes" && (quoted.files ?? []).length === 0) {
    throw new InvalidRequest("quotes are looked for in files, and the request has none", {
      next: [
        { step: "setArgument", argument: "files" },
        { step: "omitArgument", argument: "check" },
      ],
    });
  }
  return request.check === "quotes" ? quotesCheck(request, quoted, place) : undefined;
}

function quotesCheck(request: Resolved, { files = [], question }: Quoted, place: CheckPlace): AnswerCheck {
  const { prompt, format } = request;
  const quoted = { files: files.map(({ path, text }) => ({ path, text })), question };
  return {
    request: { ...request, prompt: new QuotesCheck(request, quoted).request.prompt },
    async judge(answer) {
      const work = { kind: "quotes", prompt, isJson: format !== undefined, quoted, answer } as const;
      const end = await place.threads.run(work, place);
      if ("found" in end) return end.found as Found;
      const problem = `the statements were not looked for in the files: ${end.unfinished}`;
      const result = { kind: "quotes", statements: [], problem } as const;
      return { text: answer, result, isUnchecked: true };
    },
  };
}

/** A format that answers are validated against. */
interface Format {
  readonly ignoredPatterns: readonly string[];
  validate(answer: JsonText): Promise<Validation>;
}

/** Throws `InvalidRequest` for a format that can't be used. */
async function formatOf(format: NonNullable<Resolved["format"]>, place: CheckPlace): Promise<Format> {
  const own = isQuick(format) ? new JsonFormat(format).tryOut() : undefined;
  const { ignoredPatterns } = own ?? (await tried(format, place));
  return {
    ignoredPatterns,
    async validate({ text, finishReason }) {
      if (own !== undefined && isQuick(format, text.length)) return own.validate({ text, finishReason });
      const end = await place.threads.run({ kind: "validate", format, answer: { text, finishReason } }, place);
      if ("found" in end) return end.found as Validation;
      const sofar = (end.sofar ?? { text }) as Validation;
      return sofar.problem === undefined ? { ...sofar, unchecked: end.unfinished } : sofar;
    },
  };
}

type Grounding = (answer: string) => Promise<GroundedAnswer>;

function groundingOf({ request, texts, question }: GroundedRequest, place: CheckPlace): Grounding {
  const { format = "json" } = request;
  return async (answer) => {
    const end = await place.threads.run({ kind: "values", format, texts, question, answer }, place);
    if ("found" in end) return end.found as GroundedAnswer;
    const notes = [`the values were not looked for in the text: ${end.unfinished}`];
    return { text: answer, where: {}, notJudged: [], missing: [], notes };
  };
}

const count = (found: GroundedAnswer | undefined): number => Object.keys(found?.where ?? {}).length;

async function tried(format: NonNullable<Resolved["format"]>, place: CheckPlace): Promise<TriedFormat> {
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
 * Judges requests with a format or a check; loaded with the first one. `entry` is the absolute path of the built
 * `check-worker.mjs`; idle threads end when `signal` aborts.
 */
export function createJudging(entry: string, signal: AbortSignal): Judging {
  const threads = new CheckThreads(entry, signal);
  return (given, asking, quoted) => Checking.of(given, { ...asking, threads }, quoted);
}

class Checking implements Judge {
  readonly #format: Format | undefined;
  readonly #check: RequestCheck | undefined;
  readonly #ground: Grounding | undefined;

  /** The request as models get it. */
  readonly request: Resolved;

  private constructor(
    request: Resolved,
    check: RequestCheck | undefined,
    format: Format | undefined,
    ground: Grounding | undefined,
  ) {
    this.#ground = ground;
    this.request = request;
    this.#check = check;
    this.#format = format;
  }

  static async of(
    given: Resolved,
    place: CheckPlace,
    quoted: Quoted = { files: given.files, question: given.prompt },
  ): Promise<Checking> {
    const check = checkOf(given, quoted, place);
    const checked = check?.request ?? given;
    const inText = groundedRequest(checked, quoted);
    const request = inText?.request ?? checked;
    const { format } = request;
    const ground = inText && groundingOf(inText, place);
    return new Checking(request, check, format === undefined ? undefined : await formatOf(format, place), ground);
  }

  async ask(model: JudgedModel, request: Resolved, context: ModelTurn["context"]): Promise<Judged> {
    const check = this.#check;
    // What the caller gets is made from it.
    const silent = { ...context, addText: () => undefined };
    if (check === undefined) return this.#valid(model, request, this.#ground === undefined ? context : silent);
    if ("vote" in check) return this.#agreed(check, model, request, silent);
    const { answered } = await this.#valid(model, request, silent);
    const { text, result, isUnchecked = false } = await check.judge(answered.generation.text);
    return { answered: withText(answered, text), check: result, isUnchecked };
  }

  stepsAfter<Step extends ChainStep>(waiting: readonly Step[], failed: Candidate): readonly Step[] {
    return stepsAfterCheck(waiting, failed);
  }

  spent(answers: readonly Answered[]): Spent | undefined {
    return spentOn(answers);
  }

  /** An answer that matches the format. A model whose answer doesn't is shown it with the reason, once. */
  async #valid(model: JudgedModel, request: Resolved, context: ModelTurn["context"]): Promise<Judged> {
    const first = await model.ask({ request, context });
    const format = this.#format;
    if (format === undefined) return { answered: first };
    const validation = await format.validate(first.generation);
    const found = validation.problem === undefined ? await this.#ground?.(validation.text) : undefined;
    const problem =
      validation.problem ?? (found !== undefined && found.missing.length > 0 ? ungroundedProblem(found) : undefined);
    if (problem === undefined) return this.#noted(first, validation, found);
    context.report({ message: `${model.name} ${problem}; asking it to correct that` });
    context.clearText();
    const turn = { ...correction(request, first.generation.text, problem), corrects: first, context };
    try {
      const second = await model.ask(turn);
      const again = await format.validate(second.generation);
      if (again.problem !== undefined) throw invalid(model.name, again.problem, second);
      const now = await this.#ground?.(again.text);
      return count(now) < count(found) ? this.#noted(first, validation, found) : this.#noted(second, again, now);
    } catch (error) {
      throwIfCancelled(context.signal, "the request");
      // The first one had values that can be kept.
      if (found !== undefined && error instanceof OrchestratorError) return this.#noted(first, validation, found);
      if (error instanceof PromptTooLong) throw invalid(model.name, problem, first);
      throw error;
    }
  }

  #noted(answered: Answered, { text, unchecked }: Validation, found?: GroundedAnswer): Judged {
    const ignored = this.#format?.ignoredPatterns ?? [];
    const { where, notJudged } = found ?? {};
    const noted: Answered = {
      ...withText(answered, found?.text ?? text),
      ...(where && notJudged && { values: { where, notJudged } }),
      notes: [...answered.notes, ...(found?.notes ?? [])],
    };
    const not = "the answer was not checked against";
    const note =
      unchecked !== undefined
        ? `${not} the JSON schema: ${unchecked}`
        : ignored.length > 0
          ? `${not} patterns that are no regular expressions: ${ignored.join(", ")}`
          : undefined;
    const isUnchecked = unchecked !== undefined;
    return { answered: note === undefined ? noted : { ...noted, notes: [...noted.notes, note] }, isUnchecked };
  }

  /** The majority of several answers. One that fails is no vote for any. */
  async #agreed(
    check: AgreeCheck<Resolved>,
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
        if (this.#format === undefined) return { text, answered, isCut: finishReason === "length" };
        const validation = await this.#format.validate(answered.generation);
        const { problem } = validation;
        if (problem !== undefined) return { failure: invalid(model.name, problem, answered) };
        return { text: validation.text, answered: this.#noted(answered, validation).answered };
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
    const found = await this.#ground?.(text);
    return { ...this.#noted(chosen.answered, { text }, found), check: result };
  }
}

/** The request that shows a model its answer. All before it stays as it was, so that the engine's cache is used. */
function correction(
  request: Resolved,
  answer: string,
  problem: string,
): Required<Pick<ModelTurn, "request" | "before">> {
  const { files: _files, images, audio, ...rest } = request;
  const asked = { content: questionOf(request), ...(images && { images }), ...(audio && { audio }) };
  return {
    request: {
      ...rest,
      prompt: `You ${problem.replace("its JSON", "your JSON")}. Answer again, with the corrected JSON and nothing else.`,
    },
    before: [
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
      `${counted(answers.length, "answer")} were generated for the check: the tokens${cost ? " and the cost" : ""} are those of all`,
      ...others.map((each) => `another answer cost ${formatAmount(each.amount, each.currency)}`),
    ],
  };
}
