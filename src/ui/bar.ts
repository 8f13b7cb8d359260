import type { LiveModel, LiveState } from "../orchestrator/api/facade-metrics.ts";
import { isHere, ramBytesOf } from "../orchestrator/util/last-hour.ts";

/** A part of the memory bar, the largest model first; the shares of all parts sum to 1. */
type Segment =
  | { readonly kind: "model"; readonly model: LiveModel; readonly share: number; readonly bytes: number }
  | { readonly kind: "other" | "free"; readonly share: number; readonly bytes: number };

/**
 * The parts of the machine's RAM: each model, what other programs hold, what is free. Measurements overlap (files that are
 * mapped count as available too) and are from different moments, so what is free gives way first, then everything shrinks.
 */
export function segmentsOf(memory: LiveState["memory"]): readonly Segment[] {
  const { totalBytes, availableBytes, otherBytes } = memory;
  const models = memory.models.filter(isHere).toSorted((one, other) => ramBytesOf(other) - ramBytesOf(one));
  const held = models.reduce((sum, model) => sum + ramBytesOf(model), 0) + otherBytes;
  const freeBytes = Math.max(0, Math.min(availableBytes, totalBytes - held));
  // What no measurement explains belongs to no program by name.
  const rest = Math.max(0, totalBytes - held - freeBytes);
  const whole = Math.max(totalBytes, held, 1);
  const share = (bytes: number): number => bytes / whole;
  return [
    ...models.map((model) => ({
      kind: "model" as const,
      model,
      bytes: ramBytesOf(model),
      share: share(ramBytesOf(model)),
    })),
    { kind: "other", bytes: otherBytes + rest, share: share(otherBytes + rest) },
    { kind: "free", bytes: freeBytes, share: share(freeBytes) },
  ];
}

/** What a model does, in words. */
export function activityOf({ state, running, clients }: LiveModel): string {
  switch (state) {
    case "loading":
      return "loading";
    case "evicting":
      return "unloading";
    case "stuck":
      return "gives no tokens";
    case "ready":
      if (running === 0) return "idle";
      return clients.length === 0 ? `${running} running` : `${running} running, used by ${clients.join(", ")}`;
  }
}
