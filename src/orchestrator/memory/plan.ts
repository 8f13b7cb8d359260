import {
  allIdle,
  withoutReservations,
  type LoadTarget,
  type MemoryState,
  type SlotView,
  isEvictable,
  isOfTarget,
} from "./state.ts";
import {
  schedulerFillsCardsTo,
  type Limit,
  freeRam,
  freeVram,
  mappedBytes,
  neededBytes,
  schedulerBytes,
  type Goal,
  capFree,
  goalsOf,
  inMemory,
  limitsOf,
  placementOf,
  releasedBytes,
} from "./limits.ts";
import { counted, formatBytes } from "../util/format-bytes.ts";
import { sizeRuleBytes } from "./predict.ts";
import type { LoadPlan } from "../api/facade-status.ts";
import { chooseEviction } from "./eviction.ts";
import { defined } from "../util/values.ts";

/**
 * What a load may take without evictions: available RAM − file-mapped bytes of loaded models − loads in progress, plus
 * the free memory of graphics cards, at most what `memory.maxBytes` leaves. Never negative.
 */
export function freeBytes(state: MemoryState): number {
  return Math.max(0, Math.min(freeRam(state) + freeVram(state), capFree(state) ?? Number.POSITIVE_INFINITY));
}

/**
 * The models that a load replaces, the others, and the first goal that can be reached, with its limits; if none can be, the
 * last one, beside what is in the way.
 */
function reachable(target: LoadTarget, state: MemoryState) {
  const replaced: SlotView[] = [];
  const others: SlotView[] = [];
  for (const entry of state.resident) (isOfTarget(entry, target) ? replaced : others).push(entry);
  const evictable = others.filter(isEvictable);
  let found: { readonly goal: Goal; readonly limits: readonly Limit[] } | undefined;
  for (const goal of goalsOf(target, state, others)) {
    found = { goal, limits: limitsOf(target, state, goal) };
    const isReached = spare(tightest(found.limits, [...replaced, ...evictable])) >= 0;
    if (isReached) return { ...found, isReached, replaced, others, evictable };
  }
  found ??= { goal: inMemory, limits: limitsOf(target, state, inMemory) };
  return { ...found, isReached: false, replaced, others, evictable };
}

/** The limit with the least to spare once `unloaded` are unloaded. */
function tightest(limits: readonly Limit[], unloaded: readonly SlotView[] = []): Limit {
  return limits.map((limit) => relieved(limit, unloaded)).reduce((a, b) => (spare(b) < spare(a) ? b : a));
}

/** The limit once `unloaded` are unloaded. */
function relieved(limit: Limit, unloaded: readonly SlotView[]): Limit {
  let free = limit.freeBytes;
  for (const entry of unloaded) free += limit.releasedBy(entry);
  return { ...limit, freeBytes: free };
}

/** Negative: so much is missing. */
function spare(limit: Limit): number {
  return limit.freeBytes - limit.passesFrom;
}

/** What `planLoad` would find, without the choice of what to evict. Pure. */
export function fitOf(target: LoadTarget, state: MemoryState): "now" | "after_eviction" | "no" {
  if (target.isLoaded) return "now";
  const { goal, limits, isReached, replaced } = reachable(target, state);
  if (!isReached) return "no";
  const isFree = replaced.length === 0 && goal.unloaded.length === 0;
  return isFree && spare(tightest(limits)) >= 0 ? "now" : "after_eviction";
}

/**
 * Whether `target` fits, what must be evicted for it, and the calculation as text. Pure.
 *
 * 1. If it is loaded, there is nothing to do.
 * 2. If it is loaded with too little context, that instance is replaced. The loader waits for its requests to end.
 * 3. If it fits beside everything else, it is loaded.
 * 4. Else the cheapest set of idle, unpinned models is evicted (`chooseEviction`), and it is loaded.
 * 5. Else it does not fit: nothing is evicted, and the steps contain what would be free at most.
 *
 * With graphics cards, steps 3 and 4 are first tried for the whole model on cards beside the engine's other models, then
 * without them, then for a split between cards and RAM (`Goal`).
 *
 * `neededBytes` and `freeBytes` of the result belong to the tightest limit: the memory, the cards, or
 * `memory.maxBytes`, which the buffer does not count against. So `fits` without eviction means free ≥ needed.
 */
