import { Cancelled, EngineUnreachable, PromptTooLong } from "../api/errors.ts";
import type { GenerateRequest, RoutePlan } from "../api/facade.ts";
import type { CallerContext } from "../api/types.ts";
import { requestBudget } from "./budget.ts";
import type { Conversations } from "./conversations.ts";
import { checkFormat } from "./format-limits.ts";
import { ownDefaults } from "./own-defaults.ts";
import { messagesFor, sizePrompt, withNextSteps } from "./prompt-size.ts";
import { chooseRoute, profileOf, type Route, type RouteSource } from "./route.ts";
import { withDefaults } from "./runner.ts";

/** Plans a generation by the same route and budget, without side effects. Throws what `chooseRoute` throws. */
export async function planGeneration(
  source: RouteSource & { readonly conversations: Conversations },
  caller: CallerContext,
  given: GenerateRequest,
): Promise<RoutePlan> {
  if (given.format !== undefined) checkFormat(given.format);
  const thread = given.continueId === undefined ? undefined : source.conversations.begin(given.continueId);
  thread?.end();
  const request = withDefaults(caller, given, thread);
  const unapproved = caller.project?.waiting;
  const down = new Set<string>();
  let lastDownCount = 0;
  let unreachable: EngineUnreachable | undefined;
  for (;;) {
    try {
      const route = await chooseRoute(source, caller, request, caller.signal, down, thread?.model);
      const { entry, reason, budget } = await firstWithRoom(source, route, caller, request);
      const { located } = entry;
      const { engine, model } = located;
      const plan = await source.loader.plan(located, budget.contextTokens, caller.signal, budget.neededTokens);
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
        route: { task, because, ...profileOf(route), considered, attempts: [] },
        plan,
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

/** The first model of the chain whose window holds the prompt, as in the runner. */
async function firstWithRoom(source: RouteSource, route: Route, caller: CallerContext, request: GenerateRequest) {
  let tooLong: PromptTooLong | undefined;
  for (const { entry, reason } of route.chain) {
    const own = await ownDefaults(source, entry.located, caller.signal);
    const prompt = await sizePrompt(entry, messagesFor(caller, request, entry, own), request, caller.signal);
    try {
      return { entry, reason, budget: requestBudget(caller, request, entry, prompt, own) };
    } catch (error) {
      if (!(error instanceof PromptTooLong)) throw error;
      tooLong ??= error;
    }
  }
  if (tooLong === undefined) throw new Error("a route without models"); // A route has at least one, or was refused.
  const tried = route.chain.map(({ entry }) => entry.located.model.name);
  throw await withNextSteps(source, caller, request, tooLong, tried, caller.signal);
}
