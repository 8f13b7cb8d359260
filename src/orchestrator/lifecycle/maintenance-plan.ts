import { isForever } from "../loading/expiry.ts";

/** A model in an engine's memory, as background maintenance sees it. */
export interface MaintainedModel {
  readonly name: string;
  /** As the engine says; undefined where it doesn't. */
  readonly expiresAtMs: number | undefined;
  readonly isPinned: boolean;
  /** Answering, loading or on its way out: left alone. */
  readonly isBusy: boolean;
  /** Loaded by this program, and no other program uses it. */
  readonly isOurs: boolean;
  /** Keep-alive last sent to its engine, in seconds; negative: never unloaded. */
  readonly toldSeconds: number | undefined;
  readonly lastActivityMs: number;
}

export interface MaintenancePlan {
  /** Pinned ones whose keep-alive is renewed. `isLosing`: their engine would unload them. */
  readonly touch: readonly { readonly name: string; readonly isLosing: boolean }[];
  /** Models whose keep-alive has expired, but that their engine still holds. */
  readonly expire: readonly string[];
}

/** An engine unloads by itself at about the same moment. */
const graceMs = 30_000;

/**
 * Which keep-alives to renew, and which models to unload. Pure. `awakeSinceMs`: time asleep is not idle time, so only
 * the time since the last wake-up counts.
 */
export function planMaintenance(
  models: readonly MaintainedModel[],
  clock: { readonly nowMs: number; readonly awakeSinceMs: number; readonly touchEveryMs: number },
): MaintenancePlan {
  const { nowMs, awakeSinceMs, touchEveryMs } = clock;
  const idle = models.filter(({ isBusy }) => !isBusy);
  const isLosing = ({ expiresAtMs }: MaintainedModel) => expiresAtMs !== undefined && !isForever(expiresAtMs, nowMs);
  const isDue = (model: MaintainedModel) => isLosing(model) || nowMs - model.lastActivityMs >= touchEveryMs;
  const isOver = ({ toldSeconds, lastActivityMs }: MaintainedModel) =>
    toldSeconds !== undefined &&
    toldSeconds > 0 &&
    nowMs - Math.max(lastActivityMs, awakeSinceMs) > toldSeconds * 1_000 + graceMs;
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
 * Milliseconds between two touches of a pinned model: a third of the time that models stay without use, so that two
 * touches may fail; between half a minute and five. `timeoutSeconds`: `model.keepAlive.timeout`; negative: for ever.
 */
export function touchIntervalMs(timeoutSeconds: number): number {
  if (timeoutSeconds < 0) return longestTouchMs;
  return Math.min(longestTouchMs, Math.max(shortestTouchMs, (timeoutSeconds * 1_000) / 3));
}
