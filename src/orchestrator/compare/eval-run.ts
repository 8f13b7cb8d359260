import { type Cost, nanosPerUnit } from "../api/cost.ts";
import { BudgetExceeded, CheckFailed, OrchestratorError, throwIfCancelled } from "../api/errors.ts";
import type { CheckResult } from "../api/facade-answers.ts";
import type { EvalCase } from "../api/facade-compare.ts";
import type { GenerateRequest } from "../api/facade.ts";
import type { CallerContext } from "../api/types.ts";
import type { Answered } from "../generation/ports.ts";
import { type Resolved, resolve } from "../generation/resolve.ts";
import type { GenerationWorld } from "../generation/runner.ts";
import type { OperationContext } from "../jobs/operations.ts";
import { costNanos } from "../routing/cost.ts";
import { defined } from "../util/values.ts";
import { counted, formatAmount } from "../util/format-bytes.ts";
import { type Contestant, askOnce, failureText, residentBytes, silent } from "./ask-model.ts";
import { type Outcome, scoreOf } from "./eval-score.ts";
import type { State } from "./eval-store.ts";
import { criterion, cut } from "./judge.ts";

type Stored = State["evals"][number];
type Sample = State["answers"][number];

/** Errors that say something about the model and this case: it gave no answer. Others say that it could not be asked. */
const ofCase: ReadonlySet<string> = new Set(
  "generation_failed check_failed prompt_too_long unsupported_capability".split(" "),
);
/** A model that can't be asked so often in a row is left: the others go on. */
const maxRefusals = 3;
/** At temperature 0 it decides nothing, except where an engine samples anyway. */
const seed = 1;

interface Asking {
  readonly world: GenerationWorld;
  readonly caller: CallerContext;
  readonly head: Stored;
  readonly cases: readonly EvalCase[];
  readonly keep: (answer: Sample) => Promise<unknown>;
  readonly context: OperationContext;
  readonly maxTokens?: number;
  readonly budget?: number;
}

/** One run of an eval: asks what is not answered yet, then the judge. */
export class EvalRun {
  readonly #parts: Asking;
  readonly #notes = new Set<string>();
  /** Answers for the judge. */
  readonly #pending: Sample[] = [];
  #done = 0;

  constructor(parts: Asking) {
    this.#parts = parts;
  }

  /** Why answers are missing. */
  get notes(): readonly string[] {
    return [...this.#notes];
  }

  /** Models of one lane in sequence, each with all cases, so that each is loaded once. Each answer is kept before the next is asked. */
  async ask(lanes: readonly (readonly (Contestant & { readonly isRemote: boolean })[])[], before: readonly Sample[]) {
    const { cases, head, budget, keep } = this.#parts;
    const known = new Set(before.map(({ case: at, model }) => `${at} ${model}`));
    this.#pending.push(...before.filter(({ isPending }) => isPending === true));
    this.#done = before.length - this.#pending.length;
    const world = budget === undefined ? this.#parts.world : withBudget(this.#parts.world, budget, before);
    await Promise.all(
      lanes.map(async (lane) => {
        for (const contestant of lane) {
          const open = cases.flatMap((_each, at) => (known.has(`${at} ${contestant.model}`) ? [] : [at]));
          await this.#askModel(world, contestant, open);
        }
      }),
    );
    // After all answers, so that the judge is loaded once.
    for (const answer of head.judge === undefined ? [] : this.#pending) {
      const judged = await this.#judged(answer, head.judge ?? "");
      if (judged === undefined) break;
      await keep(judged);
      this.#done += 1;
    }
  }

  async #askModel(
    world: GenerationWorld,
    contestant: Contestant & { readonly isRemote: boolean },
    open: readonly number[],
  ): Promise<void> {
    let [refusals, missing, problem] = [0, 0, ""];
    // A remote model has none here.
    let hasMemory = contestant.isRemote;
    for (const [index, at] of open.entries()) {
      const found = await this.#askCase(world, contestant, at);
      if ("answer" in found) {
        refusals = 0;
        const memoryBytes: number | undefined = hasMemory
          ? undefined
          : await residentBytes(world, contestant.engine, contestant.model);
        hasMemory ||= memoryBytes !== undefined;
        const answer = { ...found.answer, ...defined({ memoryBytes }) };
        await this.#parts.keep(answer);
        if (answer.isPending === true) this.#pending.push(answer);
        else this.#done += 1;
        continue;
      }
      // One that can't be asked as it is says nothing about the next.
      if (!found.isOfCase) refusals += 1;
      missing += 1;
      problem = found.problem;
      if (!found.isFinal && refusals < maxRefusals) continue;
      missing += open.length - index - 1;
      break;
    }
    if (missing > 0) this.#notes.add(`${contestant.model} did not answer ${counted(missing, "case")}: ${problem}`);
  }

