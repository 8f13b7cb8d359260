import { Cancelled, EngineUnreachable, InvalidRequest, PromptTooLong, UnknownModel } from "../api/errors.ts";
import type { PartsRead } from "../api/facade-answers.ts";
import type { GenerateRequest, LoadRequest, RoutePlan } from "../api/facade.ts";
import type { CallerContext } from "../api/types.ts";
import { describeFromDatabase } from "../routing/database.ts";
import { canonicalContext } from "../memory/reading.ts";
import { type LocatedModel, takesNoMemory } from "../catalog/located-model.ts";
import type { GenerationWorld } from "./attempt.ts";
import { type TokenBudget, requestBudget, sizePrompt, withNextSteps } from "./budget.ts";
import { factsOf } from "../catalog/known-facts.ts";
import type { CandidateSource, LocatedCandidate } from "./candidates.ts";
import { checkingOf } from "./chain.ts";
import type { Thread } from "./conversations.ts";
import { buildMessages, ownDefaults } from "./prompt.ts";
import { type Resolved, type ResolvedForModel, forModel, originsOf, resolve } from "./resolve.ts";
import { type Route, type RouteSource, chooseRoute, profileOf } from "./route.ts";
import { isAboutSize } from "./runner.ts";
import { defined } from "../util/defined.ts";

/** Plans a generation by the same route and budget, without side effects. Throws what `chooseRoute` throws. */
export async function planGeneration(
  source: RouteSource & Pick<GenerationWorld, "conversations" | "checkThreads">,
  caller: CallerContext,
  given: GenerateRequest,
): Promise<RoutePlan> {
  const thread =
    given.continueId === undefined ? undefined : await source.conversations.begin(given.continueId, caller.signal);
  thread?.end();
  const decided = resolve(given, caller, thread);
  const place = { threads: source.checkThreads, caller: caller.id, signal: caller.signal };
  const { request } = (await checkingOf(decided, place)) ?? { request: decided };
  const unapproved = caller.project?.waiting;
  const down = new Set<string>();
  let lastDownCount = 0;
  let unreachable: EngineUnreachable | undefined;
  for (;;) {
    try {
      const planned = await inOnePart(source, request, down, thread, caller.signal).catch((error: unknown) =>
        inParts(source, request, thread, error, caller.signal),
      );
      const { route, entry, reason, options, budget, parts } = planned;
      const { located } = entry;
      const { engine, model } = located;
      const plan = await source.plans.of(located, budget.contextTokens, caller.signal, budget.neededTokens);
      if (source.inventory.isUnresponsive(engine)) {
        // As in the runner: other engines take over.
        down.add(engine.id);
        await engine.residency?.loaded(caller.signal);
      }
      const { task, because, considered } = route;
      return {
        model: model.name,
        engine: engine.id,
        reason,
        route: {
          task,
          because,
          ...profileOf(route),
          considered,
          options: originsOf(request, model.name, options),
          attempts: [],
        },
        plan,
        ...defined({ parts }),
        notes: [...route.notes, ...budget.notes, ...(unapproved === undefined ? [] : [unapproved])],
      };
    } catch (error) {
      if (error instanceof Cancelled) throw error;
      // The remaining engines may refuse for another reason, but the unresponsive engine is the cause.
      if (!(error instanceof EngineUnreachable) || down.size === lastDownCount) throw unreachable ?? error;
      lastDownCount = down.size;
      unreachable ??= error;
    }
  }
}

interface Planned {
  readonly route: Route;
  readonly entry: LocatedCandidate;
  readonly reason: string;
  readonly options: ResolvedForModel;
  readonly budget: Pick<TokenBudget, "contextTokens" | "neededTokens" | "notes">;
  readonly parts?: PartsRead;
}

async function inOnePart(
  source: RouteSource,
  request: Resolved,
  down: ReadonlySet<string>,
  thread: Thread | undefined,
  signal: AbortSignal,
): Promise<Planned> {
  const route = await chooseRoute(source, request, signal, down, thread?.model);
  return { route, ...(await firstWithRoom(source, route, request, signal)) };
}

