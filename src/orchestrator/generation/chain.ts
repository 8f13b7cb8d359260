import { CheckFailed, OrchestratorError, PromptTooLong } from "../api/errors.ts";
import type { RouteExplanation } from "../api/facade-route.ts";
import type { Outcome } from "../api/events.ts";
import type { CheckResult } from "../api/facade-answers.ts";
import type { CallerContext } from "../api/types.ts";
import type { OperationContext } from "../jobs/operations.ts";
import { idOf, modelId } from "../catalog/located-model.ts";
import type { Candidate } from "../routing/candidate.ts";
import { formatAmount } from "../util/format-bytes.ts";
import { type Ask, type GenerationWorld, attempt, planAttempt } from "./attempt.ts";
import { withNextSteps } from "./budget.ts";
import { unseen } from "./bounded-answer.ts";
import { type LocatedCandidate, listCandidates } from "./candidates.ts";
import { failureOf, obeyed } from "./chain-failures.ts";
import type { Thread } from "./conversations.ts";
import { untriedReplicas } from "./copies.ts";
import type { Answered, Asking, Judge, Quoted, Spent, ModelTurn } from "./ports.ts";
import type { Resolved } from "./resolve.ts";
import { type Route, chooseRoute, shortWaitMs, unlessRefused } from "./route.ts";
import { type requestTally, outcomeOf } from "./tally.ts";

export interface Run {
  readonly world: GenerationWorld;
  readonly caller: CallerContext;
  readonly request: Resolved;
  /** The conversation so far. */
  readonly thread?: Thread | undefined;
  /** The model that has the prefix of a program's conversation. */
  readonly lastModel?: string | undefined;
  readonly context: OperationContext;
  /** Belongs to the request that this is, or is a part of. */
  readonly tally: ReturnType<typeof requestTally>;
  /** For the check of quotes, if the request has parts of the files, or notes on them, in its prompt. */
  readonly quoted?: Quoted | undefined;
}

type Step = Route["chain"][number];

/** The answer of one model of the chain. */
export interface ChainAnswer {
  readonly route: Route;
  readonly entry: LocatedCandidate;
  /** Why this model. */
  readonly reason: string;
  readonly answered: Answered;
  readonly check?: CheckResult;
  readonly attempts: RouteExplanation["attempts"];
  /** One for each attempt that failed, in the same order. */
  readonly failures: readonly OrchestratorError[];
  /** What failed attempts cost. */
  readonly charged: readonly string[];
  /** What all answers took together; absent if there was one. */
  readonly spent?: Spent | undefined;
}

/** Throws `InvalidRequest` for a format that can't be used, and a check that can't be made. */
export async function chainFor(asked: Run): Promise<ModelChain> {
  const { world, context, thread, request, quoted } = asked;
  asked.tally.decided = request.decided;
  const { format, check = "none", grounded = false } = request;
  const { tools = [] } = request.chat ?? {};
  const isPlain = request.chat
    ? tools.length === 0
    : format === undefined && check === "none" && !grounded && !request.tools;
  const judge = isPlain ? undefined : await world.judge(request, askingOf(asked), quoted);
  const sent = judge === undefined ? asked : { ...asked, request: judge.request };
  const down = new Set<string>();
  const route = await chooseRoute(world, sent.request, context.signal, down, thread?.model ?? asked.lastModel);
  if (route.isExploring === true) world.learned.explored();
  return new ModelChain(sent, judge, route, down);
}

/** What checks need of the pipeline. */
function askingOf({ thread, ...asked }: Run): Asking {
  const { world, caller, tally } = asked;
  const { signal, background, report } = asked.context;
  const run = { ...asked, context: { ...unseen, signal, background, report } };
  const others: Asking["others"] = {
    list: async () => (await listCandidates(world, false, signal)).map(({ candidate }) => candidate),
    ask: (request, isInConversation) =>
      tally.beside(async () => (await chainFor({ ...run, request, ...(isInConversation && { thread }) })).answer()),
  };
  return { caller: caller.id, signal, others };
}

/** How often the wait that a server asks for is waited for by one request. */
const maxWaits = 2;

type FailedCheck = Pick<ChainAnswer, "entry" | "reason" | "answered"> & { readonly check: CheckResult };

/** One request on its way along the models of its route. */
class ModelChain {
  readonly #asked: Run;
  readonly #judge: Judge | undefined;
  #route: Route;
  /** The models that are left, the next one first. */
  #waiting: readonly Step[];
  readonly #attempts: RouteExplanation["attempts"][number][] = [];
  readonly #failures: OrchestratorError[] = [];
  readonly #charged: string[] = [];
  /** All answers, also those that failed a check. */
  readonly #answers: Answered[] = [];
  /** Ids of engines that did not respond, and of models that did not fit. */
  readonly #down: Set<string>;
  /** Models whose answer failed the check. */
  readonly #unchecked: Candidate[] = [];
  /** The answer with most that was found, among those that failed the check. */
  #best: FailedCheck | undefined;

