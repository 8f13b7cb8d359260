import type { SlotView } from "../memory/state.ts";

/** Time for the engine to unload the model by itself. */
const graceMs = 30_000;

/**
 * Which keep-alives of pinned models to renew (`isLosing`: the engine would unload it otherwise), and which models to unload
 * that their engine still holds after their keep-alive has ended. Pure. Time asleep is not idle time: only the time since
 * `awakeSinceMs`, the last wake-up, counts.
 */
export function planMaintenance(
  models: readonly SlotView[],
  clock: { readonly nowMs: number; readonly awakeSinceMs: number; readonly touchEveryMs: number },
) {
  const { nowMs, awakeSinceMs, touchEveryMs } = clock;
  const idle = models.filter(({ isBusy }) => !isBusy);
  const isLosing = ({ expiresAtMs }: SlotView) => expiresAtMs !== undefined && !isForever(expiresAtMs, nowMs);
  const isDue = (model: SlotView) => isLosing(model) || nowMs - (model.lastActivityMs ?? 0) >= touchEveryMs;
  const isOver = ({ sentSeconds, lastActivityMs = 0 }: SlotView) =>
    sentSeconds !== undefined &&
    sentSeconds > 0 &&
    nowMs - Math.max(lastActivityMs, awakeSinceMs) > sentSeconds * 1_000 + graceMs;
  return {
    touch: idle
      .filter((model) => model.isPinned && isDue(model))
      .map((model) => ({ name: model.name, isLosing: isLosing(model) })),
    expire: idle.filter((model) => !model.isPinned && !model.isForeign && isOver(model)).map(({ name }) => name),
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

/**
 * What the last poll that found the model idle reported: which program used it last is inferred from the expiry that its
 * engine reports.
 */
interface Sighting {
  /** When its engine would unload it, in milliseconds since the epoch of the engine's clock. */
  readonly expiresAtMs: number;
  /** Time of the poll. */
  readonly atMs: number;
  /** Our last activity before the poll that restarted the keep-alive. */
  readonly activityMs: number;
}

/** Ollama reports "never" as a date 292 years ahead. */
const foreverMs = 10 * 365 * 86_400_000;
/** The expiry of an idle model is constant except for small corrections of the clock. */
const stillMs = 1_500;
/**
 * From our last token to Ollama's end of the request: a cancelled prompt is still processed to the end of its batch.
 */
const lateMs = 30_000;
/** An engine that counts from the start of an answer is early by the length of the answer. */
const earlyMs = 60_000;

/** Whether the engine never unloads it for being idle. */
export function isForever(expiresAtMs: number, nowMs: number): boolean {
  return expiresAtMs - nowMs > foreverMs;
}

/**
 * Every request sets Ollama's expiry to "now + keep-alive", so an expiry that moved without us means a request of
 * another program (`/api/ps` has no other sign of it). Two sightings without activity of ours in between need no common
 * clock. After a use of ours the expiry must match the keep-alive that we sent, which is checked only if the engine
 * runs on this machine's clock. `sentSeconds` is the keep-alive last sent to the engine; negative: never unloaded;
 * undefined: none.
 *
 * | verdict   | what happened since the last poll                                                |
 * |-----------|----------------------------------------------------------------------------------|
 * | `ours`    | only our own requests, if any                                                    |
 * | `touched` | another program used it and left our keep-alive in force                         |
 * | `taken`   | another program used it with a keep-alive of its own, which we must not override |
 */
export function judgeExpiry(
  own: { readonly sentSeconds: number | undefined; readonly activityMs: number; readonly hasSameClock: boolean },
  before: Sighting | undefined,
  seen: { readonly expiresAtMs: number; readonly atMs: number },
): "ours" | "touched" | "taken" {
  const { sentSeconds, activityMs } = own;
  const { expiresAtMs, atMs } = seen;
  /** Whether the keep-alive that we sent, started between these times, explains the expiry. */
  const matchesSent = (fromMs: number, toMs: number): boolean => {
    if (sentSeconds === undefined) return true;
    if (sentSeconds < 0) return isForever(expiresAtMs, atMs);
    const keepAliveMs = sentSeconds * 1_000;
    return expiresAtMs - toMs - stillMs <= keepAliveMs && keepAliveMs <= expiresAtMs - fromMs + stillMs;
  };
  if (before !== undefined && before.activityMs === activityMs) {
    if (Math.abs(expiresAtMs - before.expiresAtMs) <= stillMs) return "ours";
    // The request that moved it came between the two polls.
    return matchesSent(before.atMs, atMs) ? "touched" : "taken";
  }
  if (!own.hasSameClock || sentSeconds === undefined) return "ours";
  if (matchesSent(activityMs - earlyMs, Math.min(atMs, activityMs + lateMs))) return "ours";
  return matchesSent(activityMs, atMs) ? "touched" : "taken";
}
