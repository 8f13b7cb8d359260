import { describeFromDatabase } from "../../../src/orchestrator/routing/database.ts";
import { fallbackOf, findProfile } from "../../../src/orchestrator/config/profiles.ts";
import { statedParameters } from "../../../src/orchestrator/routing/database.ts";
import { defined } from "../../../src/orchestrator/util/values.ts";
import type { Candidate, ChoiceRequest } from "../../../src/orchestrator/routing/candidate.ts";
import { chooseModel } from "../../../src/orchestrator/routing/choose.ts";

/** A candidate as the facade makes it: described by the database, with 4.8 bits for each of its parameters. */
export function candidate(model: string, more: Partial<Candidate> = {}): Candidate {
  const { family, contextTokens, capabilities, profiles, entry, released } = describeFromDatabase(model);
  const parameters = more.parameterCount ?? statedParameters(model) ?? 7e9;
  return {
    model,
    engine: "ollama",
    sizeBytes: 0.6 * parameters,
    trust: "local",
    isLoaded: false,
    family,
    isKnown: entry !== undefined,
    contextTokens,
    capabilities,
    profiles,
    ...defined({ released }),
    fits: "now",
    expectedLoadSeconds: 20,
    ...more,
  };
}

/** The same, in memory. */
export const loaded = (model: string, more: Partial<Candidate> = {}) => candidate(model, { isLoaded: true, ...more });

/** A short question that any chat model can take. */
export function request(
  more: Partial<Omit<ChoiceRequest, "profile">> & { readonly profile?: string } = {},
): ChoiceRequest {
  const { profile: name = "general", ...rest } = more;
  const profile = findProfile(name);
  if (profile === undefined) throw new Error(`no profile ${name}`);
  const fallback = fallbackOf(profile);
  return {
    task: "general",
    profile,
    ...(fallback && { fallback }),
    promptTokens: 100,
    outputTokens: 1000,
    needs: [],
    privacy: "local_only",
    maxSwitchSeconds: 10,
    ...rest,
  };
}

/** Names of the chain, best first. */
export function order(asked: ChoiceRequest, candidates: readonly Candidate[]): readonly string[] {
  return chooseModel(asked, candidates).chain.map(({ candidate: { model } }) => model);
}
