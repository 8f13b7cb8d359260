import { setImmediate as nextTurn } from "node:timers/promises";
import type { Engine, Report } from "../engines/engine.ts";
import { throwIfCancelled, UnloadUnconfirmed } from "../errors.ts";
import type { Decisions } from "../decisions/decisions.ts";
import type { LocatedModel } from "../inventory/located-model.ts";
import { modelId } from "../inventory/model-id.ts";
import type { MemoryDomain, MemoryVector } from "../memory/domain.ts";
import { pinnedInTheWay } from "../memory/pinned-in-the-way.ts";
import { moreToEvict } from "../memory/more-room.ts";
import { loadBytes } from "../memory/limits.ts";
import { planLoad } from "../memory/plan.ts";
import { allIdle, isSomeReserved, withoutReservations } from "../memory/state.ts";
import { formatBytes } from "../text/format-bytes.ts";
import type { LoadPlan } from "../types.ts";
import { doesNotFit } from "./does-not-fit.ts";
import type { Estimates } from "../estimates/estimates.ts";
import { type Leases, untilReleased } from "./leases.ts";
import { type MemoryStateSource, readMemoryState } from "./memory-state.ts";
import type { Occupancy } from "./occupancy.ts";
import type { Plans } from "./plans.ts";
import { smallerContext } from "./smaller-context.ts";
import type { UnconfirmedUnloads } from "./unconfirmed-unloads.ts";

/** A plan whose evictions are done and whose memory is set aside until `release`. */
export interface Room {
  readonly plan: LoadPlan;
  readonly release: () => void;
}

export interface RoomMaker {
  /**
   * Evicts until the model fits and reserves its memory; waits while only busy models are in the way. Plans once more
   * when another program took memory meanwhile, and without what was told to leave and did not. Throws
   * `ModelDoesNotFit`, `Cancelled`.
   */
  makeRoom(located: LocatedModel, contextTokens: number, report: Report, signal: AbortSignal): Promise<Room>;
  /**
   * For a load whose room was made and did not suffice: evicts what frees `bytes` more, or all that may go. Answers the
   * names of what went; what does not leave is passed over.
   */
  evictMore(located: LocatedModel, bytes: number, report: Report, signal: AbortSignal): Promise<readonly string[]>;
  /** Takes a model out of memory; whether it may go is for the caller to know. */
  evict(victim: { readonly name: string; readonly engine: string }, signal: AbortSignal): Promise<void>;
}

/** A plan did not hold, and another is to be made at once. */
const planAgain = Symbol("plan again");

/**
 * Measurements wobble, and what an engine gives back is not to the byte what it was thought to hold: memory counts as
 * taken by somebody else when more of the buffer than this is missing.
 */
const bufferThatMayBeMissing = 1 / 4;

