import { type ChildProcess, fork } from "node:child_process";
import { Cancelled } from "../../errors.ts";
import { ChildFailure } from "./child/failure.ts";
import { createLogRing } from "./child/log-ring.ts";
import type { ChildControl, ChildEvent, ChildReply, ChildRequest, DoneOf } from "./child/protocol.ts";

export interface ChildOptions {
  /** Absolute path of the child's program (`dist/engine-child.mjs`). */
  readonly entry: string;
  /** A real Node: `process.execPath` is none in some desktop clients. */
  readonly nodeExecutable: string;
  /** Absolute path of node-llama-cpp's module. */
  readonly modulePath: string;
  readonly threads: number;
}

/** How a child came to its end. */
export interface ChildEnd {
  /** `SIGKILL`, `exit code 3`. */
  readonly cause: string;
  /** Its last lines on stderr, oldest first. */
  readonly log: readonly string[];
  /** We ended it. */
  readonly wasStopped: boolean;
}

/** The process ended before it answered. */
export class ChildGone extends Error {
  readonly end: ChildEnd;

  constructor(end: ChildEnd) {
    super(`the engine process ended (${end.cause})`);
    this.name = "ChildGone";
    this.end = end;
  }
}

/** One engine process and the requests that it is working on. */
export interface ChildSession {
  readonly pid: number;
  /** Resolves when the process has ended and its memory is free. Never rejects. */
  readonly ended: Promise<ChildEnd>;
  isAlive(): boolean;
  /**
   * Rejects with `Cancelled` once an aborted request has stopped computing (the process is ended when it does not
   * within 5 s, or 1 s where it has a `format`), with `ChildGone` when the process ends, with `ChildFailure` when it says why it can't.
   */
  call<Type extends ChildRequest["type"]>(
    request: Extract<ChildRequest, { type: Type }>,
    onEvent: (event: ChildEvent) => void,
    signal: AbortSignal,
  ): Promise<DoneOf[Type]>;
  /** Ends the process: a word first, SIGKILL after 200 ms. Resolves when it is gone. */
  stop(): Promise<void>;
}

/** Import and start of llama.cpp take half a second on a free machine. */
const readyLimitMs = 60_000;
const cancelLimitMs = 5_000;
/** The wait for an answer with a grammar: making one, and checking a token against it, can't be interrupted. */
const grammarCancelLimitMs = 1_000;
const politeMs = 200;

/** glibc keeps freed memory in up to 8 arenas per core otherwise: 118 → 280 MB over some load cycles. */
const mallocEnvironment = { MALLOC_ARENA_MAX: "1", MALLOC_TRIM_THRESHOLD_: "65536" };
/** Garbage of the JavaScript side must not blur what a model takes. */
const nodeFlags = ["--max-semi-space-size=2", "--expose-gc"];

interface Pending {
  event(event: ChildEvent): void;
  done(value: unknown): void;
  fail(error: Error): void;
}

/**
 * Starts a child and waits until llama.cpp is up in it. Throws `Cancelled`, `ChildGone`, `ChildFailure`. `onStart` is
 * called with its pid at once, because a child that is still starting must be reaped like any other.
 */
