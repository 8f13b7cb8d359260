import type { LoadPlacement, MemoryEstimate } from "../api/facade-status.ts";
import { sizeRuleBytes } from "./predict.ts";
import { type GpuState, type LoadTarget, type MemoryState, type SlotView, isEvictable, isOfTarget } from "./state.ts";

/**
 * Where a load is to be placed.
 *
 * | place  | means                                                    |
 * |--------|----------------------------------------------------------|
 * | memory | in the only memory, or the only one that the engine uses |
 * | cards  | entirely on graphics cards                               |
 * | split  | on the cards as far as it fits, the rest in RAM          |
 */
export interface Goal {
  readonly place: "memory" | "cards" | "split";
  /**
   * All other models of the engine are unloaded. Ollama itself unloads them, pinned or not, unless it predicts that the
   * load takes at most 80 % of the free memory of the cards (`server/sched.go`).
   */
  readonly unloadsOthers: boolean;
  /** The models that must be unloaded for it, beside those that the load replaces. */
  readonly unloaded: readonly SlotView[];
}

export const inMemory: Goal = { place: "memory", unloadsOthers: false, unloaded: [] };

/** What a load needs under one limit, and what is free under it; `freeBytes` may be negative. */
export interface Limit {
  readonly kind: "memory" | "cards" | "both" | "scheduler" | "cap";
  readonly freeBytes: number;
  readonly neededBytes: number;
  /** Smallest `freeBytes` that passes: one byte more than `neededBytes` where the rule says "more than". */
  readonly passesFrom: number;
  /** Bytes that unloading the model adds to `freeBytes`. */
  readonly releasedBy: (entry: SlotView) => number;
}

/**
 * Memory of a card that is not for the model: what a process needs itself (598 MiB were observed on an H100, 300 to 500
 * on smaller cards), and what llama-server leaves free (`--fit-target`): with less it moves layers into RAM.
 */
export const setAsideOnCardBytes = (640 + 1_024) * 1024 ** 2;

function hasCards(state: MemoryState): boolean {
  return !state.isOverridden && (state.gpus?.length ?? 0) > 0;
}

/**
 * The goals in the order in which they are tried; the first that can be reached is taken. Where a model of `others` that
 * can't be unloaded is in the way, a goal is left out, as where another load onto the cards is in progress: Ollama would
 * unload that model, too, once it is loaded.
 */
export function goalsOf(target: LoadTarget, state: MemoryState, others: readonly SlotView[]): readonly Goal[] {
  return wishesOf(target, state)
    .map((wish) => ({ ...wish, unloaded: unloadedFor(wish, target, others) }))
    .filter(
      ({ unloaded, unloadsOthers }) => unloaded.every(isEvictable) && !(unloadsOthers && isLoadingOnCards(state)),
    );
}

type Wish = Omit<Goal, "unloaded">;

function wishesOf(target: LoadTarget, state: MemoryState): readonly Wish[] {
  const share = target.estimate.vramShare ?? 1;
  if (!hasCards(state) || state.mayUseGpus !== true || share <= 0) return [inMemory];
  // Without a scheduler that would unload others, only what is in the way is unloaded.
  if (target.estimate.byLayers !== undefined)
    return [
      { place: "cards", unloadsOthers: false },
      { place: "split", unloadsOthers: false },
    ];
  const split = { place: "split", unloadsOthers: true } as const;
  if (share < 1) return [{ ...split, unloadsOthers: false }, split];
  return [{ place: "cards", unloadsOthers: false }, { place: "cards", unloadsOthers: true }, split];
}

/** All of the engine, or those beside which Ollama would find too little free memory whatever else is unloaded. */
function unloadedFor(goal: Wish, target: LoadTarget, others: readonly SlotView[]): readonly SlotView[] {
  if (goal.place === "memory" || target.estimate.byLayers !== undefined) return [];
  const ofEngine = others.filter(({ engine }) => engine === target.engine);
  if (goal.unloadsOthers) return ofEngine;
  return ofEngine.filter((entry) => isEvictable(entry) && hidesRoom(entry, freeForScheduler(target)));
}

/** Whether another load onto the cards is in progress. */
function isLoadingOnCards({ gpus = [] }: MemoryState): boolean {
  return gpus.some(({ reservedBytes }) => reservedBytes > 0);
}

function hidesRoom({ freeAfterLoadBytes = Number.POSITIVE_INFINITY }: SlotView, wantedBytes: number): boolean {
  return freeAfterLoadBytes < wantedBytes;
}