export function createRoomMaker(parts: {
  readonly source: MemoryStateSource;
  readonly occupancy: Occupancy;
  readonly leases: Leases;
  readonly decisions: Decisions;
  readonly unconfirmed: UnconfirmedUnloads;
  readonly plans: Pick<Plans, "of" | "targetOf">;
  /** Without asking an engine. */
  readonly quickEstimate: Estimates["quick"];
  readonly domainOf: (id: string) => MemoryDomain;
  /** Alone among the plans and evictions of a memory domain; loads themselves overlap, each with its memory reserved. */
  readonly inTurn: <Result>(memoryDomain: string, work: () => Promise<Result>) => Promise<Result>;
  /** A model was taken out of an engine's memory. */
  readonly left: (engine: Engine, name: string) => void;
}): RoomMaker {
  const { source, occupancy, leases, decisions, unconfirmed, plans, domainOf } = parts;
  const { targetOf } = plans;
  const { inventory } = source;

  async function makeRoom(located: LocatedModel, contextTokens: number, report: Report, signal: AbortSignal) {
    // Remembered from here on: a simulation may take seconds, and others wait for their turn.
    await targetOf(located, contextTokens, signal);
    const seen = new Map<string, number>();
    for (let hasLookedAgain = false; ;) {
      // Subscribed before looking, so that a release in between is not missed.
      const released = leases.nextRelease();
      const outcome = await parts.inTurn(located.engine.memoryDomain, () =>
        tryToMakeRoom(located, contextTokens, report, signal, hasLookedAgain),
      );
      if (outcome === planAgain) {
        hasLookedAgain = true;
        continue;
      }
      if (typeof outcome !== "string") return outcome;
      report({ message: outcome });
      // At the second look: what is over within a turn is no wait.
      const looks = (seen.get(outcome) ?? 0) + 1;
      seen.set(outcome, looks);
      if (looks === 2) note(located, "wait", [outcome]);
      await untilReleased(released, signal);
    }
  }

  /**
   * One look at the memory: room was made, or what to wait for, in words. Whether the room is still there after the
   * evictions is looked at once. Throws `ModelDoesNotFit`.
   */
  async function tryToMakeRoom(
    located: LocatedModel,
    contextTokens: number,
    report: Report,
    signal: AbortSignal,
    hasLookedAgain: boolean,
  ): Promise<Room | string | typeof planAgain> {
    throwIfCancelled(signal, `loading ${located.model.name}`);
    const { engine, model } = located;
    const id = modelId(engine.id, model.name);
    const made = await plans.of(located, contextTokens, signal);
    // Nothing is awaited between these checks and the marks they lead to.
    if (made.isLoaded) return { plan: made, release: occupancy.occupy(id, () => undefined) };
    if (occupancy.isBusy(id))
      return `waiting: ${model.name} grows to ${contextTokens} tokens when its present answer is done`;
    const areVictimsIdle = made.evict.every((victim) => occupancy.mayBeEvicted(modelId(victim.engine, victim.name)));
    if (made.fits && areVictimsIdle) {
      const release = occupancy.occupy(id, domainOf(engine.memoryDomain).reserve(id, setAside(made)));
      try {
        await evictAll(made, report, signal);
        const isTaken =
          made.evict.length > 0 && !hasLookedAgain && !(await isStillThere(located, contextTokens, signal));
        if (!isTaken) {
          note(located, "load", made.steps, made);
          return { plan: made, release };
        }
        note(located, "replan", [...made.steps, "but another program took memory meanwhile"], made);
      } catch (error) {
        release();
        // The model itself was to go, to come back with more context: nothing else can go instead.
        if (!(error instanceof UnloadUnconfirmed) || unconfirmed.has(id)) throw error;
        note(located, "replan", [error.message], made);
        return planAgain;
      }
      release();
      return planAgain;
    }
    if (made.fits || (await wouldFitWhenIdle(located, contextTokens, signal))) {
      return `waiting for memory: ${model.name} fits when the models that are answering now are done`;
    }
    const state = await readMemoryState(source, engine, model);
    const inTheWay = state === undefined ? [] : pinnedInTheWay(await targetOf(located, contextTokens, signal), state);
    const lists = await inventory.recentLists();
    const smallerTokens = await smallerContext(made, (tokens) => wouldFitWhenIdle(located, tokens, signal, true));
    const { bufferBytes } = source.memory();
    const refusal = doesNotFit(made, lists, bufferBytes, inTheWay, parts.quickEstimate, smallerTokens);
    note(located, "refuse", made.steps, made);
    throw refusal;
  }

  function note(
    { engine, model }: LocatedModel,
    kind: "load" | "wait" | "refuse" | "replan",
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
      const id = modelId(engine.id, victim.name);
      try {
        await engine.residency?.unload(victim.name, signal);
        unconfirmed.forget(id);
        parts.left(engine, victim.name);
      } catch (error) {
        if (error instanceof UnloadUnconfirmed) unconfirmed.note(id);
        throw error;
      } finally {
        inventory.forgetResidency(engine);
      }
    });
  }

  async function evictMore(located: LocatedModel, bytes: number, report: Report, signal: AbortSignal) {
    const { engine, model } = located;
    const went: string[] = [];
    await parts.inTurn(engine.memoryDomain, async () => {
      // Whoever loaded something this very turn either takes its lease or is done.
      await nextTurn();
      const state = await readMemoryState(source, engine, model);
      if (state === undefined) return;
      const target = {
        model: model.name,
        engine: engine.id,
        slot: inventory.runners.slotOf(modelId(engine.id, model.name)),
      };
      for (const victim of moreToEvict(target, bytes, state)) {
        if (!occupancy.mayBeEvicted(modelId(victim.engine, victim.name))) continue;
        report({
          message: `unloading ${victim.name} (${formatBytes(victim.bytes)}): memory ran out for ${model.name}`,
        });
        try {
          await evict(victim, signal);
          went.push(victim.name);
        } catch (error) {
          if (!(error instanceof UnloadUnconfirmed)) throw error;
        }
      }
    });
    return went;
  }

  /** Measured anew: what was evicted is gone, and nobody else took it. */
  async function isStillThere(located: LocatedModel, contextTokens: number, signal: AbortSignal): Promise<boolean> {
    const { engine, model } = located;
    const state = await readMemoryState(source, engine, model, 0);
    // What is configured doesn't change with what is loaded.
    if (state === undefined || state.isOverridden) return true;
    const bufferBytes = state.bufferBytes * (1 - bufferThatMayBeMissing);
    const again = planLoad(await targetOf(located, contextTokens, signal), { ...state, bufferBytes });
    return again.fits && again.evict.length === 0;
  }

  /** `isAnother`: with a context that wasn't planned for, which may fit beside what is busy. */
  async function wouldFitWhenIdle(
    located: LocatedModel,
    contextTokens: number,
    signal: AbortSignal,
    isAnother = false,
  ): Promise<boolean> {
    const { engine, model } = located;
    const state = await readMemoryState(source, engine, model);
    if (state === undefined) return false;
    if (!isAnother && !state.resident.some((entry) => entry.isBusy) && !isSomeReserved(state)) return false;
    return planLoad(await targetOf(located, contextTokens, signal), withoutReservations(allIdle(state))).fits;
  }

  return { makeRoom, evictMore, evict };
}

/** What the load was given room for, the buffer apart, kind by kind. */
function setAside({ estimate, placement }: LoadPlan): MemoryVector {
  if (placement === undefined) return { ramBytes: loadBytes(estimate) };
  const vramBytes = Object.fromEntries(placement.cards.map(({ name, bytes }) => [name, bytes]));
  return { ramBytes: placement.ramBytes, vramBytes };
}
