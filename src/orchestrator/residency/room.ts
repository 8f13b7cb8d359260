import { setImmediate as nextTurn } from "node:timers/promises";
import { UnloadUnconfirmed, throwIfCancelled } from "../api/errors.ts";
import type { LoadPlan } from "../api/types.ts";
import type { Engine, Report } from "../engines/engine.ts";
import { loadBytes } from "../memory/limits.ts";
import type { Estimates } from "../memory/measure/estimates.ts";
import { moreToEvict } from "../memory/more-room.ts";
import { pinnedInTheWay } from "../memory/pinned-in-the-way.ts";
import { planLoad } from "../memory/plan.ts";
import {
  type MemoryDomain,
  type MemoryVector,
  allIdle,
  hasReservations,
  withoutReservations,
} from "../memory/state.ts";
import { type LocatedModel, modelId } from "../models/located-model.ts";
import { formatBytes } from "../util/format-bytes.ts";
import type { Decisions } from "./decisions.ts";
import { doesNotFit, whatWouldFit } from "./does-not-fit.ts";
import { type Leases, untilReleased } from "./leases.ts";
import { type MemoryStateSource, readMemoryState } from "./memory-state.ts";
import type { Occupancy } from "./occupancy.ts";
import type { Plans } from "./plans.ts";
import { smallerContext } from "./smaller-context.ts";
import type { UnconfirmedUnloads } from "./unconfirmed-unloads.ts";

/** A plan whose evictions are done and whose memory is reserved until `release`. */
export interface Room {
  readonly plan: LoadPlan;
  readonly release: () => void;
}

export interface RoomMaker {
  /**
   * Evicts models until the given one fits and reserves its memory; waits while only busy models are in the way. Plans
   * again if another program took memory meanwhile, and without models whose unload was not confirmed. Throws
   * `ModelDoesNotFit`, `Cancelled`.
   */
  makeRoom(located: LocatedModel, contextTokens: number, report: Report, signal: AbortSignal): Promise<Room>;
  /**
   * For a load that ran out of memory: evicts models that free `bytes` more, or all evictable ones. Returns their
   * names; skips models whose unload is not confirmed.
   */
  evictMore(located: LocatedModel, bytes: number, report: Report, signal: AbortSignal): Promise<readonly string[]>;
  /** Unloads a model; the caller checks that it may be evicted. */
  evict(victim: { readonly name: string; readonly engine: string }, signal: AbortSignal): Promise<void>;
}

/** The plan is outdated: another one is made at once. */
const planAgain = Symbol("plan again");

/**
 * Measurements vary, and an engine frees not exactly what it was estimated to hold: another program is assumed to have
 * taken memory if more than this share of the buffer is missing.
 */
const bufferThatMayBeMissing = 1 / 4;