/** The limits that a load with this goal must pass, all of them. */
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
    // Everything if there are no cards, whatever the engine reports.
    releasedBy: (entry: SlotView) =>
      hasCards(state) ? Math.max(entry.sizeBytes - vramOf(entry), entry.mappedBytes) : releasedBytes(entry),
  } as const;
  const cap = capFree(state);
  const caps: readonly Limit[] =
    cap === undefined ? [] : [{ kind: "cap", freeBytes: cap, ...exactly(own), releasedBy: releasedBytes }];
  if (goal.place === "memory") return [{ ...inRam, neededBytes: needed, passesFrom }, ...caps];
  const scheduler = goal.unloadsOthers || estimate.byLayers !== undefined ? [] : schedulerLimit(target, state);
  const allOnCards = estimate.byLayers === undefined ? own : (cardBytes(estimate).at(-1) ?? 0);
  if (goal.place === "cards") {
    const onCards = { kind: "cards", freeBytes: freeVram(state), releasedBy: vramOf } as const;
    const besides = estimate.byLayers === undefined ? estimate.processBytes : own - allOnCards;
    return [
      { ...onCards, ...exactly(allOnCards) },
      ...scheduler,
      { ...inRam, ...exactly(besides + state.bufferBytes) },
      ...caps,
    ];
  }
  // RAM and cards together hold the model; the part that is never on a card, and the buffer, must fit in RAM.
  const share = estimate.byLayers === undefined ? (estimate.vramShare ?? 1) : allOnCards / own;
  const onCards = estimate.byLayers === undefined ? freeVram(state) : layersWithin(estimate, freeVram(state)).bytes;
  return [
    {
      kind: "both",
      freeBytes: freeRam(state) + onCards,
      neededBytes: needed,
      passesFrom,
      releasedBy: releasedBytes,
    },
    { ...inRam, ...exactly(Math.ceil(own * (1 - share)) + state.bufferBytes) },
    ...scheduler,
    ...caps,
  ];
}

/** The condition under which Ollama leaves its other models loaded; none if there are none. */
function schedulerLimit(target: LoadTarget, state: MemoryState): readonly Limit[] {
  const others = state.resident.filter((entry) => entry.engine === target.engine && !isOfTarget(entry, target));
  if (others.length === 0 && !isLoadingOnCards(state)) return [];
  const wantedBytes = freeForScheduler(target);
  const limit = { kind: "scheduler", neededBytes: wantedBytes, passesFrom: wantedBytes } as const;
  const hiding = others.filter((entry) => !isEvictable(entry) && hidesRoom(entry, wantedBytes));
  if (hiding.length > 0) {
    const freeBytes = Math.min(...hiding.map(({ freeAfterLoadBytes = 0 }) => freeAfterLoadBytes));
    return [{ ...limit, freeBytes, releasedBy: () => 0 }];
  }
  const freeBytes = sumOf(state.gpus, (gpu) => freeOnCard(gpu, state, 0));
  return [{ ...limit, freeBytes, releasedBy: vramOf }];
}

/** Ollama loads a model beside others only if its prediction is at most this share of the free memory of the cards. */
export const schedulerFillsCardsTo = 0.8;

/** Free memory of the cards from which Ollama loads it beside other models. */
const freeForScheduler = (target: LoadTarget): number => Math.ceil(schedulerBytes(target) / schedulerFillsCardsTo);

/** What Ollama's scheduler predicts for the load. */
export function schedulerBytes({ schedulerBytes: stated, fileBytes, estimate }: LoadTarget): number {
  return stated ?? fileBytes + (estimate.parts?.cacheBytes ?? 0);
}

/**
 * What must be free before the load. With metadata: predicted + the engine process + margin + buffer. Without
 * (`size_rule`): the greater of `fileBytes` × 1.20 and `fileBytes` + buffer; both are checked, the second strictly.
 */
export function neededBytes(
  estimate: MemoryEstimate,
  fileBytes: number,
  state: Pick<MemoryState, "bufferBytes">,
): number {
  if (estimate.method === "size_rule") return Math.max(sizeRuleBytes(fileBytes), fileBytes + state.bufferBytes);
  return ownBytes(estimate) + state.bufferBytes;
}

/** What the load itself is granted, without the buffer; includes the margin, which the size rule contains already. */
export function loadBytes(estimate: MemoryEstimate): number {
  return estimate.method === "size_rule" ? estimate.predictedBytes : ownBytes(estimate);
}

/** Weights, cache, state, compute buffer, process, and the margin of the estimate. */
function ownBytes(estimate: MemoryEstimate): number {
  return Math.ceil(estimate.predictedBytes * (1 + estimate.margin)) + estimate.processBytes;
}

/** What so many layers on cards take of them, with the margin of the estimate: from none to all. */
function cardBytes({ byLayers = [], margin }: MemoryEstimate): readonly number[] {
  return byLayers.map(({ vramBytes }) => Math.ceil(vramBytes * (1 + margin)));
}

/** The most layers that fit into so much memory of the cards. */
function layersWithin(estimate: MemoryEstimate, freeBytes: number) {
  const each = cardBytes(estimate);
  const layers = Math.max(
    0,
    each.findLastIndex((bytes) => bytes <= freeBytes),
  );
  return { layers, bytes: each[layers] ?? 0 };
}

/** Free RAM: available − file-mapped bytes of loaded models − loads in progress. May be negative. */
export function freeRam(state: MemoryState): number {
  return state.availableBytes - mappedBytes(state) - state.reservedBytes;
}

