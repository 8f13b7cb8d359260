import { type ChildProcess, fork } from "node:child_process";
import { Cancelled } from "../../api/errors.ts";
import { ChildFailure, createLogRing } from "./child/failure.ts";
import type { Pausing } from "./compute-gate.ts";
import type { Capacity, ChildControl, ChildEvent, ChildReply, ChildRequest, DoneOf } from "./child/protocol.ts";
import { within } from "../../util/timers.ts";

interface ChildOptions {
  /** Absolute path of the child's program (`dist/engine-child.mjs`). */
  readonly entry: string;
  /** A Node executable: in some desktop clients, `process.execPath` is not one. */
  readonly nodeExecutable: string;
  /** Absolute path of node-llama-cpp's module. */
  readonly modulePath: string;
  readonly threads: number;
  /** Default: what the binaries are for. */
  readonly computes?: "auto" | "cpu" | "cuda" | "vulkan";
  /** Called when `capacity` has changed. */
  readonly changed?: () => void;
  /** Milliseconds until llama.cpp is ready; default a minute. */
  readonly readyLimitMs?: number | undefined;
}

/** How a child process ended. */
export interface ChildEnd {
  /** `SIGKILL`, `exit code 3`. */
  readonly cause: string;
  /** Its last lines of output, oldest first. */
  readonly log: readonly string[];
  /** Whether this process ended it. */
  readonly wasStopped: boolean;
}

/** The child process ended before it answered. */
export class ChildGone extends Error {
  readonly end: ChildEnd;

  constructor(end: ChildEnd) {
    super(`the engine process ended (${end.cause})`);
    this.name = "ChildGone";
    this.end = end;
  }
}

/** One engine process and its pending requests. */
export type ChildSession = Awaited<ReturnType<typeof openChild>>;

/** Importing and starting llama.cpp takes half a second on an idle machine. */
const defaultReadyLimitMs = 60_000;
const cancelLimitMs = 5_000;
/** A process that answers others may read a part of a long prompt, or make a larger cache, for this long. */
const silentLimitMs = 60_000;
/** For a request with a grammar: compiling it and checking a token against it can't be interrupted. */
const grammarCancelLimitMs = 1_000;
const exitLimitMs = 200;
/** For a process that says that it writes what it has read. */
const saveLimitMs = 5_000;

const childEnvironment = {
  /** By default glibc keeps freed memory in up to 8 arenas per core: 118 → 280 MB over a few load cycles. */
  MALLOC_ARENA_MAX: "1",
  MALLOC_TRIM_THRESHOLD_: "65536",
  /**
   * llama.cpp starts its threads anew for each token, from one of libuv's four in turn. The system then puts two on one core,
   * where they wait for each other: one token in ten took 30 ms instead of 5 (135M, two cores: 82 tokens/s, with one 186).
   */
  UV_THREADPOOL_SIZE: "1",
};
/** Keeps JavaScript's garbage small, so that it doesn't distort the measured memory of a model. */
const nodeFlags = ["--max-semi-space-size=2", "--expose-gc"];

interface Pending {
  /** Aborted: it is cancelled, and ends soon. */
  readonly signal: AbortSignal;
  event(event: ChildEvent): void;
  done(value: unknown): void;
  fail(error: Error): void;
}

/**
 * Starts a child process and waits until llama.cpp is ready in it. Throws `Cancelled`, `ChildGone`, `ChildFailure`.
 * Calls `onStart` with the pid at once, because a process that is still starting must be reaped, too.
 */
