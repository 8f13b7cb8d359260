import { setImmediate as nextTurn } from "node:timers/promises";
import { UnloadUnconfirmed, throwIfCancelled, ModelDoesNotFit } from "../api/errors.ts";
import type { LoadPlan, MemoryEstimate } from "../api/facade-status.ts";
import type { LoadOptions, Report } from "../engines/engine.ts";
import { loadBytes } from "../memory/limits.ts";
import type { Estimates } from "./estimates.ts";
import { fitOf, moreToEvict, pinnedInTheWay } from "../memory/plan.ts";
import type { SlotView } from "../memory/state.ts";
import type { Inventory } from "../catalog/inventory.ts";
import { type LocatedModel, modelId } from "../catalog/located-model.ts";
import { formatBytes } from "../util/format-bytes.ts";
import { type Emit, noteDecision } from "../api/events.ts";
import type { LoadAhead, Plans } from "./plans.ts";
import type { ModelSlot } from "./slot.ts";
import type { Slots } from "./slots.ts";
import { type NextStep, advice } from "../api/next-step.ts";
import type { InstalledModel } from "../api/types.ts";
import { defined } from "../util/values.ts";
import { sameModel } from "../util/model-name.ts";
import { within } from "../util/timers.ts";

/** A loaded model with a lease, or a slot that is loading: its evictions are done and its memory is reserved. */
type Room = { readonly plan: LoadPlan; readonly lease: ReturnType<ModelSlot["take"]> | undefined };

interface RoomParts {
  readonly inventory: Inventory;
  readonly slots: Slots;
  readonly plans: Plans;
  readonly emit: Emit;
  /** Without requests to an engine. */
  readonly quickEstimate: Estimates["quick"];
  readonly bufferBytes: () => number;
}

/** A load that room is made for. */
export interface LoadRequest {
  readonly located: LocatedModel;
  readonly options: LoadOptions;
  readonly report: Report;
  readonly signal: AbortSignal;
}

/** The plan is outdated: another one is made at once. */
const planAgain = Symbol("plan again");

/**
 * Measurements vary, and an engine frees not exactly what it was estimated to hold: another program is assumed to have
 * taken memory if more than this share of the buffer is missing.
 */
const bufferThatMayBeMissing = 1 / 4;

/** Makes room for loads. */
export class RoomMaker {
  readonly #parts: RoomParts;

  constructor(parts: RoomParts) {
    this.#parts = parts;
  }

