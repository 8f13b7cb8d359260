import type { ModelFacts } from "../api/types.ts";
import type { Inventory } from "../catalog/inventory.ts";
import type { KnownFacts } from "../catalog/known-facts.ts";
import { type Awaitable, type LocatedModel, byKey, keyOf } from "../catalog/located-model.ts";
import type { Engine, ResidentModel } from "../engines/engine.ts";
import { dimensionsOf } from "../memory/dimensions.ts";
import { weightBytesOf } from "../memory/predict.ts";
import { completeReading, defaultContextTokens } from "../memory/reading.ts";
import type { SlotView } from "../memory/state.ts";
import { mappedBytesOf } from "./plans.ts";
import type { Slots } from "./slots.ts";

/** The models in memory, as their slots have them: what other rooms read. No other room asks engines what they loaded. */
export class LoadedModels {
  readonly #inventory: Inventory;
  readonly #slots: Slots;
  /** Whether a model is loaded, perhaps by another name that its process serves. */
  readonly has: (located: LocatedModel, maxAgeMs: number) => Awaitable<boolean>;

  constructor({ inventory, slots }: { readonly inventory: Inventory; readonly slots: Slots }) {
    this.#inventory = inventory;
    this.#slots = slots;
    this.has = inventory.isLoaded.bind(inventory);
  }

  /** Those of an engine, at most `maxAgeMs` old. */
  async of(engine: Engine, maxAgeMs: number): Promise<readonly SlotView[]> {
    const residents = await this.#inventory.resident(engine, maxAgeMs);
    return residents.map((resident) => this.#slots.view(engine, resident));
  }

  /** Those of an engine that are known, without asking it. `hasCards`: whether its machine has graphics cards. */
  known(engine: Engine, hasCards = false): readonly SlotView[] {
    const files = byKey(this.#inventory.lastList(engine));
    return this.#inventory.lastResident(engine).map((resident) => ({
      ...this.#slots.view(engine, resident),
      mappedBytes: mappedBytesOf(resident, files.get(keyOf(resident))?.sizeBytes ?? 0, hasCards),
    }));
  }

  /** The size of a model, and the name by which it is loaded, which may be another one that its process serves. */
  async find(located: LocatedModel, maxAgeMs: number): Promise<Pick<SlotView, "name" | "sizeBytes"> | undefined> {
    return this.#inventory.residentOf(located, maxAgeMs);
  }

  /** Throws the error with which a load would fail because its engine does not respond. */
  async checkResponse(engine: Engine, signal: AbortSignal): Promise<void> {
    if (this.#inventory.isUnresponsive(engine)) await engine.residency?.loaded(signal);
  }
}

/**
 * Corrects the sizes that Ollama reports for models with two caches, of which it counts only one (`completeReading`).
 * The facts of a model are requested once; if that fails, the reported size is used.
 */
export function createSizeCompletion(
  facts: Pick<KnownFacts, "of" | "known">,
  signal: AbortSignal,
): (engine: Engine, residents: readonly ResidentModel[]) => Promise<readonly ResidentModel[]> {
  const undescribed = new Set<string>();

  async function factsOfResident(engine: Engine, resident: ResidentModel): Promise<ModelFacts | undefined> {
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
        resident.digest === undefined ? resident : completed(engine, await factsOfResident(engine, resident), resident),
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