export async function openChild(options: ChildOptions, onStart: (pid: number) => void, signal: AbortSignal) {
  if (signal.aborted) throw new Cancelled("starting the engine was cancelled", { cause: signal.reason });
  const child = forkChild(options);
  const log = createLogRing();
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding("utf8").on("data", (text: string) => log.add(text));
  if (child.pid !== undefined) onStart(child.pid);
  const killIn = killer(child);
  const pending = new Map<number, Pending>();
  let [lastId, lastReplyAt, wasStopped] = [0, 0, false];
  let capacity: Capacity = { sequences: 1, together: 1 };
  let end: ChildEnd | undefined;

  const ended = new Promise<ChildEnd>((resolve) => {
    const finish = (cause: string) => {
      if (end !== undefined) return;
      end = { cause, log: log.lines(), wasStopped };
      for (const request of pending.values()) request.fail(new ChildGone(end));
      pending.clear();
      resolve(end);
    };
    // `close` follows the end of stderr; `error` without a pid means that the process did not start.
    child.once("close", (code, signalName) => finish(signalName ?? `exit code ${code}`));
    child.once("error", (error) => {
      if (child.pid === undefined) finish(error.message);
    });
  });

  const send = (message: (ChildRequest & { readonly id: number }) | ChildControl) => {
    // A failed send means that the process is ending; `close` rejects the pending requests.
    if (child.connected) child.send(message, () => undefined);
  };

  async function stop(): Promise<void> {
    wasStopped = true;
    send({ type: "exit" });
    killIn(exitLimitMs);
    await ended;
  }

  const ready = new Promise<void>((resolve, reject) => {
    void ended.then((value) => reject(new ChildGone(value)));
    child.on("message", (reply: ChildReply) => {
      lastReplyAt = performance.now();
      if (reply.type === "ready") resolve();
      else if (reply.type === "capacity") capacity = reply;
      else if (reply.type === "saving") killIn(saveLimitMs);
      else if (reply.type === "broken") reject(new ChildFailure("failed", reply.message));
      else deliver(pending, reply);
      if (reply.type === "capacity") options.changed?.();
    });
  });
  const limitMs = options.readyLimitMs ?? defaultReadyLimitMs;
  await withinLimit(ready, limitMs, `the engine did not start within ${limitMs / 1_000} s`, signal, stop);

  return {
    pid: child.pid ?? 0,
    /** Resolves when the process has ended and its memory is free. Never rejects. */
    ended,
    isAlive: () => end === undefined && !wasStopped,
    /** When it last sent anything, by `performance.now()`. */
    lastReplyAt: () => lastReplyAt,
    /** Ends the process: an `exit` message first, SIGKILL after 200 ms, or 5 s if it writes what it has read. Resolves when it has ended. */
    stop,
    /** As it last reported: after each change, before the answer for which it changed. */
    capacity: () => capacity,
    /**
     * Rejects with `Cancelled` once an aborted request has stopped computing (see `killLater`), with `ChildGone` when the
     * process ends, and with `ChildFailure` for a failure that the process reports. `onSent` gets how to pause a generation.
     */
    call<Type extends ChildRequest["type"]>(
      request: Extract<ChildRequest, { type: Type }>,
      onEvent: (event: ChildEvent) => void,
      callSignal: AbortSignal,
      onSent?: (pausing: Pausing) => void,
    ): Promise<DoneOf[Type]> {
      return new Promise((resolve, reject) => {
        const cancelled = () => new Cancelled(`${request.type} was cancelled`, { cause: callSignal.reason });
        if (callSignal.aborted) return reject(cancelled());
        if (end !== undefined) return reject(new ChildGone(end));
        lastId += 1;
        const id = lastId;
        let [stopWaiting, paused] = [() => {}, () => {}];
        const cancel = () => {
          send({ type: "cancel", id });
          stopWaiting = killLater(child, request, pending, () => lastReplyAt);
        };
        const settle = (finish: () => void) => {
          stopWaiting();
          paused();
          callSignal.removeEventListener("abort", cancel);
          pending.delete(id);
          if (callSignal.aborted) reject(cancelled());
          else finish();
        };
        pending.set(id, {
          signal: callSignal,
          // Events that arrive after the caller cancelled are dropped.
          event: (event) => {
            if (event.type === "phase" && event.phase === "paused") paused();
            if (!callSignal.aborted) onEvent(event);
          },
          done: (value) => settle(() => resolve(value as never)),
          fail: (error) => settle(() => reject(error)),
        });
        callSignal.addEventListener("abort", cancel, { once: true });
        send({ ...request, id });
        onSent?.({
          pause: () =>
            new Promise((settled) => {
              if (!pending.has(id)) return settled();
              paused = settled;
              send({ type: "pause", id });
            }),
          resume: () => send({ type: "resume", id }),
        });
      });
    },
  };
}

/**
 * Kills a process that doesn't end a cancelled request within 5 s, or 1 s if it has a `format`, until the returned function
 * is called. While it answers others, it has that time again, but is ended when it sends nothing at all.
 */
function killLater(
  child: ChildProcess,
  request: ChildRequest,
  pending: ReadonlyMap<number, Pending>,
  lastReplyAt: () => number,
) {
  const onlyCancelled = () => [...pending.values()].every(({ signal }) => signal.aborted);
  const hasGrammar = "format" in request && request.format !== undefined;
  const limitMs = hasGrammar && onlyCancelled() ? grammarCancelLimitMs : cancelLimitMs;
  let timer: NodeJS.Timeout | undefined;
  const wait = (wasOnlyCancelled: boolean) => {
    timer = setTimeout(() => {
      const isSilent = performance.now() - lastReplyAt() > silentLimitMs;
      if ((wasOnlyCancelled && onlyCancelled()) || isSilent) child.kill("SIGKILL");
      else wait(onlyCancelled());
    }, limitMs);
  };
  wait(onlyCancelled());
  return () => clearTimeout(timer);
}