  constructor(asked: Run, judge: Judge | undefined, route: Route, down: Set<string>) {
    this.#asked = asked;
    this.#judge = judge;
    this.#route = route;
    this.#waiting = route.chain;
    this.#down = down;
  }

  async answer(): Promise<ChainAnswer> {
    for (let [step] = this.#waiting; step !== undefined; [step] = this.#waiting) {
      this.#waiting = this.#waiting.slice(1);
      const answer = await this.#try(step);
      if (answer !== undefined) return answer;
    }
    if (this.#best !== undefined) return this.#failedCheck(this.#best);
    throw await this.#failure();
  }

  /** The model that would be asked first, and what its load would take. */
  async plan() {
    const { world, caller, request, context, thread } = this.#asked;
    const { signal } = context;
    for (let [step] = this.#waiting; step !== undefined; [step] = this.#waiting) {
      this.#waiting = this.#waiting.slice(1);
      const { reason } = step;
      const tried = new Set(this.#attempts.map(({ engine }) => engine));
      const { entry } = await world.copies.wouldAssign(world, step.entry, request, tried, signal);
      const { located } = entry;
      const route = this.#route;
      try {
        const ask = { caller, request, history: thread?.history ?? [], route, entry };
        const fitted = await planAttempt(world, ask, signal);
        const { contextTokens, neededTokens } = fitted.budget;
        const plan = await world.plans.of(located, contextTokens, signal, neededTokens);
        // Throws what the load would.
        await world.loaded.checkResponse(located.engine, signal);
        return { route, entry, reason, fitted, plan };
      } catch (error) {
        if (!(error instanceof OrchestratorError) || error.facts.mayOtherAnswer !== true) throw error;
        this.#noteFailure(entry, error);
        this.#waiting = await this.#left(step, entry, error);
      }
    }
    throw await this.#failure();
  }

  /** Asks the model of a step. Undefined if it failed, or its answer did, and another model may do better. */
  async #try(step: Step): Promise<ChainAnswer | undefined> {
    const { world, request, context } = this.#asked;
    const { reason } = step;
    context.clearText();
    const tried = new Set(this.#attempts.map(({ engine }) => engine));
    const assigned = await world.copies.assign(world, step.entry, request, tried, context.signal);
    const { entry } = assigned;
    const { trust, capabilities } = entry.candidate;
    const mayCall = request.tools === undefined || (trust === "local" && capabilities.includes("tools"));
    const judge = mayCall ? this.#judge : undefined;
    try {
      if (judge === undefined) {
        const asked = mayCall ? assigned.request : withoutTools(assigned.request);
        return this.#passed({ entry, reason, answered: await this.#ask(entry, { request: asked, context }) });
      }
      const isParallel = (entry.located.engine.parallelAnswers ?? 1) > 1;
      const model = { name: entry.candidate.model, isParallel, ask: (turn: ModelTurn) => this.#ask(entry, turn) };
      const { answered, check, isUnchecked = false } = await judge.ask(model, assigned.request, context);
      const own = { entry, reason, answered };
      if (check === undefined) return this.#passed(own, isUnchecked);
      if (check.problem === undefined || isUnchecked) return this.#passed({ ...own, check }, isUnchecked);
      if (this.#best === undefined || foundBy(check) > foundBy(this.#best.check)) this.#best = { ...own, check };
      throw new CheckFailed(check.problem, { text: answered.generation.text });
    } catch (error) {
      if (!(error instanceof OrchestratorError) || error.facts.mayOtherAnswer !== true) throw error;
      await this.#moveOn(step, entry, error);
      return undefined;
    } finally {
      assigned.release();
    }
  }

  async #ask(entry: LocatedCandidate, { request, before, corrects, context }: ModelTurn): Promise<Answered> {
    const { world, caller, thread, tally } = this.#asked;
    const { model } = entry.located;
    const { breaker } = world.observations.of(idOf(entry.located));
    const mustWaitMs = breaker?.coolDown?.mustWaitMs ?? 0;
    if (mustWaitMs > 0) await obeyed(mustWaitMs, model.name, context);
    if (corrects !== undefined) this.#learn(entry, "corrected");
    const history = thread?.history ?? [];
    const ask: Ask = {
      caller,
      request,
      history: before === undefined ? history : [...history, ...before],
      route: this.#route,
      entry,
      corrects,
    };
    const answered = await tally.attempt(entry, (note) => {
      const spent: Ask["spent"] = (tokens, cost) => {
        note(tokens, cost);
        if (cost === undefined) return;
        const { amount, currency } = cost;
        this.#charged.push(`the attempt of ${model.name}, which failed, cost about ${formatAmount(amount, currency)}`);
      };
      const work = () => attempt(world, { spent, ...ask }, context);
      return breaker === undefined ? work() : breaker.run(work);
    });
    this.#answers.push(answered);
    return answered;
  }

  #passed(answer: Pick<ChainAnswer, "entry" | "reason" | "answered" | "check">, isUnchecked = false): ChainAnswer {
    this.#attempts.push({ outcome: "answered", ...whereIs(answer.entry) });
    const outcome = outcomeOf(answer.answered.generation, this.#asked.request, answer.check !== undefined);
    this.#learn(answer.entry, isUnchecked ? undefined : outcome);
    this.#asked.tally.fallbacks += this.#failures.length;
    return this.#answerOf(answer);
  }

  #answerOf(answer: Pick<ChainAnswer, "entry" | "reason" | "answered" | "check">): ChainAnswer {
    this.#asked.tally.given = answer;
    return {
      route: this.#route,
      ...answer,
      attempts: this.#attempts,
      failures: this.#failures,
      charged: this.#charged,
      spent: this.#judge?.spent(this.#answers),
    };
  }

  /** The best answer that failed its check, with what that means for the caller. */
  #failedCheck({ check, ...best }: FailedCheck): ChainAnswer {
    const { model } = whereIs(best.entry);
    // Its own failure is among them.
    this.#asked.tally.fallbacks += this.#failures.length - 1;
    const left = this.#asked.request.model === undefined ? "no stronger model is left" : `only ${model} may be asked`;
    return this.#answerOf({
      ...best,
      check: { ...check, problem: `${check.problem ?? ""}; ${left}: do this yourself` },
    });
  }

  /** Records a failure, and decides which models are left. */
  async #moveOn(step: Step, entry: LocatedCandidate, error: OrchestratorError): Promise<void> {
    const { world, context, tally } = this.#asked;
    const { model, engine } = whereIs(entry);
    const { code, evidence } = error.facts;
    if (code === "check_failed") tally.fail(error);
    this.#noteFailure(entry, error);
    world.log.info(`${model} on ${engine} failed: ${error.message}`);
    this.#learn(entry, evidence);
    await this.#observe(entry, error);
    // A program that streams has the beginning of this answer.
    if (this.#asked.request.chat !== undefined && context.hasText?.() === true) throw error;
    this.#waiting = await this.#left(step, entry, error);
    if (this.#waiting.length === 0) return;
    const problem =
      code === "prompt_too_long" || code === "check_failed" ? error.message : `${model} failed (${error.message})`;
    context.report({ message: `${problem}; trying the next model` });
  }

  #noteFailure(entry: LocatedCandidate, error: OrchestratorError): void {
    this.#attempts.push({ outcome: error.message, ...whereIs(entry) });
    this.#failures.push(error);
  }

  /** What routing learns about the model's answers to this task. */
  #learn({ located }: LocatedCandidate, outcome: Outcome | undefined): void {
    const { tally, request } = this.#asked;
    if (outcome === undefined || !request.settings.model.routing.learn) return;
    tally.learn(this.#route.task, located.model.name, outcome);
  }

  /** What later requests have to know. A check that failed says nothing about the engine. */
  async #observe({ located: { engine, model } }: LocatedCandidate, error: OrchestratorError): Promise<void> {
    const { inventory, observations } = this.#asked.world;
    const { code, isDown, startsCoolDown } = error.facts;
    if (code === "check_failed") return;
    if (code === "unknown_model" || isDown === true) inventory.forget(engine);
    // After a crash or restart of the engine its models are no longer loaded.
    else if (code !== "budget_exceeded") inventory.forgetResidency(engine);
    if (startsCoolDown === true) await observations.failed(modelId(engine.id, model.name), error);
  }

  /** The steps that are left after a failure, in order. A route chosen anew may have models that are too small. */
  async #left(step: Step, entry: LocatedCandidate, error: OrchestratorError): Promise<readonly Step[]> {
    const isUnchecked = error.facts.code === "check_failed";
    if (isUnchecked) this.#unchecked.push(entry.candidate);
    let waiting = isUnchecked ? this.#waiting : await this.#leftAfterFault(step, entry, error);
    for (const failed of this.#unchecked) waiting = this.#judge?.stepsAfter(waiting, failed) ?? waiting;
    return waiting;
  }

  async #leftAfterFault(step: Step, entry: LocatedCandidate, error: OrchestratorError): Promise<readonly Step[]> {
    let waiting = this.#hasOtherCopies(step, entry) ? [step, ...this.#waiting] : this.#waiting;
    const { code, isDown = false } = error.facts;
    if (isDown || code === "model_does_not_fit") waiting = await this.#chosenWithout(entry, error);
    if (!isDown && code !== "prompt_too_long") waiting = await this.#withOtherHosts(waiting, entry);
    if (waiting.length === 0) waiting = this.#mayAskAgain(entry, error) ? [step] : [];
    if (!(error instanceof PromptTooLong)) return waiting;
    // Another tokenizer may count a little less, but not enough for a window of the same size.
    const { promptTokens, contextTokens, isExact } = error;
    const least = isExact ? promptTokens : Math.min(contextTokens || Infinity, entry.candidate.contextTokens);
    return waiting.filter((next) => next.entry.candidate.contextTokens > least);
  }

  /** Whether the routed engine, or another replica of its cluster, may still answer. */
  #hasOtherCopies(step: Step, { located }: LocatedCandidate): boolean {
    if (located.engine.replicas === undefined) return located.engine !== step.entry.located.engine;
    const tried = new Set(this.#attempts.map(({ engine }) => engine));
    return untriedReplicas(this.#asked.world.inventory, located, tried).length > 0;
  }

  /** Whether the server asked for a short wait only. */
  #mayAskAgain(entry: LocatedCandidate, { retryAfterMs }: OrchestratorError): boolean {
    const { model, engine } = whereIs(entry);
    const asked = this.#attempts.filter((tried) => tried.engine === engine && tried.model === model).length;
    return retryAfterMs !== undefined && retryAfterMs <= shortWaitMs && asked <= maxWaits;
  }

  /**
   * The route chosen again without an engine that does not respond, so that engines with the same models take over, or
   * without a model that turned out too large: a smaller quantization of it may be the next best.
   */
  async #chosenWithout({ located: { engine, model } }: LocatedCandidate, error: OrchestratorError) {
    this.#down.add(error.facts.isDown === true ? engine.id : modelId(engine.id, model.name));
    const other = await this.#choose(this.#asked.request);
    if (other === undefined) return [];
    this.#route = other;
    return other.chain.filter((step) => this.#isUntried(step));
  }

  /** The steps that are left, and before the remote ones the failed model on engines where it was not tried. */
  async #withOtherHosts(waiting: readonly Step[], failed: LocatedCandidate): Promise<readonly Step[]> {
    const { world, request } = this.#asked;
    // A named model is tried on every engine anyway; so is one of a cluster, on each of its replicas.
    const isCovered = request.model !== undefined || failed.located.engine.replicas !== undefined;
    if (isCovered || world.inventory.engines.length < 2) return waiting;
    const model = failed.located.model.name;
    const held = await this.#choose({ ...request, model });
    const isWaiting = ({ entry: { located } }: Step) =>
      waiting.some(({ entry }) => entry.located.engine === located.engine && entry.located.model.name === model);
    const others = (held?.chain ?? [])
      .filter((step) => this.#isUntried(step) && !isWaiting(step))
      .map(({ entry }) => ({ entry, reason: `the same model on ${entry.located.engine.id}` }));
    if (others.length === 0) return waiting;
    const isRemote = ({ entry }: Step) => entry.candidate.trust === "remote";
    const local = [...waiting, ...others].filter((step) => !isRemote(step));
    return [...local, ...waiting.filter(isRemote), ...others.filter(isRemote)];
  }

  /** Undefined if it is refused: the failure before it is more useful. */
  #choose(request: Resolved): Promise<Route | undefined> {
    const { world, context, thread, lastModel } = this.#asked;
    return chooseRoute(world, request, context.signal, this.#down, thread?.model ?? lastModel).catch(unlessRefused);
  }

  #isUntried({ entry }: Step): boolean {
    const { model, engine } = whereIs(entry);
    return !this.#attempts.some((tried) => tried.engine === engine && tried.model === model);
  }

  async #failure(): Promise<Error> {
    const { world, request, context } = this.#asked;
    const last = this.#failures.at(-1);
    if (last instanceof PromptTooLong) {
      const tried = this.#attempts.map(({ model }) => model);
      this.#failures.splice(-1, 1, await withNextSteps(world, request, last, tried, context.signal));
    }
    return failureOf(this.#attempts, this.#failures);
  }
}

const withoutTools = ({ tools: _tools, ...request }: Resolved): Resolved => request;

const whereIs = ({ located: { engine, model } }: LocatedCandidate) => ({ model: model.name, engine: engine.id });

/** What the check found of an answer: the best of those that failed has most. */
function foundBy({ statements, votes }: CheckResult): number {
  return votes?.equal ?? statements.filter(({ status }) => /^(?:quoted|value_found|supported)$/.test(status)).length;
}
