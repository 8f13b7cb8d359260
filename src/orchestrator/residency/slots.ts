import { EventEmitter } from "node:events";
import type { ModelFacts } from "../api/types.ts";
import type { Engine, ResidentModel } from "../engines/engine.ts";
import type { SlotView } from "../memory/state.ts";
import type { Observations } from "./observations.ts";
import { type LocatedModel, modelId } from "../catalog/located-model.ts";
import { ModelSlot, type OwnedLoad, type SlotName, type SlotWorld } from "./slot.ts";

/** The slots of one engine. A replaced engine keeps its own. */
interface EngineSlots {
  /** By `modelId`. */
  readonly byName: Map<string, SlotName>;
  /** The same by each spelling of a name: every choice of a model looks all of them up. */
  readonly bySpelling: Map<string, SlotName>;
  readonly byKey: Map<string, ModelSlot>;
}

/**
 * All models in memory, and the only place where their state is kept. Finds the slot of a model; names that turn out to
 * share weights get one slot.
 *
 * | event   | emitted when                                                                                     |
 * |---------|--------------------------------------------------------------------------------------------------|
 * | changed | requests may go on: a lease was released, a load began or ended, a model was evicted             |
 * | status  | a load began or ended, or a model is stuck or no longer stuck                                    |
 * | owner   | this program loaded or unloaded a model, or sent another keep-alive                              |
 */
export class Slots extends EventEmitter<{ changed: []; status: []; owner: [] }> {
  /** Counts what may change a plan: each transition, lease and wait, and each change in what engines list. */
  changes = 0;
  readonly #engines = new Map<Engine, EngineSlots>();
  readonly #world: SlotWorld;