/** Kills a process in some time, unless it ends before; another time replaces the first. */
function killer(child: ChildProcess): (ms: number) => void {
  let timer: NodeJS.Timeout | undefined;
  child.once("close", () => clearTimeout(timer));
  return (ms) => {
    clearTimeout(timer);
    if (child.exitCode === null && child.signalCode === null) timer = setTimeout(() => child.kill("SIGKILL"), ms);
  };
}

function deliver(
  pending: ReadonlyMap<number, Pending>,
  reply: Exclude<ChildReply, { type: "ready" | "saving" | "capacity" | "broken" }>,
): void {
  const request = pending.get(reply.id);
  if (request === undefined) return;
  if (reply.type === "done") request.done(reply.value);
  else if (reply.type === "failed") request.fail(new ChildFailure(reply.code, reply.message, reply));
  else request.event(reply);
}

function forkChild({ entry, nodeExecutable, modulePath, threads, computes = "auto" }: ChildOptions): ChildProcess {
  const isPosix = process.platform !== "win32";
  return fork(entry, [modulePath, String(process.pid), String(threads), computes], {
    // Prevents core dumps of gigabytes. `exec` keeps the pid and the channel.
    execPath: isPosix ? "/bin/sh" : nodeExecutable,
    execArgv: isPosix ? ["-c", 'ulimit -c 0; exec "$0" "$@"', nodeExecutable, ...nodeFlags] : nodeFlags,
    env: { ...process.env, ...childEnvironment },
    // This process's stdout is reserved for the protocol.
    stdio: ["ignore", "pipe", "pipe", "ipc"],
    windowsHide: true,
  } as Parameters<typeof fork>[2]);
}

/** Waits for `work`. On a failure, after `limitMs`, or on an abort, runs `giveUp` and throws. */
export async function withinLimit<Result>(
  work: Promise<Result>,
  limitMs: number,
  message: string,
  signal: AbortSignal,
  giveUp: () => Promise<void>,
): Promise<Result> {
  const late = (): never => {
    if (signal.aborted) throw new Cancelled("the engine's work was cancelled", { cause: signal.reason });
    throw new ChildFailure("stalled", message);
  };
  try {
    return await within({ ms: limitMs, signal }, () => work, late);
  } catch (error) {
    await giveUp();
    throw error;
  }
}

/** `stallMs` is counted in this many intervals, because the machine may sleep during one of them. */
const intervals = 10;

/**
 * Calls `session` with stall detection: ends its process when it reports nothing for `stallMs` of waking time, because a
 * deadlocked or stopped process would block all others forever. A process reports each chunk of a prompt and each token
 * of an answer; what it reports of other requests counts, too. Throws what `ChildSession.call` throws, and `ChildFailure`.
 */
export async function callWithStallDetection<Type extends ChildRequest["type"]>(
  session: ChildSession,
  request: Extract<ChildRequest, { type: Type }>,
  stallMs: number,
  onEvent: (event: ChildEvent) => void,
  signal: AbortSignal,
  onSent: (pausing: Pausing) => void = () => undefined,
): Promise<DoneOf[Type]> {
  let idleIntervals = 0;
  let isPaused = false;
  let hasStalled = false;
  let seenReplyAt = session.lastReplyAt();
  const timer = setInterval(() => {
    // What it computes for others delays this one.
    if (session.lastReplyAt() !== seenReplyAt) idleIntervals = 0;
    seenReplyAt = session.lastReplyAt();
    // Another request computes instead.
    if (isPaused) return onEvent({ type: "phase", phase: "paused" });
    idleIntervals += 1;
    // One more than `intervals`: the first one may have begun before the last event.
    if (idleIntervals <= intervals || hasStalled) return;
    hasStalled = true;
    void session.stop();
  }, stallMs / intervals);
  const onActivity = (event: ChildEvent) => {
    idleIntervals = 0;
    isPaused = event.type === "phase" && event.phase === "paused";
    onEvent(event);
  };
  const watched = ({ pause, resume }: Pausing): Pausing => ({
    pause,
    resume() {
      idleIntervals = 0;
      isPaused = false;
      resume();
    },
  });
  try {
    return await session.call(request, onActivity, signal, (pausing) => onSent(watched(pausing)));
  } catch (error) {
    if (!hasStalled || signal.aborted) throw error;
    const seconds = Math.round(stallMs / 1_000);
    throw new ChildFailure("stalled", `its process made no progress for ${seconds} s and was ended`, {
      cause: error,
    });
  } finally {
    clearInterval(timer);
  }
}
