import { handoverStep, hasSlept, isIdle, type Business } from "./decide.ts";

export interface WatchParts {
  readonly business: () => Business;
  /** Seconds; negative never. Asked anew each time: the setting may not be read yet. */
  readonly idleTimeoutSeconds: () => number;
  /** Milliseconds that don't jump, and those of the clock on the wall. */
  readonly now: () => number;
  readonly wallNow: () => number;
  readonly onIdle: () => void;
  /** The machine slept for about so long. */
  readonly onWake: (gapMs: number) => void;
  /** New requests are to be read no more. */
  readonly onDrain: () => void;
  readonly onHandover: () => void;
}

export interface Watch {
  /** From now on the first moment without work ends this daemon; see `handoverStep`. */
  startHandover(): void;
  stop(): void;
}

const lookMs = 1_000;
const sleepLookMs = 5_000;
const handoverLookMs = 50;

/** Looks when a daemon has nothing to do any more, when it may hand over, and whether the machine slept. */
export function watchBusiness(parts: WatchParts): Watch {
  let idleSince: number | undefined;
  let handoverSince: number | undefined;
  let isDraining = false;
  let lastWall = parts.wallNow();
  let handoverTimer: NodeJS.Timeout | undefined;

  const lookForIdle = (): void => {
    const timeoutSeconds = parts.idleTimeoutSeconds();
    if (!isIdle(parts.business())) idleSince = undefined;
    else idleSince ??= parts.now();
    const isOver = idleSince !== undefined && parts.now() - idleSince >= timeoutSeconds * 1_000;
    if (timeoutSeconds >= 0 && isOver) parts.onIdle();
  };

  const lookForSleep = (): void => {
    const wall = parts.wallNow();
    const elapsedMs = wall - lastWall;
    lastWall = wall;
    if (!hasSlept(sleepLookMs, elapsedMs)) return;
    // Clients that slept as well get their time to come back.
    idleSince = undefined;
    parts.onWake(elapsedMs);
  };

  const lookForHandover = (): void => {
    if (handoverSince === undefined) return;
    const step = handoverStep(parts.business(), parts.now() - handoverSince);
    if (step === "go") {
      clearInterval(handoverTimer);
      parts.onHandover();
    } else if (step === "drain" && !isDraining) {
      isDraining = true;
      parts.onDrain();
    }
  };

  const timers = [setInterval(lookForIdle, lookMs), setInterval(lookForSleep, sleepLookMs)];
  for (const timer of timers) timer.unref();

  return {
    startHandover() {
      if (handoverSince !== undefined) return;
      handoverSince = parts.now();
      handoverTimer = setInterval(lookForHandover, handoverLookMs);
      handoverTimer.unref();
    },
    stop() {
      for (const timer of [...timers, handoverTimer]) clearInterval(timer);
    },
  };
}
