import type { MemoryEstimate } from "../types.ts";
import { sizeRuleBytes } from "./estimate.ts";
import type { GpuState, LoadTarget, MemoryState, ResidentEntry } from "./state.ts";

/**
 * Where a load is to go.
 *
 * | goal   | means                                                                                  |
 * |--------|----------------------------------------------------------------------------------------|
 * | memory | there is one memory, or the engine uses no other                                       |
 * | cards  | wholly on graphics cards: what Ollama unloads others for by itself (`server/sched.go`) |
 * | split  | what the cards don't hold goes to RAM                                                   |
 */
export type Goal = "memory" | "cards" | "split";

/** What a load needs under one limit, and what that limit leaves; `freeBytes` may be negative. */
export interface Limit {
  readonly kind: "memory" | "cards" | "both" | "cap";
  readonly freeBytes: number;
  readonly neededBytes: number;
  /** Smallest `freeBytes` that passes: one byte more than `neededBytes` where the rule says "more than". */
  readonly passesFrom: number;
  /** What unloading adds to `freeBytes`. */
  readonly releasedBy: (entry: ResidentEntry) => number;
}

/** A process that computes on a card needs this of it beside the model (300 to 500 MiB were seen). */
const contextOfCardBytes = 512 * 1024 ** 2;

export function hasCards(state: MemoryState): boolean {
  return !state.isOverridden && (state.gpus?.length ?? 0) > 0;
}

/** In the order in which they are tried; the first that can be reached is taken. */
export function goalsOf(target: LoadTarget, state: MemoryState): readonly Goal[] {
  const share = target.estimate.vramShare ?? 1;
  if (!hasCards(state) || state.mayUseGpus !== true || share <= 0) return ["memory"];
  return share < 1 ? ["split"] : ["cards", "split"];
}

/** All of them must pass. */
export function limitsOf(target: LoadTarget, state: MemoryState, goal: Goal): readonly Limit[] {
  const { estimate, fileBytes } = target;
  const isSizeRule = estimate.method === "size_rule";
  const own = loadBytes(estimate);
  const needed = neededBytes(estimate, fileBytes, state);
  const passesFrom = isSizeRule ? Math.max(own, fileBytes + state.bufferBytes + 1) : needed;
  const exactly = (bytes: number) => ({ neededBytes: bytes, passesFrom: bytes });
  const inRam = {
    kind: "memory",
    freeBytes: freeRam(state),
    releasedBy: (e: ResidentEntry) => releasedRam(e, state),
  } as const;
  const cap = capFree(state);
  const caps: readonly Limit[] =
    cap === undefined ? [] : [{ kind: "cap", freeBytes: cap, ...exactly(own), releasedBy: releasedBytes }];
  if (goal === "memory") return [{ ...inRam, neededBytes: needed, passesFrom }, ...caps];
  if (goal === "cards") {
    const onCards = { kind: "cards", freeBytes: freeVram(state), releasedBy: vramOf } as const;
    return [
      { ...onCards, ...exactly(own) },
      { ...inRam, ...exactly(estimate.processBytes + state.bufferBytes) },
      ...caps,
    ];
  }
  // Together they hold it; what never went onto a card, and the buffer, must find room in RAM.
  const share = estimate.vramShare ?? 1;
  return [
    {
      kind: "both",
      freeBytes: freeRam(state) + freeVram(state),
      neededBytes: needed,
      passesFrom,
      releasedBy: releasedBytes,
    },
    { ...inRam, ...exactly(Math.ceil(own * (1 - share)) + state.bufferBytes) },
    ...caps,
  ];
}

/** The limit with the least to spare. */
export function tightest(limits: readonly Limit[], going: readonly ResidentEntry[] = []): Limit {
  return limits.map((limit) => relieved(limit, going)).reduce((a, b) => (spare(b) < spare(a) ? b : a));
}

/** The limit once `going` are unloaded. */
export function relieved(limit: Limit, going: readonly ResidentEntry[]): Limit {
  return { ...limit, freeBytes: limit.freeBytes + sum(going.map(limit.releasedBy)) };
}