  constructor(parts: {
    readonly now: () => number;
    readonly steady: () => number;
    readonly observations: Pick<Observations, "of" | "used">;
    readonly isPinned: (name: string) => boolean;
  }) {
    super();
    // Each wait for a change adds a listener.
    this.setMaxListeners(0);
    const { now, steady, observations, isPinned } = parts;
    this.#world = {
      now,
      steady,
      isPinned,
      used: (id) => observations.used(id),
      lastUsedMs: (id) => observations.of(id).lastUsedMs,
      touched: () => void (this.changes += 1),
      emit: (event) => {
        if (event === "changed") this.changes += 1;
        this.emit(event);
      },
    };
  }

  /** The slot of a name; an absent one if nothing is known of it. */
  of(engine: Engine, name: string): ModelSlot {
    return (this.#engines.get(engine)?.bySpelling.get(name) ?? this.#named(engine, name)).slot;
  }

  at({ engine, model }: LocatedModel): ModelSlot {
    return this.of(engine, model.name);
  }

  /** The slot of a `modelId`; undefined if nothing is known of it. */
  find(id: string): ModelSlot | undefined {
    let found: ModelSlot | undefined;
    // The newest engine of an id is in use.
    for (const { byName } of this.#engines.values()) found = byName.get(id)?.slot ?? found;
    return found;
  }

  ofEngine(engine: Engine): readonly ModelSlot[] {
    return [...(this.#engines.get(engine)?.byKey.values() ?? [])];
  }

  /** Those that this program loaded. */
  owned(engine: Engine) {
    const isOwned = (slot: ModelSlot): slot is ModelSlot & { readonly ownedLoad: OwnedLoad } =>
      slot.ownedLoad !== undefined;
    return this.ofEngine(engine).filter(isOwned);
  }

  /** A loaded model as its engine listed it, with what its slot knows. */
  view(engine: Engine, { digest: _digest, loadMs: _loadMs, ...resident }: ResidentModel): SlotView {
    const { name, mappedBytes = 0 } = resident;
    const slot = this.of(engine, name);
    const expiresAtMs = Date.parse(resident.expiresAt ?? "");
    return {
      ...resident,
      engine: engine.id,
      slot: slot.key,
      mappedBytes,
      isBusy: slot.isBusy,
      isPinned: slot.isPinned(name),
      isAwaited: slot.isAwaited,
      ...(slot.hasUnconfirmedUnload ? { hasUnconfirmedUnload: true } : {}),
      lastUsedMs: slot.lastUsedMs ?? 0,
      isForeign: slot.isForeign,
      expiresAtMs: Number.isNaN(expiresAtMs) ? undefined : expiresAtMs,
      sentSeconds: slot.ownedLoad?.sentSeconds,
      lastActivityMs: Math.max(slot.lastActivityMs, slot.renewedAtMs),
    };
  }

  /**
   * The loaded models of an engine, as it listed them just now: the one place where polls reach slots. `isOther`: their
   * sizes or contexts differ from those of the poll before, so that a plan made on these no longer holds.
   */
  observe(engine: Engine, residents: readonly ResidentModel[], isOther = false): void {
    if (isOther) this.changes += 1;
    const there = new Set(
      residents.map((resident) => {
        const slot = this.of(engine, resident.name);
        slot.observe(resident);
        return slot;
      }),
    );
    for (const slot of this.ofEngine(engine)) if (!there.has(slot)) slot.lost();
  }

  /** Resolves at the next change: call it before reading the state. */
  nextChange(): Promise<void> {
    return new Promise((resolve) => void this.once("changed", resolve));
  }

  /** Drops a replaced engine that has no users any more. */
  drop(engine: Engine): void {
    this.#engines.delete(engine);
  }

  /** Records the facts of a model: names of the same weights share a slot. */
  note(engine: Engine, name: string, facts: ModelFacts): void {
    const own = this.#named(engine, name);
    if (own.facts === facts) return;
    const found = engine.residency?.processOf(facts);
    const key = found === undefined ? own.id : `${engine.id} ${found.slot}`;
    own.runner = found?.runner;
    this.#move(engine, own, key);
    if (own.slot.key === key) own.facts = facts;
  }

  /** The name may refer to other weights now, or to none. While it is in use, its process is the old one. */
  forget(id: string): void {
    const slot = this.find(id);
    const own = slot?.names.get(id);
    if (slot === undefined || own === undefined || own.leases > 0) return;
    own.runner = undefined;
    own.facts = undefined;
    this.#move(slot.engine, own, id);
    this.#dropIfUnused(slot.engine, own);
  }

  /** Most forgotten names were deleted. */
  #dropIfUnused(engine: Engine, { id, awaited }: SlotName): void {
    const { byName, bySpelling, byKey } = this.#of(engine);
    const slot = byName.get(id)?.slot;
    if (slot === undefined || awaited > 0 || slot.names.size > 1) return;
    if (slot.state !== "absent" || slot.ownedLoad !== undefined || slot.hasUnconfirmedUnload) return;
    byName.delete(id);
    for (const [spelling, named] of bySpelling) if (named.slot === slot) bySpelling.delete(spelling);
    byKey.delete(slot.key);
  }

  #of(engine: Engine): EngineSlots {
    const known = this.#engines.get(engine);
    if (known !== undefined) return known;
    const created = { byName: new Map(), bySpelling: new Map(), byKey: new Map() };
    this.#engines.set(engine, created);
    return created;
  }

  #named(engine: Engine, name: string): SlotName {
    const { bySpelling } = this.#of(engine);
    let named = bySpelling.get(name);
    if (named === undefined) bySpelling.set(name, (named = this.#identified(engine, name)));
    return named;
  }

  #identified(engine: Engine, name: string): SlotName {
    const { byName, byKey } = this.#of(engine);
    const id = modelId(engine.id, name);
    const known = byName.get(id);
    if (known !== undefined) return known;
    const slot = new ModelSlot(engine, id, this.#world);
    const own: SlotName = { id, name, runner: undefined, facts: undefined, leases: 0, awaited: 0, slot };
    slot.names.set(id, own);
    byKey.set(id, slot);
    byName.set(id, own);
    return own;
  }

  /** Moves a name to the slot of its weights. */
  #move(engine: Engine, own: SlotName, key: string): void {
    const { byName, byKey } = this.#of(engine);
    const from = byName.get(own.id)?.slot;
    if (from === undefined || from.key === key) return;
    const target = byKey.get(key);
    const isInMotion = (slot: ModelSlot) => slot.isLoading || slot.isEvicting;
    // A load ends in the slot that it began in; joined or parted once it has ended.
    if (isInMotion(from) && (from.names.size > 1 || (target !== undefined && isInMotion(target)))) return;
    if (from.names.size > 1) {
      const slot = target ?? new ModelSlot(engine, key, this.#world);
      from.handOver(own, slot);
      byKey.set(key, slot);
    } else {
      byKey.delete(from.key);
      if (target === undefined || isInMotion(from)) {
        if (target !== undefined) from.absorb(target);
        from.key = key;
        byKey.set(key, from);
      } else target.absorb(from);
    }
    const slot = byKey.get(key);
    if (slot !== undefined) for (const named of slot.names.values()) named.slot = slot;
  }
}
