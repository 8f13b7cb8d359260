/** Which program used a model last, inferred from the expiry that its engine reports. Pure. */

/** A model as it was last seen while idle. */
export interface Sighting {
  /** When its engine would unload it, in milliseconds since the epoch of the engine's clock. */
  readonly expiresAtMs: number;
  /** When it was seen. */
  readonly atMs: number;
  /** The last thing of ours before that moved its end. */
  readonly activityMs: number;
}

/**
 * | verdict   | what happened since                                                                     |
 * |-----------|------------------------------------------------------------------------------------------|
 * | `ours`    | nothing that we don't know of                                                             |
 * | `touched` | another program used it, under our keep-alive                                              |
 * | `taken`   | another program used it and set a keep-alive of its own, which we must not override        |
 */
export type Verdict = "ours" | "touched" | "taken";

/** Ollama says "for ever" with a date 292 years ahead. */
const foreverMs = 10 * 365 * 86_400_000;
/** An idle model's end stands still, but for what a clock that is set right does to it. */
const stillMs = 1_500;
/** From our last token to Ollama's own end of the request; a prompt that we gave up is read on to the end of its batch. */
const lateMs = 30_000;
/** An engine that counts from the beginning of an answer is early by the length of the answer; told apart by minutes. */
const earlyMs = 60_000;

/** Whether the engine never unloads it for being idle. */
export function isForever(expiresAtMs: number, nowMs: number): boolean {
  return expiresAtMs - nowMs > foreverMs;
}

/**
 * Ollama moves the expiry to "now + keep-alive" with every request, so an expiry that moved without us is another
 * program's request (`/api/ps` says nothing more about it). Two sightings with nothing of ours between them need no
 * common clock. After a use of ours the end must be what we told; that is compared on this machine's clock alone.
 * `toldSeconds`: keep-alive last sent to the engine; negative: never unloaded; undefined: none.
 */
export function judge(
  own: { readonly toldSeconds: number | undefined; readonly activityMs: number; readonly hasSameClock: boolean },
  before: Sighting | undefined,
  seen: { readonly expiresAtMs: number; readonly atMs: number },
): Verdict {
  const { toldSeconds, activityMs } = own;
  const { expiresAtMs, atMs } = seen;
  const isTold = (fromMs: number, toMs: number): boolean => {
    if (toldSeconds === undefined) return true;
    if (toldSeconds < 0) return isForever(expiresAtMs, atMs);
    const keepAliveMs = toldSeconds * 1_000;
    return expiresAtMs - toMs - stillMs <= keepAliveMs && keepAliveMs <= expiresAtMs - fromMs + stillMs;
  };
  if (before !== undefined && before.activityMs === activityMs) {
    if (Math.abs(expiresAtMs - before.expiresAtMs) <= stillMs) return "ours";
    // The request that moved it came between the two looks.
    return isTold(before.atMs, atMs) ? "touched" : "taken";
  }
  if (!own.hasSameClock || toldSeconds === undefined) return "ours";
  if (isTold(activityMs - earlyMs, Math.min(atMs, activityMs + lateMs))) return "ours";
  return isTold(activityMs, atMs) ? "touched" : "taken";
}
