import { formatBytes } from "../text/format-bytes.ts";
import { sizeRuleBytes } from "./estimate.ts";
import { freeRam, freeVram, type Limit, mappedBytes, neededBytes } from "./limits.ts";
import type { LoadTarget, MemoryState, ResidentEntry } from "./state.ts";

/** `available 18.0 GB, loaded qwen3:8b 5.7 GB` */
export function situation(limit: Limit, state: MemoryState, others: readonly ResidentEntry[]): string {
  const loaded = others.map((entry) => `${entry.name} ${formatBytes(entry.sizeBytes)}`);
  return `${whatIsFree(limit, state)}${loaded.length > 0 ? `, loaded ${loaded.join(", ")}` : ""}`;
}

function whatIsFree(limit: Limit, state: MemoryState): string {
  if (limit.kind === "cap") {
    const left = `${formatBytes(limit.freeBytes)} left of memory.maxBytes ${formatBytes(state.maxBytes ?? 0)}`;
    return state.reservedBytes > 0 ? `${left}, ${setAside(state)}` : left;
  }
  const ram = whatIsAvailable(state);
  if (limit.kind === "memory") return ram;
  return `${ram} and ${formatBytes(freeVram(state))} on ${(state.gpus ?? []).map(({ name }) => name).join(", ")}`;
}

/** First what `free` and `ollm ps` say, then what of it is none: `available 20.0 GB - 5.0 GB mapped by ... = 15.0 GB`. */
function whatIsAvailable(state: MemoryState): string {
  const mapped = mappedBytes(state);
  const terms = [
    `available ${formatBytes(state.availableBytes)}`,
    ...(mapped > 0 ? [`${formatBytes(mapped)} mapped by loaded models`] : []),
    ...(state.reservedBytes > 0 ? [setAside(state)] : []),
  ];
  const free = formatBytes(freeRam(state));
  // A process maps a few megabytes of programs: no digit of what is told changes by it.
  return free === formatBytes(state.availableBytes) ? `available ${free}` : `${terms.join(" - ")} = ${free}`;
}

function setAside({ reservedBytes }: MemoryState): string {
  return `${formatBytes(reservedBytes)} set aside for loads in progress`;
}

/** What the load needs under `limit`, and what that is made of: both rules where only the size is known. */
export function requirement(target: LoadTarget, state: MemoryState, limit: Limit): string {
  const { estimate, fileBytes } = target;
  const needed = `needed ${formatBytes(limit.neededBytes)}`;
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
  const where = { memory: "free", cap: "left", cards: "free on cards", both: "free with the cards" }[kind];
  return `${formatBytes(freeBytes)} ${where}`;
}

/** How far everything that may go would have got. */
export function atMost(limit: Limit, evictableCount: number): string {
  const free = limit.kind === "cap" ? "memory.maxBytes leaves" : "free is";
  if (evictableCount === 0) return `${free} ${formatBytes(limit.freeBytes)}, and nothing idle can be unloaded`;
  return `with everything idle unloaded ${free} ${formatBytes(limit.freeBytes)}, needed ${formatBytes(limit.neededBytes)}`;
}

export function whatRemains(remaining: readonly ResidentEntry[]): string {
  if (remaining.length === 0) return "";
  const words = remaining.map((entry) =>
    entry.hasUnconfirmedUnload === true
      ? `${entry.name} does not leave`
      : `${entry.name} is ${entry.isBusy ? "busy" : "pinned"}`,
  );
  return `; ${words.join(", ")}`;
}
