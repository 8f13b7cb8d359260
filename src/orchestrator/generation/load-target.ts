import { describeFromDatabase } from "../catalog/database.ts";
import { overridesOf } from "../catalog/model-overrides.ts";
import { InvalidRequest, UnknownModel } from "../api/errors.ts";
import type { LoadRequest } from "../api/facade.ts";
import { type LocatedModel, takesNoMemory } from "../models/located-model.ts";
import { canonicalContext } from "../memory/context-size.ts";
import type { CallerContext } from "../api/types.ts";
import { type CandidateSource, factsOf } from "./candidates.ts";
import { ownDefaults } from "./own-defaults.ts";

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
    throw new InvalidRequest(`${model.name} runs in the cloud of ${engine.id}, so it can't be loaded here`, {
      next: { step: "chooseModel", that: "on this machine" },
    });
  }
  const facts = await factsOf(source, located, caller.signal);
  const { contextTokens: windowTokens } = describeFromDatabase(model.name, facts);
  const own = await ownDefaults(source, located, caller.signal);
  const forModel = overridesOf(caller.settings.models, model.name).contextTokens;
  const atLeastTokens = request.contextTokens ?? forModel ?? caller.settings.contextTokens ?? own.contextTokens;
  if (request.contextTokens !== undefined && request.contextTokens > windowTokens) {
    throw new InvalidRequest(
      `a context of ${request.contextTokens} tokens exceeds the window of ${model.name}, which has ${windowTokens}`,
      { next: { step: "lowerArgument", argument: "context", to: windowTokens } },
    );
  }
  const elsewhere = others.filter((other) => !takesNoMemory(other));
  return { located, elsewhere, contextTokens: canonicalContext({ atLeastTokens, windowTokens }) };
}