  async #askCase(
    world: GenerationWorld,
    { model, domain, isRemote }: Contestant & { readonly isRemote: boolean },
    at: number,
  ): Promise<
    { readonly answer: Sample } | { readonly problem: string; readonly isFinal: boolean; readonly isOfCase: boolean }
  > {
    const { cases, caller, head, context, maxTokens } = this.#parts;
    const asked = cases[at];
    if (asked === undefined) throw new Error(`no case ${at}`);
    const { prompt, system, task, files, format, check, expects } = asked;
    const by = head.cases[at]?.by;
    const given = { eval: head.id, case: at, model };
    const request: GenerateRequest & Pick<Resolved, "seed"> = {
      model,
      prompt,
      ...defined({
        system,
        task,
        format,
        check,
        maxTokens,
        files: files?.map(({ path, text = "" }) => ({ path, text })),
      }),
      temperature: 0,
      seed,
      useMemory: false,
      ...(!isRemote && { privacy: "local_only" as const }),
    };
    try {
      const { result, isContended } = await askOnce(world, caller, request, domain, this.#silent(model));
      const { timing, check: found, notes } = result;
      const score = await scoreOf(result.text, expects, (text, schema) => this.#validates(text, schema));
      const all = cutScore(formatScore(checkScore(score, found), notes), result.finishReason);
      const isPending = by === "judge" && all.isRight === true ? (true as const) : undefined;
      const isKnown = isPending === undefined && by !== "nothing";
      const answer: Sample = {
        ...given,
        text: cut(result.text),
        ...defined({ isPending, isRight: isKnown ? all.isRight : undefined, why: all.why, cost: result.cost }),
        ms: Math.max(0, result.totalMs - timing.queueMs - timing.loadMs),
        tokensPerSecond: result.tokensPerSecond,
        ...(isContended && { isContended: true }),
      };
      return { answer };
    } catch (error) {
      throwIfCancelled(context.signal, "the eval");
      const problem = failureText(error, world, context.signal);
      const code = error instanceof OrchestratorError ? error.facts.code : "internal";
      if (!ofCase.has(code)) {
        return { problem, isFinal: error instanceof BudgetExceeded, isOfCase: code === "invalid_request" };
      }
      return { answer: { ...given, ...(by !== "nothing" && { isRight: false }), why: `failed: ${problem}` } };
    }
  }

  /** By the thread that validates answers, in bounded time: patterns and schemas are a stranger's. */
  async #validates(text: string, format: NonNullable<GenerateRequest["format"]>): Promise<Outcome> {
    const { world, caller, context } = this.#parts;
    const request = resolve({ prompt: "", format }, caller);
    const judge = await world.judge(request, { caller: caller.id, signal: context.signal });
    const generation = { text, finishReason: "stop", completionTokens: 0, decodeMs: 0, firstTokenMs: 0 };
    const answered = { generation, notes: [], queueMs: 0, loadMs: 0, cost: undefined, memory: undefined };
    const model = { name: "it", isParallel: false, ask: () => Promise.resolve(answered as unknown as Answered) };
    try {
      const found = await judge.ask(model, request, this.#silent("it"));
      return formatScore({ isRight: true }, found.answered.notes);
    } catch (error) {
      if (error instanceof CheckFailed) return { isRight: false, why: error.message.replace(/^it /, "") };
      throw error;
    }
  }

  /** Undefined: the judge could not be asked. */
  async #judged(answer: Sample, judge: string): Promise<Sample | undefined> {
    const { world, caller, cases, context } = this.#parts;
    const { isPending: _pending, ...rest } = answer;
    const asked = cases[answer.case];
    try {
      for (const { value, isNot = false } of asked?.expects.filter(({ type }) => type === "judge") ?? []) {
        const request: GenerateRequest & Pick<Resolved, "seed"> = {
          model: judge,
          system: criterion.system,
          prompt: criterion.prompt(asked?.prompt ?? "", answer.text ?? "", String(value)),
          format: criterion.format,
          temperature: 0,
          seed,
          maxTokens: 300,
          useMemory: false,
          privacy: "local_only",
        };
        const text = await askOnce(world, caller, request, "local", this.#silent(judge)).then(
          ({ result }) => result.text,
          (error: unknown) => {
            if (error instanceof CheckFailed) return error.text;
            throw error;
          },
        );
        const { isMet, reason } = criterion.read(text);
        if (isMet === undefined) return { ...rest, why: `${judge} could not tell: ${reason}` };
        if (isMet === isNot) return { ...rest, isRight: false, why: `${judge}: ${reason}` };
      }
      return { ...rest, isRight: true };
    } catch (error) {
      throwIfCancelled(context.signal, "the eval");
      this.#notes.add(`not all answers were judged: ${failureText(error, world, context.signal)}`);
      return undefined;
    }
  }

  #silent(model: string): OperationContext {
    const { context, cases, head } = this.#parts;
    return silent(context, ({ message, ...progress }) => {
      const done = `${this.#done} of ${counted(cases.length * head.models.length, "answer")}`;
      context.report({
        ...progress,
        message: `${done}; ${message.includes(model) ? message : `${model}: ${message}`}`,
      });
    });
  }
}

