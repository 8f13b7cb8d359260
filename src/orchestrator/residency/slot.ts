import type { ModelFacts } from "../api/types.ts";
import type { Engine, ResidentModel } from "../engines/engine.ts";
import type { GpuMemory } from "../memory/measure/system-probe.ts";
import { localDomain } from "../memory/state.ts";
import { modelId } from "../catalog/located-model.ts";
import { sameModel } from "../util/model-name.ts";
import { judgeExpiry } from "./maintenance-plan.ts";
import { once } from "../util/values.ts";

type SlotState = "absent" | "loading" | "ready" | "evicting" | "stuck";

/** A load by this program. */
export interface OwnedLoad {
  readonly name: string;
  readonly digest?: string | undefined;
  /** Keep-alive of the request, in seconds. */
  readonly requestedSeconds: number | undefined;
  /** Keep-alive last sent to the engine, in seconds. */
  readonly sentSeconds: number | undefined;
}

/** What slots use and report to; `Slots` provides it. */
export interface SlotWorld {
  /** Milliseconds since the epoch. */
  now(): number;
  /** Milliseconds of a monotonic clock. */
  steady(): number;
  isPinned(name: string): boolean;
  /** A use of the model of this `modelId` has ended. */
  used(id: string): void;
  /** End of the last use of the model of this `modelId`, since the epoch. */
  lastUsedMs(id: string): number | undefined;
  /** Its state, its leases, its waits or its owner changed. */
  touched(): void;
  /** See `Slots`. */
  emit(event: "changed" | "status" | "owner"): void;
}

/** A name of a model. It moves to another slot when its weights become known. */
export interface SlotName {
  readonly id: string;
  readonly name: string;
  /** Equal for names that one process serves; undefined if unknown. */
  runner: string | undefined;
  /** The facts that tell its slot. */
  facts: ModelFacts | undefined;
  leases: number;
  /** Requests that wait for it. */
  awaited: number;
  slot: ModelSlot;
}

interface Owner {
  readonly load: OwnedLoad;
  actedAtMs: number;
  sighting: Parameters<typeof judgeExpiry>[1];
  touchedAtMs: number | undefined;
  /** Another program set its keep-alive. */
  isTaken: boolean;
}

/** Use by another program counts for this long: the default keep-alive. */
const foreignUseMs = 15 * 60_000;
/** A model whose unload was not confirmed is not evicted again during this time. */
const unconfirmedMs = 600_000;

const next: Readonly<Record<SlotState, readonly SlotState[]>> = {
  absent: ["loading", "ready"],
  loading: ["ready", "absent"],
  ready: ["loading", "evicting", "stuck", "absent"],
  evicting: ["absent", "ready"],
  stuck: ["ready", "loading", "evicting", "absent"],
};

/**
 * A model in memory: the weights that an engine has loaded, is loading or may load, under all names that share them.
 * Only one of these names can be loaded at a time. Transitions are methods and refuse what the table doesn't have.
 *
 * | state            | entered by                                          | leaves to                                          |
 * |------------------|-----------------------------------------------------|----------------------------------------------------|
 * | absent           | unloaded, evicted, lost, failed                     | loading, ready (found loaded: by another program)  |
 * | loading          | memory reserved (for more context, it was ready)    | ready, absent (failed, cancelled)                  |
 * | ready (n leases) | loaded, found loaded, eviction refused, a token     | evicting, loading (n = 0), stuck, absent (lost)    |
 * | evicting         | chosen for eviction, idle, unloaded by name (n = 0) | absent (confirmed), ready (refused)                |
 * | stuck (n leases) | no token for a waiting request within its bound     | ready (a token), evicting, loading (n = 0), absent |
 */
export class ModelSlot {
  readonly engine: Engine;
  /** The same for all names of these weights; the id of its only name while they are unknown. */
  key: string;
  readonly names = new Map<string, SlotName>();
  /** Why it is stuck, in one sentence. */
  stuck: string | undefined;
  /** When our last renewal of its keep-alive was sent; also of models of other programs. */
  renewedAtMs = 0;
  readonly #world: SlotWorld;
  #state: SlotState = "absent";
  #endReservation: (() => void) | undefined;
  #isSettling = false;
  #owner: Owner | undefined;
  #unconfirmedSinceMs: number | undefined;
  /** The name that its engine lists it by. */
  #listedAs: string | undefined;
  #freeAfterLoad: { readonly load: string; readonly bytes: number } | undefined;

  constructor(engine: Engine, key: string, world: SlotWorld) {
    this.engine = engine;
    this.key = key;
    this.#world = world;
  }

  get state(): SlotState {
    return this.#state;
  }

  get isLoading(): boolean {
    return this.#state === "loading";
  }

  get isEvicting(): boolean {
    return this.#state === "evicting";
  }

  get leases(): number {
    let sum = 0;
    for (const { leases } of this.names.values()) sum += leases;
    return sum;
  }

  /** In use or loading. */
  get isBusy(): boolean {
    return this.isLoading || this.leases > 0;
  }

  get mayBeEvicted(): boolean {
    return !this.isBusy && !this.#isSettling;
  }