export async function openChild(
  options: ChildOptions,
  onStart: (pid: number) => void,
  signal: AbortSignal,
): Promise<ChildSession> {
  if (signal.aborted) throw new Cancelled("starting the engine was cancelled", { cause: signal.reason });
  const child = forkChild(options);
  const log = createLogRing();
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding("utf8").on("data", (text: string) => log.add(text));
  }
  if (child.pid !== undefined) onStart(child.pid);

  const pending = new Map<number, Pending>();
  let lastId = 0;
  let end: ChildEnd | undefined;
  let wasStopped = false;

  const ended = new Promise<ChildEnd>((resolve) => {
    const finish = (cause: string) => {
      if (end !== undefined) return;
      end = { cause, log: log.lines(), wasStopped };
      const gone = new ChildGone(end);
      for (const request of pending.values()) request.fail(gone);
      pending.clear();
      resolve(end);
    };
    // `close` comes after stderr is read to its end; `error` when there was nothing to start.
    child.once("close", (code, signalName) => finish(signalName ?? `exit code ${code}`));
    child.once("error", (error) => {
      if (child.pid === undefined) finish(error.message);
    });
  });

  const send = (message: (ChildRequest & { readonly id: number }) | ChildControl) => {
    // A failed send means that the process is ending; `close` tells everybody.
    if (child.connected) child.send(message, () => undefined);
  };

  async function stop(): Promise<void> {
    wasStopped = true;
    send({ type: "exit" });
    const timer = setTimeout(() => child.kill("SIGKILL"), politeMs);
    await ended;
    clearTimeout(timer);
  }

  const ready = new Promise<void>((resolve, reject) => {
    void ended.then((value) => reject(new ChildGone(value)));
    child.on("message", (reply: ChildReply) => {
      if (reply.type === "ready") resolve();
      else if (reply.type === "broken") reject(new ChildFailure("failed", reply.message));
      else deliver(pending, reply);
    });
  });
  await withinLimit(ready, readyLimitMs, `the engine did not start within ${readyLimitMs / 1_000} s`, signal, stop);

  return {
    pid: child.pid ?? 0,
    ended,
    isAlive: () => end === undefined && !wasStopped,
    stop,
    call(request, onEvent, callSignal) {
      return new Promise((resolve, reject) => {
        const cancelled = () => new Cancelled(`${request.type} was cancelled`, { cause: callSignal.reason });
        if (callSignal.aborted) return reject(cancelled());
        if (end !== undefined) return reject(new ChildGone(end));
        lastId += 1;
        const id = lastId;
        let timer: NodeJS.Timeout | undefined;
        const cancel = () => {
          send({ type: "cancel", id });
          const hasGrammar = "format" in request && request.format !== undefined;
          timer = setTimeout(() => child.kill("SIGKILL"), hasGrammar ? grammarCancelLimitMs : cancelLimitMs);
        };
        const settle = (finish: () => void) => {
          clearTimeout(timer);
          callSignal.removeEventListener("abort", cancel);
          pending.delete(id);
          if (callSignal.aborted) reject(cancelled());
          else finish();
        };
        pending.set(id, {
          // What was on its way when the caller cancelled is not for its ears.
          event: (event) => void (callSignal.aborted || onEvent(event)),
          done: (value) => settle(() => resolve(value as never)),
          fail: (error) => settle(() => reject(error)),
        });
        callSignal.addEventListener("abort", cancel, { once: true });
        send({ ...request, id });
      });
    },
  };
}

function deliver(
  pending: ReadonlyMap<number, Pending>,
  reply: Exclude<ChildReply, { type: "ready" | "broken" }>,
): void {
  const request = pending.get(reply.id);
  if (request === undefined) return;
  if (reply.type === "done") request.done(reply.value);
  else if (reply.type === "failed") request.fail(new ChildFailure(reply.code, reply.message, countsOf(reply)));
  else request.event(reply);
}

function countsOf({
  promptTokens,
  contextTokens,
}: {
  readonly promptTokens?: number;
  readonly contextTokens?: number;
}) {
  return promptTokens === undefined || contextTokens === undefined ? {} : { promptTokens, contextTokens };
}

function forkChild({ entry, nodeExecutable, modulePath, threads }: ChildOptions): ChildProcess {
  const isPosix = process.platform !== "win32";
  return fork(entry, [modulePath, String(process.pid), String(threads)], {
    // A crash must not leave gigabytes of core dump. `exec` keeps the pid and the channel.
    execPath: isPosix ? "/bin/sh" : nodeExecutable,
    execArgv: isPosix ? ["-c", 'ulimit -c 0; exec "$0" "$@"', nodeExecutable, ...nodeFlags] : nodeFlags,
    env: { ...process.env, ...mallocEnvironment },
    // stdout belongs to the protocol, so the child's goes where its stderr goes.
    stdio: ["ignore", "pipe", "pipe", "ipc"],
    windowsHide: true,
  } as Parameters<typeof fork>[2]);
}

/** Waits for `work`, but no longer than `limitMs` or until the abort, and then runs `giveUp` first. */
export async function withinLimit<Result>(
  work: Promise<Result>,
  limitMs: number,
  message: string,
  signal: AbortSignal,
  giveUp: () => Promise<void>,
): Promise<Result> {
  let timer: NodeJS.Timeout | undefined;
  let onAbort: (() => void) | undefined;
  try {
    return await Promise.race([
      work,
      new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new ChildFailure("failed", message)), limitMs);
        onAbort = () => reject(new Cancelled("the engine's work was cancelled", { cause: signal.reason }));
        if (signal.aborted) onAbort();
        else signal.addEventListener("abort", onAbort, { once: true });
      }),
    ]);
  } catch (error) {
    await giveUp();
    throw error;
  } finally {
    clearTimeout(timer);
    if (onAbort !== undefined) signal.removeEventListener("abort", onAbort);
  }
}
