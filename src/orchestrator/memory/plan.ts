import { chooseEviction } from "../scheduler/eviction.ts";
import type { LoadPlan, MemoryEstimate } from "../types.ts";
import { sizeRuleBytes } from "./estimate.ts";
import { formatBytes } from "../text/format-bytes.ts";

/** A model that occupies the memory domain now. */
export interface ResidentEntry {
  readonly name: string;
  readonly engine: string;
  /** Everything it occupies, file-mapped bytes included. */
  readonly sizeBytes: number;
  /** File-mapped part of `sizeBytes`: MemAvailable counts it as free, and it is not. 0 when nothing is mapped. */
  readonly mappedBytes: number;
  /** Serving or loading: stays. */
  readonly isBusy: boolean;
  /** Kept on purpose: stays. */
  readonly isPinned: boolean;
  /** What evicting it is expected to cost (`expectedLossSeconds` of the policy), or its load time. */
  readonly reloadSeconds?: number;
  readonly lastUsedMs: number;
  /** Another program loaded or touched it: evicted last. */
  readonly isForeign: boolean;
  /** Somebody waits for it: evicted after those that nobody waits for. */
  readonly isAwaited?: boolean;
}

/** One memory domain at the moment of planning. */
export interface MemoryState {
  /** Measured (MemAvailable, the cgroup's room), or `memory.availableBytes`. */
  readonly availableBytes: number;
  /** `availableBytes` is the setting: nothing is subtracted for mapped files, a loaded model gives back its full size. */
  readonly isOverridden: boolean;
  readonly totalBytes: number;
  readonly bufferBytes: number;
  /** `memory.maxBytes`: most that models may use in all. */
  readonly maxBytes?: number;
  readonly smallModelBytes: number;
  /** Loads in progress, without the one that is being planned. */
  readonly reservedBytes: number;
  readonly resident: readonly ResidentEntry[];
}

export interface LoadTarget {
  readonly model: string;
  readonly engine: string;
  readonly contextTokens: number;
  readonly estimate: MemoryEstimate;
  /** Bytes on disk, for the rule of models without metadata. */
  readonly fileBytes: number;
  /** Resident with enough context: nothing to do. */
  readonly isLoaded: boolean;
}

/** What a load needs under one limit, and what that limit leaves; `freeBytes` may be negative. */
interface Room {
  readonly freeBytes: number;
  readonly neededBytes: number;
  /** Smallest `freeBytes` that passes: one byte more than `neededBytes` where the rule says "more than". */
  readonly passesFrom: number;
  readonly isCap: boolean;
}

/**
 * What a load may take with everything staying: available − file-mapped bytes of residents − loads in progress, and no
 * more than `memory.maxBytes` leaves. Design section 5. Never negative.
 */
export function freeBytes(state: MemoryState): number {
  return Math.max(0, Math.min(measuredFree(state), capFree(state) ?? Number.POSITIVE_INFINITY));
}

/**
 * What must be free before the load. With metadata: predicted + the engine process + margin + buffer. Without
 * (`size_rule`): the greater of `fileBytes` × 1.20 and `fileBytes` + buffer; both are checked, the second strictly.
 */
export function neededBytes(estimate: MemoryEstimate, fileBytes: number, state: MemoryState): number {
  if (estimate.method === "size_rule") return Math.max(sizeRuleBytes(fileBytes), fileBytes + state.bufferBytes);
  return ownBytes(estimate) + state.bufferBytes;
}

/**
 * Whether `target` fits, what must go for it, and the arithmetic in words. No effects.
 *
 * 1. Loaded already → nothing to do.
 * 2. Its own residency with too little context goes first: it is replaced. The runner waits for its requests to end.
 * 3. Fits beside everything → load.
 * 4. The cheapest set of idle, unpinned models goes (`chooseEviction`) → load.
 * 5. Otherwise it does not fit; nothing is evicted, and the steps say how far everything evictable would have got.
 *
 * `neededBytes` and `freeBytes` of the answer belong to the limit with the least room: the memory, or
 * `memory.maxBytes`, which the buffer does not count against. So `fits` without eviction means free ≥ needed.
 */