  get isAwaited(): boolean {
    for (const { awaited } of this.names.values()) if (awaited > 0) return true;
    return false;
  }

  /** Whether it is used by this name; leases by other names don't count. */
  isUsedAs(name: string): boolean {
    return (this.#own(name)?.leases ?? 0) > 0;
  }

  /** All known names that the process of this name serves, this one first. */
  namesOf(name: string): readonly string[] {
    const own = this.#own(name);
    if (own?.runner === undefined || this.names.size === 1) return [name];
    const others = [...this.names.values()].filter((other) => other !== own && other.runner === own.runner);
    return [name, ...others.map((other) => other.name)];
  }

  /** Whether the name, or another one served by its process, is pinned. */
  isPinned(name: string): boolean {
    return this.namesOf(name).some((each) => this.#world.isPinned(each));
  }

  /** A lease, which protects a loaded model from eviction; without `isUse` it doesn't count as a use of the model. */
  take(name: string, isUse = true): { readonly release: () => void } {
    const own = this.#own(name);
    if (own === undefined || this.isLoading || this.isEvicting) throw this.#illegal(`lease by ${name}`);
    this.found();
    own.leases += 1;
    this.#world.touched();
    const release = once(() => {
      own.leases -= 1;
      if (isUse) this.#world.used(own.id);
      this.#world.emit("changed");
    });
    return { release };
  }

  /** A request waits for it by this name until the returned function is called. */
  await(name: string): () => void {
    const own = this.#own(name);
    if (own === undefined) throw this.#illegal(`wait for ${name}`);
    own.awaited += 1;
    if (this.#state !== "absent") this.#world.touched();
    return () => void (own.awaited -= 1);
  }

  /** Its engine lists it as loaded. */
  found(): void {
    if (this.#state === "absent") this.#enter("ready");
  }

  /** Its engine no longer lists it. */
  lost(): void {
    if (this.#state !== "absent" && !this.isBusy && !this.isEvicting) this.#enter("absent");
  }

  /** Room is made for it; `endReservation` is called when the load has ended. */
  beginLoad(endReservation: () => void): void {
    if (this.leases > 0) throw this.#illegal("loading");
    this.#enter("loading");
    this.#endReservation = endReservation;
    this.#world.emit("status");
    this.#world.emit("changed");
  }

  /** Loaded by this program. Callers that waited for the load take their leases in this turn of the event loop. */
  loaded(load: OwnedLoad): void {
    this.#unconfirmedSinceMs = undefined;
    this.#isSettling = true;
    setImmediate(() => {
      this.#isSettling = false;
      this.#world.emit("changed");
    });
    this.#endLoad("ready");
    this.own(load);
  }

  /** The load failed or was cancelled. */
  loadFailed(): void {
    this.#endLoad("absent");
  }

  /** Its unload begins. A load that replaces it with more context stays loading. */
  beginEvicting(): void {
    if (this.isLoading) return;
    this.found();
    if (!this.mayBeEvicted) throw this.#illegal("evicting");
    this.#enter("evicting");
  }

  /** Its unload was confirmed. */
  evicted(): void {
    this.#unconfirmedSinceMs = undefined;
    this.disown();
    if (this.isEvicting) this.#enter("absent");
  }

  /** It was not unloaded. `isUnconfirmed`: its engine still held it after it was asked to. */
  evictionRefused(isUnconfirmed: boolean): void {
    if (isUnconfirmed) this.#unconfirmedSinceMs = this.#world.steady();
    if (this.isEvicting) this.#enter("ready");
  }

  /** Produces no token for requests that wait; `why` in one sentence. */
  stalled(why: string): void {
    this.found();
    if (this.#state === "ready") this.#enter("stuck");
    if (this.stuck === undefined) this.#world.emit("status");
    this.stuck = why;
  }

  /** Produced a token, or no request waits for one. */
  alive(): void {
    if (this.stuck === undefined) return;
    this.stuck = undefined;
    if (this.#state === "stuck") this.#enter("ready");
    this.#world.emit("status");
  }

  get hasUnconfirmedUnload(): boolean {
    return this.#world.steady() - (this.#unconfirmedSinceMs ?? Number.NEGATIVE_INFINITY) < unconfirmedMs;
  }

  /**
   * The free memory of the graphics cards when this load was first seen; `gpus` as they are now. Ollama does not measure
   * it again: while one of its models is loaded, it takes what was free after that load for the free memory, although
   * other models were unloaded since (`llamaServerRunner.GetDeviceInfos`, and observed with 0.33). Undefined if the
   * model is in RAM, or if a card doesn't report it.
   */
  freeAfterLoad({ digest, contextTokens, vramBytes }: ResidentModel, gpus: readonly GpuMemory[]): number | undefined {
    const bytes = gpus.reduce((sum, { freeBytes = Number.NaN }) => sum + freeBytes, 0);
    if (this.engine.usesCards !== true || vramBytes === 0 || gpus.length === 0 || Number.isNaN(bytes)) return undefined;
    const load = JSON.stringify([digest, contextTokens]);
    if (this.#freeAfterLoad?.load !== load) this.#freeAfterLoad = { load, bytes };
    return this.#freeAfterLoad.bytes;
  }

  /** The load of this program; undefined if another program loaded it. May have been unloaded by its engine since. */
  get ownedLoad(): OwnedLoad | undefined {
    return this.#owner?.load;
  }

  /** This program loaded it, or sent its keep-alive, now or at `atMs` (since the epoch). */
  own(load: OwnedLoad, atMs = this.#world.now()): void {
    const { load: before, touchedAtMs } = this.#owner ?? {};
    const digest = load.digest ?? before?.digest;
    this.#owner = { load: { ...load, digest }, actedAtMs: atMs, sighting: undefined, touchedAtMs, isTaken: false };
    this.#world.emit("owner");
  }

  disown(): void {
    if (this.#owner === undefined) return;
    this.#owner = undefined;
    this.#world.emit("owner");
  }

  /** A renewal or a probe of ours restarted its keep-alive. */
  acted(): void {
    if (this.#owner !== undefined) this.#owner.actedAtMs = this.#world.now();
  }

  /** Loaded, or recently used, by another program: evicted last, and never for being idle. */
  get isForeign(): boolean {
    const owner = this.#owner;
    if (owner === undefined || owner.isTaken) return true;
    // Another name of the weights has replaced ours.
    if (this.#listedAs !== undefined && !sameModel(this.#listedAs, owner.load.name)) return true;
    return owner.touchedAtMs !== undefined && this.#world.now() - owner.touchedAtMs < foreignUseMs;
  }

  /** Milliseconds since the epoch when its keep-alive last restarted, by any program; 0 for another program's model. */
  get lastActivityMs(): number {
    return this.#owner === undefined ? 0 : Math.max(this.#ownActivityMs(this.#owner), this.#owner.touchedAtMs ?? 0);
  }

  /** End of the last use through this program, by any of its names. */
  get lastUsedMs(): number | undefined {
    const known = [...this.names.keys()].flatMap((id) => this.#world.lastUsedMs(id) ?? []);
    return known.length === 0 ? undefined : Math.max(...known);
  }

  /** Detects use by other programs: compares its expiry with the keep-alive that was sent. */
  observe(resident: ResidentModel): void {
    this.found();
    this.#listedAs = resident.name;
    const owner = this.#owner;
    if (owner === undefined || this.isBusy || this.engine.isPrivate === true) return;
    if (!sameModel(owner.load.name, resident.name)) return;
    const expiresAtMs = Date.parse(resident.expiresAt ?? "");
    if (Number.isNaN(expiresAtMs)) return;
    const activityMs = this.#ownActivityMs(owner);
    const atMs = this.#world.now();
    // A poll in the same millisecond may predate the activity.
    if (activityMs >= atMs) return;
    const hasSameClock = this.engine.memoryDomain === localDomain;
    const own = { sentSeconds: owner.load.sentSeconds, activityMs, hasSameClock };
    const verdict = judgeExpiry(own, owner.sighting, { expiresAtMs, atMs });
    owner.sighting = { expiresAtMs, atMs, activityMs };
    if (verdict === "ours") return;
    owner.touchedAtMs = atMs;
    owner.isTaken ||= verdict === "taken";
    this.#world.touched();
  }

  /** The name turns out to have other weights: moves it to `other`, with our load by it. */
  handOver(own: SlotName, other: ModelSlot): void {
    this.names.delete(own.id);
    other.names.set(own.id, own);
    if (own.leases > 0) other.found();
    if (this.#owner?.load.name === own.name) [other.#owner, this.#owner] = [this.#owner, undefined];
  }

  /** Takes the names of `other`, whose weights turn out to be the same, and what is known of them. */
  absorb(other: ModelSlot): void {
    for (const [id, name] of other.names) this.names.set(id, name);
    other.names.clear();
    this.#owner ??= other.#owner;
    this.#unconfirmedSinceMs ??= other.#unconfirmedSinceMs;
    this.#freeAfterLoad ??= other.#freeAfterLoad;
    if (other.#state !== "absent") this.found();
  }

  #own(name: string): SlotName | undefined {
    for (const own of this.names.values()) if (own.name === name) return own;
    return this.names.get(modelId(this.engine.id, name));
  }

  #ownActivityMs({ actedAtMs }: Owner): number {
    return Math.max(actedAtMs, this.lastUsedMs ?? 0);
  }

  #endLoad(state: "ready" | "absent"): void {
    this.#enter(state);
    this.#endReservation?.();
    this.#endReservation = undefined;
    this.#world.emit("status");
    this.#world.emit("changed");
  }

  #enter(state: SlotState): void {
    if (!next[this.#state].includes(state)) throw this.#illegal(state);
    if (state !== "stuck") this.stuck = undefined;
    if (state === "absent" || state === "loading") [this.#freeAfterLoad, this.#listedAs] = [undefined, undefined];
    this.#state = state;
    this.#world.touched();
  }

  #illegal(what: string): Error {
    return new Error(`${this.key}: ${what} while it is ${this.#state} with ${this.leases} leases`);
  }
}
