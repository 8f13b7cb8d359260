import type { LoadPlacement } from "../api/types.ts";
import { freeOnCard, freeVram, type Goal, loadBytes, sum, vramOf } from "./limits.ts";
import type { LoadTarget, MemoryState, ResidentEntry } from "./state.ts";

/**
 * Which part of a load is placed on graphics cards once `unloaded` are unloaded, and on which: on the fullest card that
 * holds all of it, else on the emptiest first, as Ollama does. Engines don't report which card holds a model, so
 * unloading is assumed to free the cards that hold most. Undefined without cards.
 */
export function placementOf(
  target: LoadTarget,
  state: MemoryState,
  goal: Goal,
  unloaded: readonly ResidentEntry[],
): LoadPlacement | undefined {
  if (goal.place === "memory") return undefined;
  const own = loadBytes(target.estimate);
  const share = target.estimate.vramShare ?? 1;
  const wanted = goal.place === "cards" ? own : Math.floor(own * share);
  const vramBytes = Math.max(0, Math.min(wanted, freeVram(state) + sum(unloaded.map(vramOf))));
  return { ramBytes: own - vramBytes, vramBytes, cards: spread(vramBytes, cardsAfter(state, unloaded)) };
}

interface Card {
  readonly name: string;
  readonly freeBytes: number;
}

function cardsAfter(state: MemoryState, unloaded: readonly ResidentEntry[]): readonly Card[] {
  let released = sum(unloaded.map(vramOf));
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