/** Bytes that count as available but aren't: files mapped by loaded models. 0 if nothing is measured. */
export function mappedBytes(state: MemoryState): number {
  return state.isOverridden ? 0 : sumOf(state.resident, (entry) => entry.mappedBytes);
}

/** What `memory.maxBytes` leaves; undefined if it isn't set. May be negative. */
export function capFree(state: MemoryState): number | undefined {
  if (state.maxBytes === undefined) return undefined;
  const reserved = state.reservedBytes + sumOf(state.gpus, (gpu) => gpu.reservedBytes);
  return state.maxBytes - sumOf(state.resident, (entry) => entry.sizeBytes) - reserved;
}

/** Share of the memory beyond the buffer that an optional use may take. */
const maxOptionalShare = 1 / 4;

/**
 * Whether there is plenty of RAM for an optional use of `bytes`: at most a quarter of what is free beyond the buffer,
 * and of what `memory.maxBytes` leaves.
 */
export function isPlentyFor(bytes: number, state: MemoryState): boolean {
  return isFreeFor(bytes / maxOptionalShare, state);
}

/** Whether that much RAM is free beyond the buffer, and within `memory.maxBytes`. */
export function isFreeFor(bytes: number, state: MemoryState): boolean {
  return bytes <= Math.min(freeRam(state) - state.bufferBytes, capFree(state) ?? Number.POSITIVE_INFINITY);
}

/** Free memory of all cards, without the part of each that is not for a model. */
export function freeVram(state: MemoryState): number {
  return hasCards(state) ? sumOf(state.gpus, (gpu) => freeOnCard(gpu, state)) : 0;
}

/** Free memory of a card. If the driver doesn't report it, the card is assumed to hold everything that is on cards. */
function freeOnCard(gpu: GpuState, state: MemoryState, setAsideBytes = setAsideOnCardBytes): number {
  const free = gpu.freeBytes ?? gpu.totalBytes - sumOf(state.resident, vramOf);
  return Math.max(0, free - gpu.reservedBytes - setAsideBytes);
}

/**
 * Bytes that unloading frees: the anonymous bytes become available, and the mapped ones are no longer subtracted;
 * together the full size, measured or overridden.
 */
export function releasedBytes(entry: SlotView): number {
  return Math.max(entry.sizeBytes, entry.mappedBytes);
}

function vramOf(entry: SlotView): number {
  return Math.min(entry.vramBytes ?? 0, entry.sizeBytes);
}

function sumOf<Item>(items: readonly Item[] = [], of: (item: Item) => number): number {
  let sum = 0;
  for (const item of items) sum += of(item);
  return sum;
}

/**
 * Which part of a load is placed on graphics cards once `unloaded` are unloaded, and on which: on the fullest card that
 * holds all of it, else on the emptiest first, as Ollama does. Engines don't report which card holds a model, so
 * unloading is assumed to free the cards that hold most. Undefined without cards.
 */
export function placementOf(
  target: LoadTarget,
  state: MemoryState,
  goal: Goal,
  unloaded: readonly SlotView[],
): LoadPlacement | undefined {
  if (goal.place === "memory") return undefined;
  const own = loadBytes(target.estimate);
  if (target.estimate.byLayers !== undefined) {
    const { layers, bytes } = layersWithin(target.estimate, freeVram(state) + sumOf(unloaded, vramOf));
    return { ramBytes: own - bytes, vramBytes: bytes, cards: spread(bytes, cardsAfter(state, unloaded)), layers };
  }
  const share = target.estimate.vramShare ?? 1;
  const wanted = goal.place === "cards" ? own : Math.floor(own * share);
  const vramBytes = Math.max(0, Math.min(wanted, freeVram(state) + sumOf(unloaded, vramOf)));
  return { ramBytes: own - vramBytes, vramBytes, cards: spread(vramBytes, cardsAfter(state, unloaded)) };
}

interface Card {
  readonly name: string;
  readonly freeBytes: number;
}

function cardsAfter(state: MemoryState, unloaded: readonly SlotView[]): readonly Card[] {
  let released = sumOf(unloaded, vramOf);
  const gpus = (state.gpus ?? []).map((gpu) => ({ gpu, freeBytes: freeOnCard(gpu, state) }));
  return gpus
    .toSorted((a, b) => b.gpu.totalBytes - b.freeBytes - (a.gpu.totalBytes - a.freeBytes))
    .map(({ gpu, freeBytes }) => {
      const back = Math.min(released, Math.max(0, gpu.totalBytes - freeBytes));
      released -= back;
      return { name: gpu.name, freeBytes: freeBytes + back };
    });
}

function spread(bytes: number, cards: readonly Card[]): readonly { readonly name: string; readonly bytes: number }[] {
  const byRoom = cards.toSorted((a, b) => a.freeBytes - b.freeBytes);
  const single = byRoom.find(({ freeBytes }) => freeBytes >= bytes);
  let rest = bytes;
  return (single === undefined ? byRoom.toReversed() : [single])
    .map(({ name, freeBytes }) => {
      const part = Math.min(rest, freeBytes);
      rest -= part;
      return { name, bytes: part };
    })
    .filter((card) => card.bytes > 0);
}