/** What stands in no file, or does not pass, is wrong; an answer that states nothing, or was not checked, is not known. */
function checkScore(score: Outcome, check: CheckResult | undefined): Outcome {
  if (check?.problem === undefined || score.isRight === false) return score;
  const { kind, problem: why, statements } = check;
  const isUnknown =
    kind === "command"
      ? why.startsWith("the answer was not checked")
      : !statements.some(({ status }) => status === "not_found");
  return isUnknown ? { why } : { isRight: false, why };
}

function formatScore(score: Outcome, notes: readonly string[]): Outcome {
  const unchecked = notes.find((note) => note.startsWith("the answer was not checked against"));
  return unchecked === undefined || score.isRight === false ? score : { why: unchecked };
}

/** It may be the limit of tokens that was wrong. */
function cutScore(score: Outcome, finishReason: string): Outcome {
  if (score.why === undefined || finishReason !== "length") return score;
  return { ...score, why: `${score.why}; the answer was cut at its limit of tokens` };
}

/** A world whose requests are refused before the sum of their costs could pass the budget. */
function withBudget(world: GenerationWorld, budget: number, before: readonly { readonly cost?: Cost }[]) {
  const { spending } = world;
  let used = before.reduce((sum, { cost }) => sum + Math.round((cost?.amount ?? 0) * nanosPerUnit), 0);
  let currency = before.find(({ cost }) => cost !== undefined)?.cost?.currency;
  const reserve: typeof spending.reserve = async (engine, model, worst) => {
    const prices = engine.pricesOf?.(model);
    if (prices === undefined) return spending.reserve(engine, model, worst);
    currency ??= prices.currency;
    const held = costNanos(worst, prices);
    const most = formatAmount(held / nanosPerUnit, prices.currency);
    if (prices.currency !== currency) {
      throw new BudgetExceeded(`${model} is paid in ${prices.currency}, and the budget counts ${currency}`);
    }
    if (used + held > budget * nanosPerUnit) {
      const spent = formatAmount(used / nanosPerUnit, currency);
      throw new BudgetExceeded(
        `the next answer may cost ${most}, and ${spent} of the budget of ${formatAmount(budget, currency)} are spent or reserved`,
      );
    }
    used += held;
    const bill = await spending.reserve(engine, model, worst).catch((error: unknown) => {
      used -= held;
      throw error;
    });
    let open = held;
    return (
      bill && {
        async settle(tokens, isEstimated) {
          used += costNanos(tokens, prices) - open;
          open = 0;
          return bill.settle(tokens, isEstimated);
        },
        async release() {
          used -= open;
          open = 0;
          await bill.release();
        },
      }
    );
  };
  return { ...world, spending: { ready: () => spending.ready(), left: spending.left.bind(spending), reserve } };
}