export function planLoad(target: LoadTarget, state: MemoryState): LoadPlan {
  const { model, engine, contextTokens, estimate } = target;
  const { warnings = [] } = state;
  const shown = warnings.length === 0 || target.isLoaded ? {} : { warnings };
  const base = { model, engine, contextTokens, isLoaded: target.isLoaded, estimate, ...shown };
  if (target.isLoaded) {
    const as = target.loadedAs === undefined ? "" : ` as ${target.loadedAs} (same weights)`;
    const steps = [`${model} is already loaded${as} with ${contextTokens} tokens of context`];
    return { ...base, fits: true, neededBytes: 0, freeBytes: freeBytes(state), evict: [], steps };
  }

  const { goal, limits, isReached, replaced, others, evictable } = reachable(target, state);
  const before = tightest(limits);
  const numbers = { neededBytes: before.neededBytes, freeBytes: Math.max(0, before.freeBytes) };
  const opening = [situation(before, state, others), requirement(target, state, before)];
  if (!isReached) {
    const most = tightest(limits, [...replaced, ...evictable]);
    const remaining = others.filter((entry) => !evictable.includes(entry));
    return {
      ...base,
      ...numbers,
      fits: false,
      atMost: { freeBytes: Math.max(0, most.freeBytes), limit: most.kind === "cap" ? "memory.maxBytes" : "memory" },
      evict: [],
      steps: [...opening, `does not fit: ${atMost(most, evictable.length + replaced.length)}${whatRemains(remaining)}`],
    };
  }

  const inTheWay = [...replaced, ...goal.unloaded];
  const rest = evictable.filter((entry) => !goal.unloaded.includes(entry));
  const evicted = [...goal.unloaded, ...chooseFor(limits, inTheWay, rest, state.smallModelBytes)];
  const unloaded = [...replaced, ...evicted];
  const after = tightest(limits, unloaded);
  const placement = placementOf(target, state, goal, unloaded);
  return {
    ...base,
    ...numbers,
    fits: true,
    evict: unloaded.map(toEvict),
    ...defined({ placement }),
    steps: [
      ...opening,
      ...replaced.map(
        (entry) => `unload ${entry.name} (${formatBytes(releasedBytes(entry))}) to load ${replacing(entry, model)}`,
      ),
      ...evicted.map((entry) => `unload ${entry.name} (${formatBytes(releasedBytes(entry))})`),
      ...(unloaded.length > 0 ? [whatIsLeft(after)] : []),
      `load ${model}${placement === undefined ? "" : placementText(placement)}`,
    ],
  };
}

function replacing({ name }: SlotView, model: string): string {
  return name === model ? "it with more context" : `${model}, which has the same weights`;
}

function placementText({ ramBytes, cards, layers }: NonNullable<LoadPlan["placement"]>): string {
  const parts = [
    ...(layers === undefined ? [] : [counted(layers, "layer")]),
    ...cards.map(({ name, bytes }) => `${formatBytes(bytes)} on ${name}`),
    ...(ramBytes > 0 ? [`${formatBytes(ramBytes)} in RAM`] : []),
  ];
  return `: ${parts.join(", ")}`;
}

/**
 * Which of `evictable`, which together are enough, to unload so that every limit passes once `replaced` are unloaded: the
 * cheapest set if one memory is short (`memory.maxBytes` is another limit on the same bytes). If RAM and cards are short,
 * the cheapest set for the one that lacks most, then for the other, without superfluous models.
 */