/** As in the runner, after a refusal for the length of the text. */
async function inParts(
  source: RouteSource,
  request: Resolved,
  thread: Thread | undefined,
  refusal: unknown,
  signal: AbortSignal,
): Promise<Planned> {
  if (!isAboutSize(refusal)) throw refusal;
  const [{ longRequest }, { prepareParts }] = await Promise.all([
    import("../reading/parts.ts"),
    import("../reading/prepare-parts.ts"),
  ]);
  const long = longRequest(request, refusal);
  const prepared = await prepareParts(source, request, { long, thread, refusal }, signal);
  const { route, entry, reason, windowTokens, options } = prepared;
  const budget = { contextTokens: windowTokens, neededTokens: windowTokens, notes: [] };
  return { route, entry, reason, budget, options, parts: { total: prepared.parts.length } };
}

/** The first model of the chain whose window holds the prompt, as in the runner. */
async function firstWithRoom(source: RouteSource, route: Route, request: Resolved, signal: AbortSignal) {
  let tooLong: PromptTooLong | undefined;
  for (const { entry, reason } of route.chain) {
    const options = forModel(request, entry.located.model.name, await ownDefaults(source, entry.located, signal));
    const prompt = await sizePrompt(entry, buildMessages(request, options), request, signal);
    try {
      return { entry, reason, options, budget: requestBudget(options, entry, prompt) };
    } catch (error) {
      if (!(error instanceof PromptTooLong)) throw error;
      tooLong ??= error;
    }
  }
  if (tooLong === undefined) throw new Error("a route without models"); // A route has at least one, or was refused.
  const tried = route.chain.map(({ entry }) => entry.located.model.name);
  throw await withNextSteps(source, request, tooLong, tried, signal);
}

/**
 * The engine and context size for loading a model; `elsewhere` are the other engines that list it. Throws `UnknownModel`,
 * `InvalidRequest`.
 */
export async function loadTarget(
  source: Pick<CandidateSource, "inventory" | "log">,
  caller: CallerContext,
  request: LoadRequest,
): Promise<{
  readonly located: LocatedModel;
  readonly elsewhere: readonly LocatedModel[];
  readonly contextTokens: number;
}> {
  const [located, ...others] = await source.inventory.locate(request.model);
  if (located === undefined) throw new UnknownModel(`no model ${request.model}`, { next: { step: "listModels" } });
  const { engine, model } = located;
  if (takesNoMemory(located)) {
    const why = engine.residency === undefined ? "is loaded by" : "runs in the cloud of";
    throw new InvalidRequest(`${model.name} ${why} ${engine.id}, so it can't be loaded here`, {
      next: { step: "chooseModel", that: "on this machine" },
    });
  }
  const facts = await factsOf(source, located, caller.signal);
  const { contextTokens: windowTokens } = describeFromDatabase(model.name, facts);
  const own = await ownDefaults(source, located, caller.signal);
  const { settings } = caller;
  const { contextTokens: atLeastTokens } = forModel(
    { settings, ...defined({ contextTokens: request.contextTokens }) },
    model.name,
    own,
  );
  if (request.contextTokens !== undefined && request.contextTokens > windowTokens) {
    throw new InvalidRequest(
      `a context of ${request.contextTokens} tokens exceeds the window of ${model.name}, which has ${windowTokens}`,
      { next: { step: "lowerArgument", argument: "context", to: windowTokens } },
    );
  }
  const elsewhere = others.filter((other) => !takesNoMemory(other));
  return { located, elsewhere, contextTokens: canonicalContext({ atLeastTokens, windowTokens }) };
}

/** Throws `InvalidRequest`. */
export function checkKeepAlive({ keepAliveSeconds, model }: LoadRequest): void {
  if (keepAliveSeconds !== 0) return;
  throw new InvalidRequest("a keep-alive of 0 would unload the model as soon as it is loaded", {
    next: [
      { step: "omitArgument", argument: "keepAlive" },
      { step: "unloadModel", model },
    ],
  });
}
