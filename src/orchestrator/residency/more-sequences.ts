import type { Generation } from "../engines/generation.ts";
import { freeVram, isFreeFor, isPlentyFor } from "../memory/limits.ts";
import type { Estimates } from "./estimates.ts";
import { type LocatedModel, modelId } from "../catalog/located-model.ts";
import { formatBytes } from "../util/format-bytes.ts";
import { type Emit, noteDecision } from "../api/events.ts";
import type { Plans } from "./plans.ts";
import type { Permit, QueueRequest, QueueWorld, Running, Waiters } from "./queue-requests.ts";
import type { Slots } from "./slots.ts";
import { once } from "../util/values.ts";

/**
 * More caches of a model. A load allocates one; each more costs the same again, so there are more only after the cache of a
 * conversation was overwritten by another, while memory is plentiful, and for requests beside others, if memory is free.
 */
export type MoreSequences = ReturnType<typeof createMoreSequences>;

/** As many as the embedded engine writes together. */
export const maxSequences = 8;
/** Recomputing this many tokens is not noticeable. */
const fewTokens = 128;

type Crowd = NonNullable<Permit["crowd"]>;

const single: Crowd = { answered: 1, wanted: 1, isBesidePaused: false };

/** What the answer to a request shares its model with when it begins. */
export function crowdOf(
  { id, located, priority, background }: QueueRequest,
  running: Running,
  waiters: Pick<Waiters, "ofModel">,
  { maxParallel }: Pick<QueueWorld, "maxParallel">,
): Crowd {
  const beside = running.sharedOf(id);
  return {
    answered: beside + 1,
    wanted: Math.max(beside + 1, Math.min(beside + 1 + waiters.ofModel(id).length, maxParallel(located))),
    // One in the background doesn't pause others there.
    isBesidePaused:
      beside > 0 && priority >= 0 && background?.aborted !== true && running.pausableOf(id).length === beside,
  };
}

/** Numbers of caches for so many requests, the largest first. Each change makes a context, so their number doubles. */
export function countsFor({ answered, wanted, isBesidePaused }: Crowd): readonly number[] {
  if (isBesidePaused) return answered <= maxSequences ? [answered] : [];
  const most = Math.max(answered, wanted);
  return [maxSequences, 4, 2].filter((count) => count >= answered && count < 2 * most);
}

/** Grants whose memory is reserved, by slot, until all requests that wait for it have it or have ended. */
function createPending() {
  const bySlot = new Map<string, { readonly count: number; waiting: number; readonly end: () => void }>();
  return {
    count: (slot: string) => bySlot.get(slot)?.count ?? 1,
    /** Takes the place of a smaller one. */
    add(slot: string, count: number, end: () => void): void {
      bySlot.get(slot)?.end();
      bySlot.set(slot, { count, waiting: 0, end });
    },
    share(slot: string, sequences: number): { readonly sequences: number; readonly release: () => void } {
      const shared = bySlot.get(slot);
      if (shared === undefined) return { sequences, release: () => undefined };
      shared.waiting += 1;
      const release = once(() => {
        shared.waiting -= 1;
        if (shared.waiting > 0) return;
        shared.end();
        if (bySlot.get(slot) === shared) bySlot.delete(slot);
      });
      return { sequences, release };
    },
  };
}

