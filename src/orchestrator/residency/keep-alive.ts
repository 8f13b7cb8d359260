import { InvalidRequest } from "../api/errors.ts";
import { type Emit, noteDecision } from "../api/events.ts";
import type { Log } from "../api/log.ts";
import { matchesName, overridesOf } from "../routing/model-overrides.ts";
import type { Settings } from "../config/schema.ts";
import type { Engine, ResidentModel } from "../engines/engine.ts";
import { defaultContextTokens } from "../memory/reading.ts";
import type { Inventory } from "../catalog/inventory.ts";
import { type LocatedModel, modelId } from "../catalog/located-model.ts";
import { keyOfName, sameModel } from "../util/model-name.ts";
import type { EvictionPolicies } from "./eviction-policies.ts";
import type { Plans } from "./plans.ts";
import type { ModelSlot, OwnedLoad } from "./slot.ts";
import type { Slots } from "./slots.ts";
import { messageOf } from "../util/values.ts";

interface KeepAliveParts {
  readonly inventory: Inventory;
  readonly slots: Slots;
  readonly pins: Pins;
  readonly policies: Pick<EvictionPolicies, "losses">;
  readonly plans: Pick<Plans, "inTurn">;
  readonly log: Log;
  readonly emit: Emit;
}

/** Polling interval for pinned models, which keep a daemon running. */
const pinnedPollMs = 60_000;

/** Ollama's default keep-alive. */
const exitSeconds = 300;

/**
 * The keep-alives sent to engines, in seconds; negative: never unloaded. Names served by one process share it: pinning
 * one of them pins the process, whatever name it was loaded by.
 */
export class KeepAlive {
  readonly #parts: KeepAliveParts;

  constructor(parts: KeepAliveParts) {
    this.#parts = parts;
  }

