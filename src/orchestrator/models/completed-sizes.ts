import type { ModelFacts, ResidentModel } from "../api/types.ts";
import type { Engine } from "../engines/engine.ts";
import { dimensionsOf } from "../memory/dimensions.ts";
import { weightBytesOf } from "../memory/predict.ts";
import { completeReading, defaultContextTokens } from "../memory/reading.ts";
import type { KnownFacts } from "./known-facts.ts";

/**
 * Corrects the sizes that Ollama reports for models with two caches, of which it counts only one (`completeReading`).
 * The facts of a model are requested once; if that fails, the reported size is used.
 */
export function createSizeCompletion(
  facts: Pick<KnownFacts, "of" | "known">,
  signal: AbortSignal,
): (engine: Engine, residents: readonly ResidentModel[]) => Promise<readonly ResidentModel[]> {
  const undescribed = new Set<string>();

  async function factsOf(engine: Engine, resident: ResidentModel): Promise<ModelFacts | undefined> {
    const where = { engine, model: resident };
    const known = facts.known(where);
    const key = JSON.stringify([engine.id, resident.name, resident.digest]);
    if (known !== undefined || undescribed.has(key)) return known;
    try {
      return await facts.of(where, signal);
    } catch {
      // Most likely deleted while loaded: not requested again.
      undescribed.add(key);
      return undefined;
    }
  }

  return async (engine, residents) => {
    if (engine.residency?.serverOptions === undefined) return residents;
    return await Promise.all(
      residents.map(async (resident) =>
        // Without a digest, the facts may be those of other weights.
        resident.digest === undefined ? resident : completed(engine, await factsOf(engine, resident), resident),
      ),
    );
  };
}

function completed(engine: Engine, facts: ModelFacts | undefined, resident: ResidentModel): ResidentModel {
  const dimensions = facts && dimensionsOf(facts);
  const load = facts && engine.residency?.loadShape(facts, resident.contextTokens ?? defaultContextTokens);
  if (facts === undefined || dimensions === undefined || load === undefined) return resident;
  const sizeBytes = completeReading(dimensions, load, weightBytesOf(facts), resident.sizeBytes);
  return sizeBytes === resident.sizeBytes ? resident : { ...resident, sizeBytes, reportedBytes: resident.sizeBytes };
}
