import { describeFromDatabase } from "../catalog/database.ts";
import { overridesOf } from "../catalog/model-overrides.ts";
import { InvalidRequest, UnknownModel } from "../errors.ts";
import type { LoadRequest } from "../facade.ts";
import { type LocatedModel, takesNoMemory } from "../inventory/located-model.ts";
import { canonicalContext } from "../memory/context-size.ts";
import type { CallerContext } from "../types.ts";
import { type CandidateSource, factsOf } from "./candidates.ts";
import { ownDefaults } from "./own-defaults.ts";

/**
 * Where a model would be loaded, and with how much context; `elsewhere` are the other engines that list it. Throws
 * `UnknownModel`, `InvalidRequest`.
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
  if (located === undefined) throw new UnknownModel(`no model ${request.model}`, { hint: "call list_models" });
  const { engine, model } = located;
  if (takesNoMemory(located)) {
    throw new InvalidRequest(`${model.name} runs on ${engine.id}'s cloud: there is nothing to load here`, {
      hint: "name a local model (list_models)",
    });
  }
  const facts = await factsOf(source, located, caller.signal);
  const { contextTokens: windowTokens } = describeFromDatabase(model.name, facts);
  const own = await ownDefaults(source, located, caller.signal);
  const forModel = overridesOf(caller.settings.models, model.name).contextTokens;
  const atLeastTokens = request.contextTokens ?? forModel ?? caller.settings.contextTokens ?? own.contextTokens;
  if (request.contextTokens !== undefined && request.contextTokens > windowTokens) {
    throw new InvalidRequest(
      `context_tokens ${request.contextTokens} is more than the ${windowTokens} tokens that ${model.name} reads`,
      { hint: `ask for at most ${windowTokens}` },
    );
  }
  const elsewhere = others.filter((other) => !takesNoMemory(other));
  return { located, elsewhere, contextTokens: canonicalContext({ atLeastTokens, windowTokens }) };
}
