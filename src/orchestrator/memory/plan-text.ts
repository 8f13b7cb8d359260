import { schedulerFillsCardsTo } from "./limits.ts";
import { formatBytes } from "../util/format-bytes.ts";
import { type Limit, freeRam, freeVram, mappedBytes, neededBytes, schedulerBytes } from "./limits.ts";
import { sizeRuleBytes } from "./predict.ts";
import type { LoadTarget, MemoryState, ResidentEntry } from "./state.ts";

/** `available 18.0 GB, loaded qwen3:8b 5.7 GB` */
export function situation(limit: Limit, state: MemoryState, others: readonly ResidentEntry[]): string {
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
export function requirement(target: LoadTarget, state: MemoryState, limit: Limit): string {
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
export function whatIsLeft({ kind, freeBytes }: Limit): string {
  const where = {
    memory: "free",
    cap: "left",
    cards: "free on cards",
    both: "free with the cards",
    scheduler: "free on cards",
  }[kind];
  return `${formatBytes(freeBytes)} ${where}`;
}

/** What would be free at most, with all evictable models unloaded. */
export function atMost(limit: Limit, evictableCount: number): string {
  const bytes = formatBytes(limit.freeBytes);
  const free = limit.kind === "cap" ? `memory.maxBytes leaves ${bytes}` : `${bytes} free`;
  if (evictableCount === 0) return `${free}, and no idle model can be unloaded`;
  return `${free} with all idle models unloaded, ${formatBytes(limit.neededBytes)} needed`;
}

export function whatRemains(remaining: readonly ResidentEntry[]): string {
  if (remaining.length === 0) return "";
  const words = remaining.map((entry) =>
    entry.hasUnconfirmedUnload === true
      ? `the unload of ${entry.name} was not confirmed`
      : `${entry.name} is ${entry.isBusy ? "busy" : "pinned"}`,
  );
  return `; ${words.join(", ")}`;
}