function chooseFor(
  limits: readonly Limit[],
  replaced: readonly SlotView[],
  evictable: readonly SlotView[],
  smallModelBytes: number,
): readonly SlotView[] {
  const left = (limit: Limit, unloaded: readonly SlotView[]) => spare(relieved(limit, [...replaced, ...unloaded]));
  let chosen: readonly SlotView[] = [];
  let rounds = 0;
  for (const limit of limits.toSorted((a, b) => left(a, []) - left(b, []))) {
    const bytesToFree = -left(limit, chosen);
    if (bytesToFree <= 0) continue;
    rounds += 1;
    const rest = evictable.filter((entry) => !chosen.includes(entry));
    chosen = [...chosen, ...cheapestOf(rest, bytesToFree, limit.releasedBy, smallModelBytes)];
  }
  if (rounds < 2) return chosen;
  return chosen.reduce<readonly SlotView[]>((kept, entry) => {
    const without = kept.filter((other) => other !== entry);
    return limits.every((limit) => left(limit, without) >= 0) ? without : kept;
  }, chosen);
}

/** The cheapest set of `evictable` that frees so much, in the order in which to unload; all of them if they don't suffice. */
function cheapestOf(
  evictable: readonly SlotView[],
  bytesToFree: number,
  releasedBy: Limit["releasedBy"],
  smallModelBytes: number,
): readonly SlotView[] {
  const byKey = new Map(evictable.map((entry) => [JSON.stringify([entry.engine, entry.name]), entry]));
  const candidates = [...byKey].map(([key, entry]) => ({ ...entry, key, releasedBytes: releasedBy(entry) }));
  const keys = chooseEviction({ bytesToFree, smallModelBytes, candidates });
  return keys?.flatMap((key) => byKey.get(key) ?? []) ?? evictable;
}

/** `available 18.0 GB, loaded qwen3:8b 5.7 GB` */
function situation(limit: Limit, state: MemoryState, others: readonly SlotView[]): string {
  const loaded = others.map((entry) => `${entry.name} ${formatBytes(entry.sizeBytes)}`);
  return `${whatIsFree(limit, state)}${loaded.length > 0 ? `, loaded ${loaded.join(", ")}` : ""}`;
}

function whatIsFree(limit: Limit, state: MemoryState): string {
  if (limit.kind === "cap") {
    const left = `${formatBytes(limit.freeBytes)} left of memory.maxBytes ${formatBytes(state.maxBytes ?? 0)}`;
    return state.reservedBytes > 0 ? `${left}, ${reservedText(state)}` : left;
  }
  const ram = whatIsAvailable(state);
  if (limit.kind === "memory") return ram;
  const onCards = limit.kind === "scheduler" ? limit.freeBytes : freeVram(state);
  return `${ram} and ${formatBytes(onCards)} on ${(state.gpus ?? []).map(({ name }) => name).join(", ")}`;
}

/** The measured memory, minus what isn't available: `available 20.0 GB - 5.0 GB mapped by loaded models = 15.0 GB`. */
function whatIsAvailable(state: MemoryState): string {
  const mapped = mappedBytes(state);
  const terms = [
    `available ${formatBytes(state.availableBytes)}`,
    ...(mapped > 0 ? [`${formatBytes(mapped)} mapped by loaded models`] : []),
    ...(state.reservedBytes > 0 ? [reservedText(state)] : []),
  ];
  const free = formatBytes(freeRam(state));
  // Without the terms if they don't change a digit: a process maps a few megabytes of programs.
  return free === formatBytes(state.availableBytes) ? `available ${free}` : `${terms.join(" - ")} = ${free}`;
}

function reservedText({ reservedBytes }: MemoryState): string {
  return `${formatBytes(reservedBytes)} reserved for loads in progress`;
}

