import type { Engine, Report } from "../engines/engine.ts";
import { throwIfCancelled } from "../errors.ts";
import type { Decisions } from "../decisions/decisions.ts";
import type { LocatedModel } from "../inventory/inventory.ts";
import { modelId } from "../inventory/model-id.ts";
import type { MemoryDomain } from "../memory/domain.ts";
import { pinnedInTheWay } from "../memory/pinned-in-the-way.ts";
import { type LoadTarget, planLoad } from "../memory/plan.ts";
import { formatBytes } from "../text/format-bytes.ts";
import type { LoadPlan } from "../types.ts";
import { doesNotFit } from "./adjust.ts";
import type { Estimates } from "./estimates.ts";
import { type Leases, untilReleased } from "./leases.ts";
import { type MemoryStateSource, readMemoryState } from "./memory-state.ts";
import type { Occupancy } from "./occupancy.ts";

/** A plan whose evictions are done and whose memory is set aside until `release`. */
export interface Room {
  readonly plan: LoadPlan;
  readonly release: () => void;
}

export interface RoomMaker {
  /**
   * Evicts until the model fits and reserves its memory; waits while only busy models are in the way. Throws
   * `ModelDoesNotFit`, `Cancelled`.
   */
  makeRoom(located: LocatedModel, contextTokens: number, report: Report, signal: AbortSignal): Promise<Room>;
  /** Takes a model out of memory; whether it may go is for the caller to know. */
  evict(victim: { readonly name: string; readonly engine: string }, signal: AbortSignal): Promise<void>;
}

export function createRoomMaker(parts: {
  readonly source: MemoryStateSource;
  readonly occupancy: Occupancy;
  readonly leases: Leases;
  readonly decisions: Decisions;
  readonly plan: (located: LocatedModel, contextTokens: number, signal: AbortSignal) => Promise<LoadPlan>;
  readonly targetOf: (located: LocatedModel, contextTokens: number, signal: AbortSignal) => Promise<LoadTarget>;
  /** Without asking an engine. */
  readonly quickEstimate: Estimates["quick"];
  readonly domainOf: (id: string) => MemoryDomain;
  /** Alone among the plans and evictions of a memory domain; loads themselves overlap, each with its memory reserved. */
  readonly inTurn: <Result>(memoryDomain: string, work: () => Promise<Result>) => Promise<Result>;
  /** A model was taken out of an engine's memory. */
  readonly left: (engine: Engine, name: string) => void;
}): RoomMaker {
  const { source, occupancy, leases, decisions, plan, targetOf, domainOf } = parts;
  const { inventory } = source;

  async function makeRoom(located: LocatedModel, contextTokens: number, report: Report, signal: AbortSignal) {
    // Remembered from here on: a simulation may take seconds, and others wait for their turn.
    await targetOf(located, contextTokens, signal);
    const seen = new Map<string, number>();
    for (;;) {
      // Subscribed before looking, so that a release in between is not missed.
      const released = leases.nextRelease();
      const outcome = await parts.inTurn(located.engine.memoryDomain, () =>
        tryToMakeRoom(located, contextTokens, report, signal),
      );
      if (typeof outcome !== "string") return outcome;
      report({ message: outcome });
      // At the second look: what is over within a turn is no wait.
      const looks = (seen.get(outcome) ?? 0) + 1;
      seen.set(outcome, looks);
      if (looks === 2) note(located, "wait", [outcome]);
      await untilReleased(released, signal);
    }
  }

  /** One look at the memory: room was made, or what to wait for, in words. Throws `ModelDoesNotFit`. */
  async function tryToMakeRoom(
    located: LocatedModel,
    contextTokens: number,
    report: Report,
    signal: AbortSignal,
  ): Promise<Room | string> {
    throwIfCancelled(signal, `loading ${located.model.name}`);
    const { engine, model } = located;
    const id = modelId(engine.id, model.name);
    const made = await plan(located, contextTokens, signal);
    // Nothing is awaited between these checks and the marks they lead to.
    if (made.isLoaded) return { plan: made, release: occupancy.occupy(id, () => undefined) };
    if (occupancy.isBusy(id))
      return `waiting: ${model.name} grows to ${contextTokens} tokens when its present answer is done`;
    const areVictimsIdle = made.evict.every((victim) => occupancy.mayBeEvicted(modelId(victim.engine, victim.name)));
    if (made.fits && areVictimsIdle) {
      const release = occupancy.occupy(id, domainOf(engine.memoryDomain).reserve(id, made.estimate.predictedBytes));
      try {
        await evictAll(made, report, signal);
      } catch (error) {
        release();
        throw error;
      }
      note(located, "load", made.steps, made);
      return { plan: made, release };
    }
    if (made.fits || (await wouldFitWhenIdle(located, contextTokens, signal))) {
      return `waiting for memory: ${model.name} fits when the models that are answering now are done`;
    }
    const state = await readMemoryState(source, engine, id);
    const inTheWay = state === undefined ? [] : pinnedInTheWay(await targetOf(located, contextTokens, signal), state);
    const lists = await inventory.recentLists();
    const refusal = doesNotFit(made, lists, source.memory().bufferBytes, inTheWay, parts.quickEstimate);
    note(located, "refuse", [...made.steps, refusal.hint ?? ""].filter(Boolean), made);
    throw refusal;
  }

  function note(
    { engine, model }: LocatedModel,
    kind: "load" | "wait" | "refuse",
    steps: readonly string[],
    made?: LoadPlan,
  ): void {
    decisions.note({
      kind,
      model: model.name,
      engine: engine.id,
      steps,
      ...(made === undefined ? {} : { plan: made }),
    });
  }

  async function evictAll(made: LoadPlan, report: Report, signal: AbortSignal): Promise<void> {
    const ids = made.evict.map((victim) => modelId(victim.engine, victim.name));
    await occupancy.whileEvicting(ids, async () => {
      for (const victim of made.evict) {
        const purpose = victim.name === made.model ? "to load it with more context" : `to make room for ${made.model}`;
        report({ message: `unloading ${victim.name} (${formatBytes(victim.bytes)}) ${purpose}` });
        await evict(victim, signal);
      }
    });
  }

  async function evict(victim: { readonly name: string; readonly engine: string }, signal: AbortSignal): Promise<void> {
    const engine = inventory.engines.find((candidate) => candidate.id === victim.engine);
    if (engine === undefined) return;
    await occupancy.whileEvicting([modelId(engine.id, victim.name)], async () => {
      try {
        await engine.residency?.unload(victim.name, signal);
        parts.left(engine, victim.name);
      } finally {
        inventory.forgetResidency(engine);
      }
    });
  }

  async function wouldFitWhenIdle(located: LocatedModel, contextTokens: number, signal: AbortSignal): Promise<boolean> {
    const { engine, model } = located;
    const state = await readMemoryState(source, engine, modelId(engine.id, model.name));
    if (state === undefined || (!state.resident.some((entry) => entry.isBusy) && state.reservedBytes === 0))
      return false;
    const idle = { ...state, reservedBytes: 0, resident: state.resident.map((entry) => ({ ...entry, isBusy: false })) };
    return planLoad(await targetOf(located, contextTokens, signal), idle).fits;
  }

  return { makeRoom, evict };
}