  /** For a load; `requestedSeconds` is the keep-alive of the request. Undefined: the engine decides. */
  forLoad(engine: Engine, name: string, requestedSeconds: number | undefined): number | undefined {
    const { pins, slots, policies } = this.#parts;
    const seconds = pins.keepAliveForLoad(this.#pinnedName(slots.of(engine, name), name), requestedSeconds);
    if (seconds === undefined || requestedSeconds !== undefined) return seconds;
    if (engine.residency?.evictsByKeepAlive !== true) return seconds;
    return withEvictionBias(seconds, policies.losses(engine)(modelId(engine.id, name)) ?? 0);
  }

  /**
   * For an answer; `requestedSeconds` is the keep-alive of the request (0: unload at once). Recorded before the answer,
   * since an engine applies it even if the answer is cancelled. Sent with every answer: an engine that reloads the
   * model meanwhile would use its own default otherwise. Undefined: unchanged.
   */
  forAnswer(engine: Engine, name: string, requestedSeconds: number | undefined): number | undefined {
    const { pins, slots } = this.#parts;
    const slot = slots.of(engine, name);
    const asked = pins.keepAliveForAnswer(this.#pinnedName(slot, name), requestedSeconds);
    const own = slot.ownedLoad;
    // The keep-alive of another program's model is not ours to change.
    if (asked === 0 || own === undefined || (asked === undefined && slot.isForeign)) return asked;
    const wanted = { ...own, requestedSeconds: requestedSeconds ?? own.requestedSeconds };
    const sentSeconds = asked ?? this.forLoad(engine, name, wanted.requestedSeconds);
    const isChanged = sentSeconds !== own.sentSeconds || wanted.requestedSeconds !== own.requestedSeconds;
    if (sentSeconds !== undefined && isChanged) slot.own({ ...wanted, sentSeconds });
    return sentSeconds;
  }

  /** An answer that was requested with the keep-alive `sentSeconds` has completed. */
  answered(engine: Engine, name: string, sentSeconds: number | undefined): void {
    const slot = this.#parts.slots.of(engine, name);
    const own = sentSeconds === 0 ? slot.ownedLoad : undefined;
    if (own === undefined) return;
    slot.disown();
    const steps = ["unloaded after its answer (keep-alive 0)"];
    noteDecision(this.#parts.emit, { kind: "expire", model: own.name, engine: engine.id, steps });
  }

  /** Whether the keep-alive that was sent differs from the one that is configured now. */
  isStale({ name, requestedSeconds, sentSeconds }: OwnedLoad): boolean {
    const seconds = this.#parts.pins.keepAliveForLoad(name, requestedSeconds);
    if (seconds === undefined || sentSeconds === undefined || seconds <= 0) return seconds !== sentSeconds;
    return sentSeconds < seconds || sentSeconds > seconds * (1 + maxBiasShare);
  }

  /** Sends the current keep-alive of a loaded model; does nothing if it isn't loaded. */
  async apply(engine: Engine, name: string, signal: AbortSignal): Promise<void> {
    const { inventory, slots } = this.#parts;
    const residents = await inventory.resident(engine, 0);
    const slot = slots.of(engine, name);
    const names = slot.namesOf(name);
    const resident = residents.find((model) => names.some((each) => sameModel(model.name, each)));
    const own = slot.ownedLoad;
    const sentSeconds = this.forLoad(engine, name, own?.requestedSeconds);
    if (resident === undefined || sentSeconds === undefined || slot.isEvicting) return;
    const contextTokens = resident.contextTokens ?? defaultContextTokens;
    // A load request for a loaded model only restarts its keep-alive.
    await engine.residency?.load(
      resident.name,
      { contextTokens, keepAliveSeconds: sentSeconds },
      () => undefined,
      signal,
    );
    if (own !== undefined) slot.own({ ...own, sentSeconds });
    inventory.forgetResidency(engine);
  }

  /** Like `apply`. Excludes evictions: the request would load an evicted model again. */
  renew(engine: Engine, name: string, signal: AbortSignal): Promise<void> {
    return this.#parts.plans.inTurn(engine.memoryDomain, () => this.apply(engine, name, signal));
  }

  /** Pins or unpins a model; applied at once if it is loaded. Throws `InvalidRequest` if the settings disable pins. */
  async setPinned(located: LocatedModel, isPinned: boolean, signal: AbortSignal): Promise<void> {
    const { pins, slots, inventory, emit } = this.#parts;
    const { engine, model } = located;
    if (isPinned) pins.pin(model.name);
    else pins.unpin(model.name);
    slots.changes += 1;
    // Also finds the other names that its process serves.
    await inventory.residentOf(located, 0);
    await this.renew(engine, model.name, signal);
    emit({ kind: "memory changed" });
    emit({ kind: "models changed", isListChanged: false });
    slots.emit("owner");
  }

  /** Number of pinned models in memory as of the last poll of the engines, which are asked again after a while. */
  pinnedCount(): number {
    const { inventory, slots } = this.#parts;
    const isPinned = (engine: Engine) => (model: ResidentModel) => slots.of(engine, model.name).isPinned(model.name);
    const { length } = inventory.engines.flatMap((engine) => inventory.lastResident(engine).filter(isPinned(engine)));
    // Detects engines that were restarted and lost their models.
    if (length > 0) for (const engine of inventory.engines) void inventory.resident(engine, pinnedPollMs);
    return length;
  }

  /** After a change of settings: sends the new keep-alives of models that this program loaded. Never throws. */
  async refresh(signal: AbortSignal): Promise<void> {
    const { inventory, slots, log } = this.#parts;
    for (const engine of inventory.engines) {
      for (const { ownedLoad } of slots.owned(engine)) {
        const { name } = ownedLoad;
        if (!this.isStale(ownedLoad)) continue;
        await this.renew(engine, name, signal).catch((error: unknown) =>
          log.warn(`keep-alive: ${name}: ${messageOf(error)}`),
        );
      }
    }
  }

  /**
   * Unloads models that this program loaded from those of `engines` (default: all) that outlive it. Never throws: a
   * model that could not be unloaded leaves when its keep-alive ends.
   */
  async unloadOwned(signal: AbortSignal, engines = this.#parts.inventory.engines): Promise<void> {
    const { slots, log } = this.#parts;
    // Models of private engines end with this process.
    const servers = engines.filter(({ isPrivate }) => isPrivate !== true);
    const work = servers.map(async (engine) => {
      const resident = (await engine.residency?.loaded(signal)) ?? [];
      // Another program may have loaded another name of the weights since.
      const isOwn = ({ name }: ResidentModel, load = slots.of(engine, name).ownedLoad) =>
        load !== undefined && sameModel(load.name, name);
      const own = resident.filter((model) => isOwn(model));
      await Promise.all(own.map((model) => this.#unloadOrUnpin(engine, model, signal)));
    });
    for (const result of await Promise.allSettled(work)) {
      if (result.status === "rejected") log.debug(`shutdown: models were not unloaded: ${String(result.reason)}`);
    }
  }

  /** Unloads the model, or, if another program uses it too, only ends our pin. */
  async #unloadOrUnpin(engine: Engine, { name, contextTokens }: ResidentModel, signal: AbortSignal): Promise<void> {
    const slot = this.#parts.slots.of(engine, name);
    if (!slot.isForeign) {
      await engine.residency?.unload(name, signal);
      return slot.disown();
    }
    const { sentSeconds = 0 } = slot.ownedLoad ?? {};
    if (sentSeconds >= 0 || contextTokens === undefined) return;
    await engine.residency?.load(name, { contextTokens, keepAliveSeconds: exitSeconds }, () => undefined, signal);
  }

  #pinnedName(slot: ModelSlot, name: string): string {
    return slot.namesOf(name).find((each) => this.#parts.pins.isPinned(each)) ?? name;
  }
}

/** Largest share by which the configured keep-alive is extended. */
const maxBiasShare = 1 / 20;
/** A model that takes this many seconds to reload gets half of it. */
const halfBiasLossSeconds = 10;

/**
 * When Ollama makes room by itself (without a graphics card it holds at most three models, however small), it evicts
 * the model with the shortest keep-alive first, regardless of last use. So the keep-alives of our models differ
 * slightly, in the order in which they should be evicted. Rounded to milliseconds: Ollama accepts fractions of a
 * second.
 */
export function withEvictionBias(seconds: number, lossSeconds: number): number {
  if (seconds <= 0) return seconds;
  const share = (maxBiasShare * lossSeconds) / (lossSeconds + halfBiasLossSeconds);
  return Math.round(seconds * (1 + share) * 1_000) / 1_000;
}

/**
 * Which models are pinned, and the keep-alive of each. A pinned model is not evicted and its keep-alive never ends.
 *
 * | pinned by                             | until                                                     |
 * |---------------------------------------|-----------------------------------------------------------|
 * | `pin`                                 | `unpin`, or the end of the process                        |
 * | a pattern of `model.keepAlive.models` | `unpin`; pinned again by its next load or by new patterns |
 *
 * With `model.keepAlive.enabled: false` nothing is pinned.
 */
export type Pins = ReturnType<typeof createPins>;

/** Anything longer means "never": Ollama counts nanoseconds in 64 bits, and unloads at once on overflow. */
const longestSeconds = 10 * 365 * 86_400;
/** A load with keep-alive 0 would be undone at once; the answer that follows it sends 0. */
const shortestLoadSeconds = 60;

/** `settings` is called on each use. */
export function createPins(settings: () => Settings) {
  const pinned = new Set<string>();
  /** Model → the patterns in force when it was unpinned. */
  const unpinned = new Map<string, string>();

  function isPinned(name: string): boolean {
    const { enabled, models } = settings().model.keepAlive;
    if (!enabled || (pinned.size === 0 && models.length === 0)) return false;
    const key = keyOfName(name);
    if (pinned.has(key)) return true;
    const matchesPattern = models.some((pattern) => matchesName(pattern, name));
    return matchesPattern && unpinned.get(key) !== JSON.stringify(models);
  }

  function configuredSeconds(name: string): number {
    const { model, models } = settings();
    const ofModel = overridesOf(models, name).keepAlive;
    return bounded(ofModel ?? model.keepAlive.timeout);
  }

  return {
    isPinned,
    /** Throws `InvalidRequest` while the settings forbid pins. */
    pin(name: string) {
      if (!settings().model.keepAlive.enabled) {
        throw new InvalidRequest(`${name} can't be pinned: model.keepAlive.enabled is false`, {
          next: { step: "changeSetting", setting: "model.keepAlive.enabled", to: "true" },
        });
      }
      pinned.add(keyOfName(name));
    },
    unpin(name: string) {
      pinned.delete(keyOfName(name));
      unpinned.set(keyOfName(name), JSON.stringify(settings().model.keepAlive.models));
    },
    /** The model was loaded, so that patterns pin it again. */
    wasLoaded: (name: string) => void unpinned.delete(keyOfName(name)),
    /** Keep-alive of a load, in seconds; negative: never unloaded. Undefined: the engine decides. */
    keepAliveForLoad(name: string, asked?: number): number | undefined {
      if (isPinned(name)) return -1;
      if (asked !== undefined) return bounded(asked);
      if (!settings().model.keepAlive.enabled) return undefined;
      return configuredSeconds(name) || shortestLoadSeconds;
    },
    /** Keep-alive of an answer, in seconds; 0: unload at once. Undefined: that of its load. */
    keepAliveForAnswer(name: string, asked?: number): number | undefined {
      if (isPinned(name)) return -1;
      if (asked !== undefined) return bounded(asked);
      return settings().model.keepAlive.enabled && configuredSeconds(name) === 0 ? 0 : undefined;
    },
  };
}

function bounded(seconds: number): number {
  return seconds > longestSeconds ? -1 : seconds;
}