/** What the load needs under `limit`, and how that is composed; both rules if only the size is known. */
function requirement(target: LoadTarget, state: MemoryState, limit: Limit): string {
  const { estimate, fileBytes } = target;
  const needed = `needed ${formatBytes(limit.neededBytes)}`;
  if (limit.kind === "scheduler") {
    const predicted = formatBytes(schedulerBytes(target));
    return `${needed} on cards: Ollama predicts ${predicted}, and unloads its other models if that is more than ${schedulerFillsCardsTo * 100} % of what is free`;
  }
  if (limit.kind === "memory" && limit.neededBytes < neededBytes(estimate, fileBytes, state))
    return `${needed} of RAM beside the cards`;
  if (estimate.method === "size_rule") {
    const byFactor = `size ${formatBytes(fileBytes)} x 1.20 = ${formatBytes(sizeRuleBytes(fileBytes))}`;
    if (limit.kind === "cap" || limit.kind === "cards") return `${needed}: ${byFactor}`;
    const withBuffer = `more than size + buffer ${formatBytes(state.bufferBytes)} = ${formatBytes(fileBytes + state.bufferBytes)}`;
    return `${needed}: ${byFactor}, and ${withBuffer}`;
  }
  const margin = estimate.predictedBytes * estimate.margin;
  const parts = [
    `predicted ${formatBytes(estimate.predictedBytes)} (${estimate.method})`,
    ...(margin > 0 ? [`margin ${formatBytes(margin)}`] : []),
    ...(estimate.processBytes > 0 ? [`process ${formatBytes(estimate.processBytes)}`] : []),
    ...(limit.kind === "cap" || limit.kind === "cards" ? [] : [`buffer ${formatBytes(state.bufferBytes)}`]),
  ];
  return `${needed}: ${parts.join(" + ")}`;
}

/** `23.7 GB free` */
function whatIsLeft({ kind, freeBytes: bytes }: Limit): string {
  const where = {
    memory: "free",
    cap: "left",
    cards: "free on cards",
    both: "free with the cards",
    scheduler: "free on cards",
  }[kind];
  return `${formatBytes(bytes)} ${where}`;
}

/** What would be free at most, with all evictable models unloaded. */
function atMost(limit: Limit, evictableCount: number): string {
  const bytes = formatBytes(limit.freeBytes);
  const free = limit.kind === "cap" ? `memory.maxBytes leaves ${bytes}` : `${bytes} free`;
  if (evictableCount === 0) return `${free}, and no idle model can be unloaded`;
  return `${free} with all idle models unloaded, ${formatBytes(limit.neededBytes)} needed`;
}

function whatRemains(remaining: readonly SlotView[]): string {
  if (remaining.length === 0) return "";
  const words = remaining.map((entry) =>
    entry.hasUnconfirmedUnload === true
      ? `the unload of ${entry.name} was not confirmed`
      : `${entry.name} is ${entry.isBusy ? "busy" : "pinned"}`,
  );
  return `; ${words.join(", ")}`;
}

/**
 * Names of pinned models that would make room for `target` if they were unpinned; empty if it would not fit even then.
 * Busy models count as idle and loads in progress as done.
 */
export function pinnedInTheWay(target: LoadTarget, state: MemoryState): readonly string[] {
  const pinned = new Set(state.resident.filter(({ isPinned }) => isPinned).map(({ name }) => name));
  if (pinned.size === 0) return [];
  const idle = withoutReservations(allIdle(state));
  const freed = idle.resident.map((entry) => ({ ...entry, isPinned: false }));
  const { fits, evict } = planLoad(target, { ...idle, resident: freed });
  return fits ? evict.map(({ name }) => name).filter((name) => pinned.has(name)) : [];
}

/**
 * What to evict after a load ran out of memory although its plan fitted: the cheapest set that frees `bytes`, or all
 * evictable models if they don't suffice; never the model of that load itself. Empty if nothing can be evicted.
 */
export function moreToEvict(
  target: Pick<LoadTarget, "model" | "engine" | "slot">,
  bytes: number,
  state: MemoryState,
): LoadPlan["evict"] {
  const evictable = state.resident.filter((entry) => isEvictable(entry) && !isOfTarget(entry, target));
  return cheapestOf(evictable, bytes, releasedBytes, state.smallModelBytes).map(toEvict);
}

function toEvict(entry: SlotView): LoadPlan["evict"][number] {
  return { name: entry.name, engine: entry.engine, bytes: releasedBytes(entry) };
}