  /**
   * Evicts models until the given one fits and reserves its memory; waits while only busy models are in the way. Plans
   * again if a slot or the memory has changed since `ahead`, and without models whose unload was not confirmed. Throws
   * `ModelDoesNotFit`, `Cancelled`.
   */
  async makeRoom(request: LoadRequest, ahead: LoadAhead | undefined): Promise<Room> {
    const { located, options, report, signal } = request;
    const { plans, slots } = this.#parts;
    // Fills the cache of the estimates: a simulation may take seconds, and must not block other loads in `inTurn`.
    if (ahead?.plan === undefined) await plans.target(located, options.contextTokens, signal);
    const seen = new Map<string, number>();
    for (let hasLookedAgain = false; ;) {
      // Subscribed before the state is read, so that no change is missed.
      const changed = slots.nextChange();
      const outcome = await plans.inTurn(located.engine.memoryDomain, () => this.#try(request, hasLookedAgain, ahead));
      if (outcome === planAgain) {
        hasLookedAgain = true;
        continue;
      }
      if (typeof outcome !== "string") return outcome;
      report({ message: outcome });
      // Not the first time: a wait that ends at once is not worth a decision.
      const times = (seen.get(outcome) ?? 0) + 1;
      seen.set(outcome, times);
      if (times === 2) this.#note(located, "wait", [outcome]);
      // Memory freed by another program is not reported.
      await within(
        { ms: 2_000, signal },
        () => changed,
        () => undefined,
      );
    }
  }

  /**
   * Returns the room, `planAgain`, or a text with the reason for the wait. Checks once after evictions whether the
   * room is still there. Throws `ModelDoesNotFit`.
   */
  async #try(
    { located, options: { contextTokens }, report, signal }: LoadRequest,
    hasLookedAgain: boolean,
    ahead: LoadAhead | undefined,
  ): Promise<Room | string | typeof planAgain> {
    const { plans, slots } = this.#parts;
    const { engine, model } = located;
    throwIfCancelled(signal, `loading ${model.name}`);
    const known = ahead?.isCurrent?.() === true ? ahead.plan : undefined;
    const made = known ?? (await plans.of(located, contextTokens, signal));
    const slot = slots.at(located);
    // Nothing is awaited between these checks and the transitions they lead to.
    if (made.isLoaded && !slot.isLoading) return { plan: made, lease: slot.take(model.name, false) };
    if (slot.isBusy)
      return `waiting: ${model.name} will be reloaded with ${contextTokens} tokens after the current request`;
    const areVictimsIdle = made.evict.every((victim) => this.#slotOf(victim)?.mayBeEvicted !== false);
    if (!made.fits || !areVictimsIdle) {
      if (made.fits || (await plans.wouldFitWhenIdle(located, contextTokens, signal)))
        return `waiting for memory: ${model.name} fits when the active requests are done`;
      throw await this.#refusal(located, made, signal);
    }
    const id = modelId(engine.id, model.name);
    slot.beginLoad(plans.reservations(engine.memoryDomain).reserve(id, setAside(made)));
    try {
      await this.#evictAll(made, report, signal);
      const isTaken = made.evict.length > 0 && !hasLookedAgain && !(await this.#isStillFree(located, made, signal));
      if (!isTaken) {
        this.#note(located, "load", made.steps, made);
        return { plan: made, lease: undefined };
      }
      this.#note(located, "replan", [...made.steps, "another program took memory meanwhile"], made);
    } catch (error) {
      slot.loadFailed();
      // The model itself was to be reloaded with more context: evicting another one does not help.
      if (!(error instanceof UnloadUnconfirmed) || slot.hasUnconfirmedUnload) throw error;
      this.#note(located, "replan", [error.message], made);
      return planAgain;
    }
    slot.loadFailed();
    return planAgain;
  }

  async #refusal(located: LocatedModel, made: LoadPlan, signal: AbortSignal): Promise<Error> {
    const { plans, inventory, bufferBytes, quickEstimate } = this.#parts;
    const state = await plans.state(located.engine, located.model);
    const target = await plans.target(located, made.contextTokens, signal);
    const inTheWay = state === undefined ? [] : pinnedInTheWay(target, state);
    const lists = await inventory.recentLists();
    const smallerTokens = await smallerContext(made, (tokens) => plans.wouldFitWhenIdle(located, tokens, signal));
    const refusal = doesNotFit(made, lists, bufferBytes(), inTheWay, quickEstimate, smallerTokens);
    this.#note(located, "refuse", [...made.steps, ...whatWouldFit(refusal.next)], made);
    return refusal;
  }

  #note(
    { engine, model }: LocatedModel,
    kind: "load" | "wait" | "refuse" | "replan",
    steps: readonly string[],
    made?: LoadPlan,
  ): void {
    const about = { model: model.name, engine: engine.id, steps, ...defined({ plan: made }) };
    noteDecision(this.#parts.emit, { kind, ...about });
  }

  async #evictAll(made: LoadPlan, report: Report, signal: AbortSignal): Promise<void> {
    const slots = new Set(made.evict.map((victim) => this.#slotOf(victim)));
    for (const slot of slots) slot?.beginEvicting();
    try {
      for (const victim of made.evict) {
        const purpose = victim.name === made.model ? "to load it with more context" : `to make room for ${made.model}`;
        report({ message: `unloading ${victim.name} (${formatBytes(victim.bytes)}) ${purpose}` });
        await this.evict(victim, signal);
      }
    } finally {
      for (const slot of slots) slot?.evictionRefused(false);
    }
  }

  /** Unloads a model, of which the end of the load that it makes room for tells. The caller checks that it may be evicted. */
  async evict(victim: Pick<SlotView, "name" | "engine">, signal: AbortSignal): Promise<void> {
    const { inventory } = this.#parts;
    const slot = this.#slotOf(victim);
    if (slot === undefined) return;
    if (!slot.isEvicting) slot.beginEvicting();
    try {
      await slot.engine.residency?.unload(victim.name, signal);
      slot.evicted();
    } catch (error) {
      slot.evictionRefused(error instanceof UnloadUnconfirmed);
      throw error;
    } finally {
      inventory.forgetResidency(slot.engine, true);
    }
  }

  /**
   * For a load that ran out of memory: evicts models that free `bytes` more, or all evictable ones. Returns their
   * names; skips models whose unload is not confirmed.
   */
  async evictMore({ located, report, signal }: LoadRequest, bytes: number): Promise<readonly string[]> {
    const { plans, slots } = this.#parts;
    const { engine, model } = located;
    const evicted: string[] = [];
    await plans.inTurn(engine.memoryDomain, async () => {
      // Callers that loaded a model in this turn of the event loop take their leases now.
      await nextTurn();
      const state = await plans.state(engine, model);
      if (state === undefined) return;
      const target = { model: model.name, engine: engine.id, slot: slots.at(located).key };
      for (const victim of moreToEvict(target, bytes, state)) {
        if (this.#slotOf(victim)?.mayBeEvicted === false) continue;
        report({
          message: `unloading ${victim.name} (${formatBytes(victim.bytes)}): out of memory while loading ${model.name}`,
        });
        try {
          await this.evict(victim, signal);
          evicted.push(victim.name);
        } catch (error) {
          if (!(error instanceof UnloadUnconfirmed)) throw error;
        }
      }
    });
    return evicted;
  }

  /** Measures again: whether the evicted memory is free, and no other program took it. */
  async #isStillFree(located: LocatedModel, made: LoadPlan, signal: AbortSignal): Promise<boolean> {
    const { plans } = this.#parts;
    const state = await plans.state(located.engine, located.model, 0);
    // A configured size doesn't change with what is loaded.
    if (state === undefined || state.isOverridden) return true;
    const bufferBytes = state.bufferBytes * (1 - bufferThatMayBeMissing);
    return fitOf(await plans.target(located, made.contextTokens, signal), { ...state, bufferBytes }) === "now";
  }

  #slotOf(victim: Pick<SlotView, "name" | "engine">) {
    const { inventory, slots } = this.#parts;
    const engine = inventory.engines.find(({ id }) => id === victim.engine);
    return engine && slots.of(engine, victim.name);
  }
}

/** The memory to reserve for the load, without the buffer. */
function setAside({ estimate, placement }: LoadPlan) {
  if (placement === undefined) return { ramBytes: loadBytes(estimate) };
  const vramBytes = Object.fromEntries(placement.cards.map(({ name, bytes }) => [name, bytes]));
  return { ramBytes: placement.ramBytes, vramBytes };
}

type Lists = readonly { readonly models: readonly InstalledModel[] }[];

/** The largest local model other than `except` that is small enough. */
export function largestOther(
  lists: Lists,
  except: string,
  isSmallEnough: (model: InstalledModel) => boolean,
): InstalledModel | undefined {
  return lists
    .flatMap(({ models }) => models)
    .filter((model) => model.trust === "local" && model.sizeBytes > 0 && !sameModel(model.name, except))
    .filter(isSmallEnough)
    .toSorted((a, b) => b.sizeBytes - a.sizeBytes)[0];
}

/** The step that lowers the context to the result of `smallerContext`; none for undefined. */
export function lowerContext(smallerTokens: number | undefined): readonly NextStep[] {
  return smallerTokens === undefined ? [] : [{ step: "lowerArgument", argument: "context", to: smallerTokens }];
}

/**
 * The error for a plan that doesn't fit: the needed and the available bytes, and as next steps what would fit once idle
 * models are unloaded. Unpinning `pinned` would make room. `estimateOf` includes configured sizes. `smallerTokens`: the
 * largest context with which the model fits.
 */
export function doesNotFit(
  plan: LoadPlan,
  lists: Lists,
  bufferBytes: number,
  pinned: readonly string[],
  estimateOf: Estimates["quick"],
  smallerTokens?: number,
): ModelDoesNotFit {
  const { freeBytes, limit } = plan.atMost ?? { freeBytes: plan.freeBytes, limit: "memory" };
  const isCapped = limit === "memory.maxBytes";
  // The buffer is part of the measured memory, not of the limit that the user set.
  const besideBytes = isCapped ? 0 : bufferBytes;
  // The inverse of `estimateBySize`, the rule for models without metadata.
  const largestBytes = Math.max(0, Math.min(freeBytes / 1.2, freeBytes - besideBytes));
  const smaller = largestOther(lists, plan.model, (model) => {
    const { method, predictedBytes } = estimateOf(model);
    return method === "configured" ? predictedBytes + besideBytes <= freeBytes : model.sizeBytes <= largestBytes;
  });
  const numbers = `${plan.model} needs ${formatBytes(plan.neededBytes)} at ${plan.contextTokens} tokens of context`;
  const pins = pinned.length === 0 ? "" : `; ${pinned.join(", ")} ${pinned.length === 1 ? "is" : "are"} pinned`;
  const pull = { step: "pullModelThat", that: `below ${formatBytes(largestBytes)}` } as const;
  const next: NextStep[] = [
    ...(pinned.length === 0 ? [] : [{ step: "unpinModels", models: pinned } as const]),
    ...lowerContext(smallerTokens),
    ...(plan.estimate.method === "configured" ? [advice("correct the sizeBytes configured for the model")] : []),
    ...(isCapped ? [{ step: "raiseSetting", setting: "memory.maxBytes" } as const] : []),
    ...(smaller === undefined
      ? [...(isCapped ? [] : [advice("free memory")]), ...(largestBytes > 0 ? [pull] : [])]
      : [{ step: "useModel", model: smaller.name, because: `${formatBytes(smaller.sizeBytes)}, fits` } as const]),
  ];
  return new ModelDoesNotFit(`${numbers}; ${roomInWords(plan)}${pins}`, { next });
}

/** The next steps of a refusal that are facts about what fits, as text for the log of decisions. */
function whatWouldFit(next: readonly NextStep[]): readonly string[] {
  return next.flatMap((step) => {
    if (step.step === "useModel") return [`${step.model} would fit`];
    return step.step === "lowerArgument" ? [`${step.to} tokens of context would fit`] : [];
  });
}

function roomInWords({ freeBytes, atMost }: LoadPlan): string {
  if (atMost?.limit === "memory.maxBytes") return `memory.maxBytes leaves at most ${formatBytes(atMost.freeBytes)}`;
  const idle = atMost !== undefined && atMost.freeBytes > freeBytes;
  const more = idle ? `, ${formatBytes(atMost.freeBytes)} with all idle models unloaded` : "";
  return `${formatBytes(freeBytes)} are free${more}`;
}

/** Anything less is too small to be useful. */
const minTokens = 1024;

/** Estimates that don't depend on the context. */
const contextFree: ReadonlySet<MemoryEstimate["method"]> = new Set(["size_rule", "configured"]);

/**
 * The largest power-of-two context below the refused one for which `fits` resolves to true; undefined if there is
 * none.
 */
export async function smallerContext(
  refused: { readonly contextTokens: number; readonly estimate: Pick<MemoryEstimate, "method"> },
  fits: (contextTokens: number) => Promise<boolean>,
): Promise<number | undefined> {
  if (contextFree.has(refused.estimate.method) || refused.contextTokens <= minTokens) return undefined;
  // Checked first: mostly the weights alone don't fit.
  if (!(await fits(minTokens))) return undefined;
  let tokens = minTokens;
  while (tokens * 2 < refused.contextTokens && (await fits(tokens * 2))) tokens *= 2;
  return tokens;
}