export function createRoomMaker(parts: {
  readonly source: MemoryStateSource;
  readonly occupancy: Occupancy;
  readonly leases: Leases;
  readonly decisions: Decisions;
  readonly unconfirmed: UnconfirmedUnloads;
  readonly plans: Pick<Plans, "of" | "targetOf">;
  /** Without requests to an engine. */
  readonly quickEstimate: Estimates["quick"];
  readonly domainOf: (id: string) => MemoryDomain;
  /** Mutual exclusion of plans and evictions per memory domain; loads overlap, each with its memory reserved. */
  readonly inTurn: <Result>(memoryDomain: string, work: () => Promise<Result>) => Promise<Result>;
  /** A model was unloaded. */
  readonly left: (engine: Engine, name: string) => void;
}): RoomMaker {
  const { source, occupancy, leases, decisions, unconfirmed, plans, domainOf } = parts;
  const { targetOf } = plans;
  const { inventory } = source;

  async function makeRoom(located: LocatedModel, contextTokens: number, report: Report, signal: AbortSignal) {
    // Fills the cache of the estimates: a simulation may take seconds, and must not block other loads in `inTurn`.
    await targetOf(located, contextTokens, signal);
    const seen = new Map<string, number>();
    for (let hasLookedAgain = false; ;) {
      // Subscribed before the state is read, so that no release is missed.
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
      // Not the first time: a wait that ends at once is not worth a decision.
      const times = (seen.get(outcome) ?? 0) + 1;
      seen.set(outcome, times);
      if (times === 2) note(located, "wait", [outcome]);
      await untilReleased(released, signal);
    }
  }

  /**
   * Returns the room, `planAgain`, or a text with the reason for the wait. Checks once after evictions whether the
   * room is still there. Throws `ModelDoesNotFit`.
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
      return `waiting: ${model.name} will be reloaded with ${contextTokens} tokens after the current request`;
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
        note(located, "replan", [...made.steps, "another program took memory meanwhile"], made);
      } catch (error) {
        release();
        // The model itself was to be reloaded with more context: evicting another one does not help.
        if (!(error instanceof UnloadUnconfirmed) || unconfirmed.has(id)) throw error;
        note(located, "replan", [error.message], made);
        return planAgain;
      }
      release();
      return planAgain;
    }
    if (made.fits || (await wouldFitWhenIdle(located, contextTokens, signal))) {
      return `waiting for memory: ${model.name} fits when the active requests are done`;
    }
    const state = await readMemoryState(source, engine, model);
    const inTheWay = state === undefined ? [] : pinnedInTheWay(await targetOf(located, contextTokens, signal), state);
    const lists = await inventory.recentLists();
    const smallerTokens = await smallerContext(made, (tokens) => wouldFitWhenIdle(located, tokens, signal, true));
    const { bufferBytes } = source.memory();
    const refusal = doesNotFit(made, lists, bufferBytes, inTheWay, parts.quickEstimate, smallerTokens);
    note(located, "refuse", [...made.steps, ...whatWouldFit(refusal.next)], made);
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
    const evicted: string[] = [];
    await parts.inTurn(engine.memoryDomain, async () => {
      // Callers that loaded a model in this turn of the event loop take their leases now.
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
          message: `unloading ${victim.name} (${formatBytes(victim.bytes)}): out of memory while loading ${model.name}`,
        });
        try {
          await evict(victim, signal);
          evicted.push(victim.name);
        } catch (error) {
          if (!(error instanceof UnloadUnconfirmed)) throw error;
        }
      }
    });
    return evicted;
  }

  /** Measures again: whether the evicted memory is free, and no other program took it. */
  async function isStillThere(located: LocatedModel, contextTokens: number, signal: AbortSignal): Promise<boolean> {
    const { engine, model } = located;
    const state = await readMemoryState(source, engine, model, 0);
    // A configured size doesn't change with what is loaded.
    if (state === undefined || state.isOverridden) return true;
    const bufferBytes = state.bufferBytes * (1 - bufferThatMayBeMissing);
    const again = planLoad(await targetOf(located, contextTokens, signal), { ...state, bufferBytes });
    return again.fits && again.evict.length === 0;
  }

  /** `isAnother`: the context differs from the planned one, and may fit beside the busy models. */
  async function wouldFitWhenIdle(
    located: LocatedModel,
    contextTokens: number,
    signal: AbortSignal,
    isAnother = false,
  ): Promise<boolean> {
    const { engine, model } = located;
    const state = await readMemoryState(source, engine, model);
    if (state === undefined) return false;
    if (!isAnother && !state.resident.some((entry) => entry.isBusy) && !hasReservations(state)) return false;
    return planLoad(await targetOf(located, contextTokens, signal), withoutReservations(allIdle(state))).fits;
  }

  return { makeRoom, evictMore, evict };
}

/** The memory to reserve for the load, without the buffer. */
function setAside({ estimate, placement }: LoadPlan): MemoryVector {
  if (placement === undefined) return { ramBytes: loadBytes(estimate) };
  const vramBytes = Object.fromEntries(placement.cards.map(({ name, bytes }) => [name, bytes]));
  return { ramBytes: placement.ramBytes, vramBytes };
}
