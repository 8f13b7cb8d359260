import { isForever } from "../loading/expiry.ts";

/** What an engine has in memory, as far as its upkeep goes. Pure. */
export interface MaintainedModel {
  readonly name: string;
  /** As the engine says; undefined where it doesn't. */
  readonly expiresAtMs: number | undefined;
  readonly isPinned: boolean;
  /** Answering, loading or on its way out: left alone. */
  readonly isBusy: boolean;
  /** Loaded here, and nobody else uses it. */
  readonly isOurs: boolean;
  /** Keep-alive that its engine was told, in seconds; negative: never unloaded. */
  readonly toldSeconds: number | undefined;
  readonly lastActivityMs: number;
}

export interface MaintenancePlan {
  /** Pinned ones whose keep-alive is renewed. `isLosing`: their engine would unload them. */
  readonly touch: readonly { readonly name: string; readonly isLosing: boolean }[];
  /** Those whose time is over, and that their engine keeps all the same. */
  readonly expire: readonly string[];
}

/** An engine unloads by itself at about the same moment. */
const graceMs = 30_000;

/**
 * What is to be done for what is in memory. `awakeSinceMs`: nothing grows idle while the machine sleeps, so the time
 * before the last waking doesn't count.
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