export function shortfall(limit: Limit): number {
  return Math.max(0, -spare(limit));
}

function spare({ freeBytes, passesFrom }: Limit): number {
  return freeBytes - passesFrom;
}

/**
 * What must be free before the load. With metadata: predicted + the engine process + margin + buffer. Without
 * (`size_rule`): the greater of `fileBytes` × 1.20 and `fileBytes` + buffer; both are checked, the second strictly.
 */
export function neededBytes(estimate: MemoryEstimate, fileBytes: number, state: MemoryState): number {
  if (estimate.method === "size_rule") return Math.max(sizeRuleBytes(fileBytes), fileBytes + state.bufferBytes);
  return ownBytes(estimate) + state.bufferBytes;
}

/** What the load itself is given, buffer apart: with its margin, which the size rule has in it. */
export function loadBytes(estimate: MemoryEstimate): number {
  return estimate.method === "size_rule" ? estimate.predictedBytes : ownBytes(estimate);
}

/** Weights, cache, state, compute, the process around them, and the error the estimate admits. */
function ownBytes(estimate: MemoryEstimate): number {
  return Math.ceil(estimate.predictedBytes * (1 + estimate.margin)) + estimate.processBytes;
}

/** RAM: available − file-mapped bytes of residents − loads in progress. Design section 5. May be negative. */
export function freeRam(state: MemoryState): number {
  return state.availableBytes - mappedBytes(state) - state.reservedBytes;
}

/** What is counted as available and is not: files that residents have mapped. 0 where nothing is measured. */
export function mappedBytes(state: MemoryState): number {
  return state.isOverridden ? 0 : sum(state.resident.map((entry) => entry.mappedBytes));
}

/** What `memory.maxBytes` leaves; may be negative. */
export function capFree(state: MemoryState): number | undefined {
  if (state.maxBytes === undefined) return undefined;
  const reserved = state.reservedBytes + sum((state.gpus ?? []).map((gpu) => gpu.reservedBytes));
  return state.maxBytes - sum(state.resident.map((entry) => entry.sizeBytes)) - reserved;
}

/** What an optional use of memory may take at most of what is free beyond the buffer. */
const mostOfPlenty = 1 / 4;

/**
 * Whether RAM is plentiful for `bytes` that an answer can do without: they take at most a quarter of what is free beyond
 * the buffer, and of what `memory.maxBytes` leaves.
 */
export function isPlentyFor(bytes: number, state: MemoryState): boolean {
  const free = Math.min(freeRam(state) - state.bufferBytes, capFree(state) ?? Number.POSITIVE_INFINITY);
  return bytes <= free * mostOfPlenty;
}

/** Over all cards; a process's own part of a card is left out. */
export function freeVram(state: MemoryState): number {
  return hasCards(state) ? sum((state.gpus ?? []).map((gpu) => freeOnCard(gpu, state))) : 0;
}

/** A card of which the driver doesn't say what is free is taken to hold everything that lies on cards. */
export function freeOnCard(gpu: GpuState, state: MemoryState): number {
  const free = gpu.freeBytes ?? gpu.totalBytes - sum(state.resident.map(vramOf));
  return Math.max(0, free - gpu.reservedBytes - contextOfCardBytes);
}

/**
 * Unloading adds the anonymous bytes to what is available, and ends the subtraction of the mapped ones: together the
 * full size, measured or overridden.
 */
export function releasedBytes(entry: ResidentEntry): number {
  return Math.max(entry.sizeBytes, entry.mappedBytes);
}

/** Where there is one memory everything lies in it, whatever an engine calls it. */
function releasedRam(entry: ResidentEntry, state: MemoryState): number {
  return hasCards(state) ? Math.max(entry.sizeBytes - vramOf(entry), entry.mappedBytes) : releasedBytes(entry);
}

export function vramOf(entry: ResidentEntry): number {
  return Math.min(entry.vramBytes ?? 0, entry.sizeBytes);
}

export function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
