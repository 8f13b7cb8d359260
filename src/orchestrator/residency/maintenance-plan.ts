import { isForever } from "./expiry.ts";

/** A loaded model, as input of `planMaintenance`. */
export interface MaintainedModel {
  readonly name: string;
  /** As reported by the engine; undefined if it doesn't report one. */
  readonly expiresAtMs: number | undefined;
  readonly isPinned: boolean;
  /** Answering, loading or being evicted: not touched. */
  readonly isBusy: boolean;
  /** Loaded by this program, and no other program uses it. */
  readonly isOurs: boolean;
  /** Keep-alive last sent to its engine, in seconds; negative: never unloaded. */
  readonly sentSeconds: number | undefined;
  readonly lastActivityMs: number;
}

export interface MaintenancePlan {
  /** Pinned models whose keep-alive is renewed. `isLosing`: the engine would unload it otherwise. */
  readonly touch: readonly { readonly name: string; readonly isLosing: boolean }[];
  /** Models that their engine still holds after their keep-alive has ended. */
  readonly expire: readonly string[];
}

/** Time for the engine to unload the model by itself. */
const graceMs = 30_000;

/**
 * Which keep-alives to renew and which models to unload. Pure. Time asleep is not idle time: only the time since
 * `awakeSinceMs`, the last wake-up, counts.
 */
export function planMaintenance(
  models: readonly MaintainedModel[],
  clock: { readonly nowMs: number; readonly awakeSinceMs: number; readonly touchEveryMs: number },
): MaintenancePlan {
  const { nowMs, awakeSinceMs, touchEveryMs } = clock;
  const idle = models.filter(({ isBusy }) => !isBusy);
  const isLosing = ({ expiresAtMs }: MaintainedModel) => expiresAtMs !== undefined && !isForever(expiresAtMs, nowMs);
  const isDue = (model: MaintainedModel) => isLosing(model) || nowMs - model.lastActivityMs >= touchEveryMs;
  const isOver = ({ sentSeconds, lastActivityMs }: MaintainedModel) =>
    sentSeconds !== undefined &&
    sentSeconds > 0 &&
    nowMs - Math.max(lastActivityMs, awakeSinceMs) > sentSeconds * 1_000 + graceMs;
  return {
    touch: idle
      .filter((model) => model.isPinned && isDue(model))
      .map((model) => ({ name: model.name, isLosing: isLosing(model) })),
    expire: idle.filter((model) => !model.isPinned && model.isOurs && isOver(model)).map(({ name }) => name),
  };
}

const longestTouchMs = 5 * 60_000;
const shortestTouchMs = 30_000;

/**
 * Milliseconds between two touches of a pinned model: a third of the keep-alive, so that two touches may fail, but
 * between 30 seconds and 5 minutes. `timeoutSeconds`: `model.keepAlive.timeout`; negative: never unloaded.
 */
export function touchIntervalMs(timeoutSeconds: number): number {
  if (timeoutSeconds < 0) return longestTouchMs;
  return Math.min(longestTouchMs, Math.max(shortestTouchMs, (timeoutSeconds * 1_000) / 3));
}