export function createMoreSequences(parts: {
  readonly plans: Plans;
  readonly slots: Slots;
  /** Without asking an engine. */
  readonly quickEstimate: Estimates["quick"];
  readonly emit: Emit;
}) {
  const { plans, slots, quickEstimate, emit } = parts;
  /** Slots in which a cache was overwritten, with the steps of the grant once there is one, and what there was before. */
  const wanted = new Map<string, { readonly steps: readonly string[]; readonly before: number } | undefined>();
  const pending = createPending();
  /** Those that there are, or will be. */
  const cachesOf = ({ engine, model }: LocatedModel, slot: string) =>
    Math.max(engine.cachesOf?.(model.name) ?? 1, pending.count(slot));

  /**
   * The most of these numbers of caches for which there is room, and the bytes of those that there are not yet: all of them
   * beside other answers, which keep theirs until they end.
   */
  async function room(
    { engine, model }: LocatedModel,
    contextTokens: number,
    counts: readonly number[],
    present: number,
    isRoom = isFreeFor,
  ) {
    const { parts: bytes } = quickEstimate(model, { engine, contextTokens });
    const state = bytes && (await plans.state(engine));
    if (bytes === undefined || state === undefined) return undefined;
    const sizes = counts.map((count) => ({
      count,
      bytes: (count - present) * (bytes.cacheBytes + (bytes.stateBytes ?? 0)) + bytes.computeBytes,
    }));
    const cards = engine.usesCards === true ? (state.gpus ?? []) : [];
    const found = sizes.find(
      (size) => isRoom(size.bytes, state) && (cards.length === 0 || size.bytes <= freeVram(state)),
    );
    // How much of it is on which card is llama.cpp's choice.
    return (
      found && {
        ...found,
        memory: {
          ramBytes: found.bytes,
          vramBytes: Object.fromEntries(cards.map(({ name }) => [name, found.bytes / cards.length])),
        },
      }
    );
  }

  return {
    /** Whether `grant` has a cache for one more request beside those that are answered. */
    async hasRoomBeside(located: LocatedModel, contextTokens: number, beside: number, arePaused: boolean) {
      const sequences = cachesOf(located, slots.at(located).key);
      if (sequences > beside) return true;
      const counts = countsFor({ answered: beside + 1, wanted: beside + 1, isBesidePaused: arePaused });
      return (await room(located, contextTokens, counts, arePaused ? sequences : 0)) !== undefined;
    },
    /** Call before a request is sent; undefined: no change. Call `release` when the request has ended. */
    async grant(located: LocatedModel, contextTokens: number, crowd = single) {
      const { engine, model } = located;
      const { key: slot } = slots.at(located);
      const { answered, isBesidePaused } = crowd;
      const isCrowd = crowd.wanted > 1;
      if (!isCrowd && !wanted.has(slot)) return undefined;
      const sequences = cachesOf(located, slot);
      const present = () => (isCrowd && answered <= sequences ? pending.share(slot, sequences) : undefined);
      if (isCrowd && answered <= sequences && sequences >= crowd.wanted) return present();
      const counts = isCrowd ? countsFor(crowd).filter((count) => count > sequences) : [2];
      const kept = answered === 1 || isBesidePaused ? sequences : 0;
      const granted = await room(located, contextTokens, counts, kept, isCrowd ? isFreeFor : isPlentyFor);
      if (granted === undefined) return present();
      const { count, bytes, memory } = granted;
      const what = `${formatBytes(bytes)} granted for ${count === 2 ? "a second cache" : `${count} caches`}`;
      const steps = isBesidePaused
        ? [
            "a background answer of the model was paused for another request, and keeps its cache",
            `memory is free: ${what}`,
          ]
        : isCrowd
          ? [`${crowd.wanted} requests want the model at the same time`, `memory is free: ${what}`]
          : ["the cache of a conversation was overwritten by another conversation", `memory is plentiful: ${what}`];
      wanted.set(slot, { steps, before: engine.cachesOf?.(model.name) ?? 1 });
      slots.changes += 1;
      const end = plans.reservations(engine.memoryDomain).reserve(modelId(engine.id, model.name), memory);
      pending.add(slot, count, end);
      return pending.share(slot, count);
    },
    /** Records what an answer reports about the cache. */
    answered(
      located: LocatedModel,
      { recomputedTokens = 0, sequences = 1 }: Pick<Generation, "recomputedTokens" | "sequences">,
    ) {
      const { engine, model } = located;
      const { key: slot } = slots.at(located);
      const granted = wanted.get(slot);
      if (granted !== undefined && sequences > granted.before) {
        noteDecision(emit, { kind: "load", model: model.name, engine: engine.id, steps: granted.steps });
      }
      if (sequences > 1) wanted.delete(slot);
      else if (recomputedTokens > fewTokens && granted === undefined) wanted.set(slot, undefined);
    },
  };
}