export function planLoad(target: LoadTarget, state: MemoryState): LoadPlan {
  const { model, engine, contextTokens, estimate } = target;
  const base = { model, engine, contextTokens, isLoaded: target.isLoaded, estimate };
  if (target.isLoaded) {
    return {
      ...base,
      fits: true,
      neededBytes: 0,
      freeBytes: freeBytes(state),
      evict: [],
      steps: [`${model} is loaded with room for ${contextTokens} tokens: nothing to do`],
    };
  }

  const isTarget = (entry: ResidentEntry) => entry.name === model && entry.engine === engine;
  const replaced = state.resident.filter(isTarget);
  const others = state.resident.filter((entry) => !isTarget(entry));
  const before = tightest(target, state, 0);
  const replacedBytes = sum(replaced.map(releasedBytes));
  const missing = shortfall(target, state, replacedBytes);

  const keyOf = (entry: ResidentEntry) => JSON.stringify([entry.engine, entry.name]);
  const evictable = others.filter((entry) => !entry.isBusy && !entry.isPinned);
  const keys = chooseEviction({
    bytesToFree: missing,
    smallModelBytes: state.smallModelBytes,
    candidates: evictable.map((entry) => ({
      key: keyOf(entry),
      releasedBytes: releasedBytes(entry),
      ...(entry.reloadSeconds === undefined ? {} : { reloadSeconds: entry.reloadSeconds }),
      sizeBytes: entry.sizeBytes,
      lastUsedMs: entry.lastUsedMs,
      isForeign: entry.isForeign,
      isAwaited: entry.isAwaited ?? false,
    })),
  });

  const numbers = { neededBytes: before.neededBytes, freeBytes: Math.max(0, before.freeBytes) };
  const opening = [situation(before, state, others), requirement(target, state, before)];
  if (keys === undefined) {
    const most = tightest(target, state, replacedBytes + sum(evictable.map(releasedBytes)));
    const stays = others.filter((entry) => !evictable.includes(entry));
    return {
      ...base,
      ...numbers,
      fits: false,
      evict: [],
      steps: [...opening, `does not fit: ${atMost(most, evictable.length + replaced.length)}${whatStays(stays)}`],
    };
  }

  const byKey = new Map(evictable.map((entry) => [keyOf(entry), entry]));
  const evicted = keys.flatMap((key) => byKey.get(key) ?? []);
  const going = [...replaced, ...evicted];
  const after = tightest(target, state, sum(going.map(releasedBytes)));
  return {
    ...base,
    ...numbers,
    fits: true,
    evict: going.map((entry) => ({ name: entry.name, engine: entry.engine, bytes: releasedBytes(entry) })),
    steps: [
      ...opening,
      ...replaced.map(
        (entry) => `unload ${entry.name} (${formatBytes(releasedBytes(entry))}) to load it with more context`,
      ),
      ...evicted.map((entry) => `unload ${entry.name} (${formatBytes(releasedBytes(entry))})`),
      ...(going.length > 0 ? [`${formatBytes(after.freeBytes)} ${after.isCap ? "left" : "free"}`] : []),
      `load ${model}`,
    ],
  };
}

/** Weights, cache, state, compute, the process around them, and the error the estimate admits. */
function ownBytes(estimate: MemoryEstimate): number {
  return Math.ceil(estimate.predictedBytes * (1 + estimate.margin)) + estimate.processBytes;
}

function measuredFree(state: MemoryState): number {
  const mapped = state.isOverridden ? 0 : sum(state.resident.map((entry) => entry.mappedBytes));
  return state.availableBytes - mapped - state.reservedBytes;
}

function capFree(state: MemoryState): number | undefined {
  if (state.maxBytes === undefined) return undefined;
  return state.maxBytes - sum(state.resident.map((entry) => entry.sizeBytes)) - state.reservedBytes;
}

