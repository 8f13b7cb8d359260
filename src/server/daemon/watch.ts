import { type FSWatcher, watch } from "node:fs";
import path from "node:path";
import type { Log } from "../../orchestrator/api/log.ts";

const lookMs = 1_000;
const sleepLookMs = 5_000;
const handoverLookMs = 50;

/** Watches for the end of the idle timeout, for the moment to hand over, and for sleep of the machine. */
export function watchBusiness(parts: {
  readonly business: () => Business;
  /** In seconds; negative means never. Read each time, as the setting may not be loaded yet. */
  readonly idleTimeoutSeconds: () => number;
  /** Monotonic time and wall-clock time in milliseconds. */
  readonly now: () => number;
  readonly wallNow: () => number;
  readonly onIdle: () => void;
  /** Called after the machine has slept, with about how long. */
  readonly onWake: (gapMs: number) => void;
  /** Called when new requests must no longer be read. */
  readonly onDrain: () => void;
  readonly onHandover: () => void;
}) {
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
    // Clients that slept, too, get time to reconnect.
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
    /** Ends this daemon at the first moment without work; see `handoverStep`. */
    startHandover(): void {
      if (handoverSince !== undefined) return;
      handoverSince = parts.now();
      handoverTimer = setInterval(lookForHandover, handoverLookMs);
      handoverTimer.unref();
    },
    stop(): void {
      for (const timer of [...timers, handoverTimer]) clearInterval(timer);
    },
  };
}

/** Editors write in several steps, each of which is an event. */
const quietMs = 100;
/** For files without change events: those on network drives, and links to other folders. */
const pollMs = 2_000;

/**
 * Calls `look` soon after `file` may have changed. The folder is watched rather than the file, because most editors
 * replace the file; in addition `look` is called every two seconds while `isNeeded`. Does not keep the process alive.
 */
export function watchConfig(parts: {
  readonly file: string;
  readonly look: () => Promise<void>;
  readonly isNeeded: () => boolean;
  readonly log: Log;
}) {
  const { file, log } = parts;
  let soon: NodeJS.Timeout | undefined;
  let watcher: FSWatcher | undefined;

  function look(): void {
    parts.look().catch((error: unknown) => log.warn(`${file}: ${String(error)}`));
  }

  function lookSoon(): void {
    clearTimeout(soon);
    soon = setTimeout(look, quietMs);
    soon.unref();
  }

  try {
    watcher = watch(path.dirname(file), { persistent: false }, (_event, name) => {
      // Some systems don't report the name.
      if (name === null || name === path.basename(file)) lookSoon();
    });
    watcher.on("error", (error) => {
      log.debug(`${file}: can't be watched, so it is checked every ${pollMs / 1_000} s: ${error.message}`);
      watcher?.close();
    });
  } catch (error) {
    log.debug(`${file}: can't be watched, so it is checked every ${pollMs / 1_000} s: ${String(error)}`);
  }
  const poll = setInterval(() => {
    if (parts.isNeeded()) look();
  }, pollMs);
  poll.unref();

  return {
    stop() {
      clearTimeout(soon);
      clearInterval(poll);
      watcher?.close();
    },
  };
}

/** The work of a daemon at a moment. */
export interface Business {
  readonly clients: number;
  readonly listeners: number;
  /** Requests without an answer. */
  readonly requests: number;
  /** From `Orchestrator.activity()`, as the next two. */
  readonly operations: number;
  readonly pulls: number;
  readonly pinned: number;
}

/** Whether a daemon has no work and no clients. */
export function isIdle({ clients, listeners, operations, pinned }: Business): boolean {
  return clients + listeners + operations + pinned === 0;
}

/** How long a daemon that was asked to hand over continues to work normally. */
const handoverPatienceMs = 10 * 60_000;
/** How long it then waits for running requests, without reading new ones. */
const handoverDrainMs = 60_000;

/**
 * What a daemon does `elapsedMs` after it was asked to hand over:
 *
 * | running requests and work   | elapsed              | step                                    |
 * |-----------------------------|----------------------|-----------------------------------------|
 * | none                        | any                  | `go`                                    |
 * | some                        | up to 10 min         | `work`                                  |
 * | some                        | up to a minute later | `drain`: no new requests are read       |
 * | some                        | later                | `go`: running work is interrupted       |
 *
 * Pulls don't delay it: the next daemon resumes them.
 */
export function handoverStep(business: Business, elapsedMs: number): "work" | "drain" | "go" {
  if (business.requests === 0 && business.operations - business.pulls === 0) return "go";
  if (elapsedMs < handoverPatienceMs) return "work";
  return elapsedMs < handoverPatienceMs + handoverDrainMs ? "drain" : "go";
}

/** A timer that fires this much later by wall-clock time means that the machine slept. */
const sleepGapMs = 30_000;

export function hasSlept(everyMs: number, elapsedWallMs: number): boolean {
  return elapsedWallMs - everyMs > sleepGapMs;
}
