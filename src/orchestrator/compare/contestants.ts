import { InvalidRequest, OrchestratorError } from "../api/errors.ts";
import type { CompareRequest } from "../api/facade-compare.ts";
import type { GenerateRequest } from "../api/facade.ts";
import { planGeneration } from "../generation/plan-generation.ts";
import { chooseRoute } from "../generation/route.ts";
import type { GenerationWorld } from "../generation/runner.ts";
import { advice } from "../api/next-step.ts";
import { takesNoMemory } from "../models/located-model.ts";
import { sameModel } from "../util/model-name.ts";
import type { CallerContext } from "../api/types.ts";
import { failureText } from "./ask-model.ts";
import type { Contestant } from "./order.ts";

const maxModels = 5;
const maxAutomatic = 3;
const maxRuns = 9;

/** A model that takes part, or the error that keeps it from taking part. */
export type Entrant =
  | { readonly model: string; readonly contestant: Contestant }
  | { readonly model: string; readonly error: string };

/** Validates a request before anything is read. Throws `InvalidRequest`. */
export function checkRequest({ prompt, files, models, runs = 1 }: CompareRequest): void {
  if (prompt.trim() === "" && (files?.length ?? 0) === 0) {
    throw new InvalidRequest("prompt is empty", { next: { step: "setArgument", argument: "prompt" } });
  }
  if (!Number.isInteger(runs) || runs < 1 || runs > maxRuns) {
    throw new InvalidRequest(`a comparison asks each model 1 to ${maxRuns} times, not ${runs}`);
  }
  if (models === "auto") return;
  if (models.length < 2 || models.length > maxModels) {
    throw new InvalidRequest(`a comparison takes 2 to ${maxModels} models, not ${models.length}`, {
      next: { step: "listModels" },
    });
  }
  if (models.some((name) => name.trim() === "")) {
    throw new InvalidRequest("the list of models contains an empty name", { next: { step: "listModels" } });
  }
  const twice = models.find((name, index) => models.slice(0, index).some((other) => sameModel(other, name)));
  if (twice !== undefined) {
    throw new InvalidRequest(`duplicate model "${twice}"`, {
      next: advice("name each model once"),
    });
  }
}

/**
 * Plans each model without side effects: where it would run and what its load would evict. `auto` takes the first
 * models of the route that fit, three at most. Throws `InvalidRequest` when `auto` finds fewer than two.
 */
export async function findContestants(
  world: GenerationWorld,
  caller: CallerContext,
  asked: CompareRequest["models"],
  request: GenerateRequest,
  signal: AbortSignal,
): Promise<readonly Entrant[]> {
  const planner = { ...caller, signal };
  if (asked !== "auto") {
    return Promise.all(asked.map((model) => planEntrant(world, planner, { ...request, model }, model)));
  }
  const routing = { ...caller.settings.routing, isEnabled: true };
  const free = { ...planner, settings: { ...caller.settings, routing } };
  const { chain } = await chooseRoute(world, free, request, signal);
  const found: Entrant[] = [];
  for (const { entry } of chain) {
    const { name } = entry.located.model;
    const entrant = await planEntrant(world, planner, { ...request, model: name }, name);
    if ("contestant" in entrant && entrant.contestant.fits) found.push(entrant);
    if (found.length === maxAutomatic) break;
  }
  if (found.length < 2) {
    const only = found[0] === undefined ? "none fits" : `only ${found[0].model} fits`;
    throw new InvalidRequest(`a comparison takes at least two models, and ${only} for this prompt`, {
      next: [
        { step: "pullModelThat", that: "that fits this machine" },
        { step: "chooseModel", argument: "models" },
      ],
    });
  }
  return found;
}

async function planEntrant(
  world: GenerationWorld,
  caller: CallerContext,
  request: GenerateRequest,
  model: string,
): Promise<Entrant> {
  try {
    const { plan, engine: engineId, model: name } = await planGeneration(world, caller, request);
    const located = await world.inventory.locate(model);
    const chosen = located.find(({ engine }) => engine.id === engineId);
    const isElsewhere = chosen !== undefined && takesNoMemory(chosen);
    return {
      model: name,
      contestant: {
        model: name,
        engine: engineId,
        // A cloud model shares cores with nothing here, not even with another cloud model.
        domain: isElsewhere ? `cloud ${engineId} ${name}` : (chosen?.engine.memoryDomain ?? "local"),
        isLoaded: plan.isLoaded,
        fits: plan.fits,
        evicts: plan.evict.map((victim) => victim.name).filter((victim) => !sameModel(victim, name)),
        bytes: plan.estimate.predictedBytes,
      },
    };
  } catch (error) {
    if (!(error instanceof OrchestratorError)) throw error;
    return { model, error: failureText(error, world, caller.signal) };
  }
}