/**
 * Unloading adds the anonymous bytes to what is available, and ends the subtraction of the mapped ones: together the
 * full size, measured or overridden.
 */
function releasedBytes(entry: ResidentEntry): number {
  return Math.max(entry.sizeBytes, entry.mappedBytes);
}

function rooms(target: LoadTarget, state: MemoryState, released: number): readonly Room[] {
  const { estimate, fileBytes } = target;
  const isSizeRule = estimate.method === "size_rule";
  const needed = neededBytes(estimate, fileBytes, state);
  const memory: Room = {
    freeBytes: measuredFree(state) + released,
    neededBytes: needed,
    passesFrom: isSizeRule ? Math.max(sizeRuleBytes(fileBytes), fileBytes + state.bufferBytes + 1) : needed,
    isCap: false,
  };
  const cap = capFree(state);
  if (cap === undefined) return [memory];
  const own = isSizeRule ? sizeRuleBytes(fileBytes) : ownBytes(estimate);
  return [memory, { freeBytes: cap + released, neededBytes: own, passesFrom: own, isCap: true }];
}

function tightest(target: LoadTarget, state: MemoryState, released: number): Room {
  return rooms(target, state, released).reduce((a, b) =>
    b.freeBytes - b.passesFrom < a.freeBytes - a.passesFrom ? b : a,
  );
}

function shortfall(target: LoadTarget, state: MemoryState, released: number): number {
  const room = tightest(target, state, released);
  return Math.max(0, room.passesFrom - room.freeBytes);
}

function situation(room: Room, state: MemoryState, others: readonly ResidentEntry[]): string {
  const free = room.isCap
    ? `${formatBytes(room.freeBytes)} left of memory.maxBytes ${formatBytes(state.maxBytes ?? 0)}`
    : `${formatBytes(room.freeBytes)} free`;
  const loading =
    state.reservedBytes > 0 ? `, ${formatBytes(state.reservedBytes)} set aside for loads in progress` : "";
  const loaded = others.map((entry) => `${entry.name} ${formatBytes(entry.sizeBytes)}`);
  return `${free}${loading}${loaded.length > 0 ? `, loaded ${loaded.join(", ")}` : ""}`;
}

function requirement(target: LoadTarget, state: MemoryState, room: Room): string {
  const { estimate, fileBytes } = target;
  const needed = `needed ${formatBytes(room.neededBytes)}`;
  if (estimate.method === "size_rule") {
    const byFactor = `size ${formatBytes(fileBytes)} x 1.20 = ${formatBytes(sizeRuleBytes(fileBytes))}`;
    if (room.isCap) return `${needed}: ${byFactor}`;
    const withBuffer = `more than size + buffer ${formatBytes(state.bufferBytes)} = ${formatBytes(fileBytes + state.bufferBytes)}`;
    return `${needed}: ${byFactor}, and ${withBuffer}`;
  }
  const margin = estimate.predictedBytes * estimate.margin;
  const parts = [
    `predicted ${formatBytes(estimate.predictedBytes)} (${estimate.method})`,
    ...(margin > 0 ? [`margin ${formatBytes(margin)}`] : []),
    ...(estimate.processBytes > 0 ? [`process ${formatBytes(estimate.processBytes)}`] : []),
    ...(room.isCap ? [] : [`buffer ${formatBytes(state.bufferBytes)}`]),
  ];
  return `${needed}: ${parts.join(" + ")}`;
}

function atMost(room: Room, evictableCount: number): string {
  const limit = room.isCap ? "memory.maxBytes leaves" : "free is";
  if (evictableCount === 0) return `${limit} ${formatBytes(room.freeBytes)}, and nothing idle can be unloaded`;
  return `with everything idle unloaded ${limit} ${formatBytes(room.freeBytes)}, needed ${formatBytes(room.neededBytes)}`;
}

function whatStays(stays: readonly ResidentEntry[]): string {
  if (stays.length === 0) return "";
  const words = stays.map((entry) => `${entry.name} is ${entry.isBusy ? "busy" : "pinned"}`);
  return `; ${words.join(", ")}`;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
