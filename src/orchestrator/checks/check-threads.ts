import { Worker } from "node:worker_threads";
import { Cancelled, throwIfCancelled } from "../api/errors.ts";
import { counted } from "../util/format-bytes.ts";
import type { CheckReport, CheckWork } from "./check-worker.ts";
import type { Asking } from "../generation/ports.ts";
import { messageOf } from "../util/values.ts";

/** What a check found, or why it has no end, and what it had found until then. */
type CheckEnd =
  | { readonly found: unknown }
  /** `isOwnFault`: another thread would not finish it, either. */
  | { readonly unfinished: string; readonly isOwnFault: boolean; readonly sofar: unknown };

interface Task extends Asking {
  readonly work: CheckWork;
  /** Gets what was found; undefined after an abort. */
  readonly end: (checked: CheckEnd | undefined) => void;
}

/** Two, so that one caller's check holds up no other's. */
const maxThreads = 2;
/** For the work alone, in milliseconds. Quotes are looked for in whole files: 1.9 MB take about 0.1 s. */
const limitsMs = { format: 500, validate: 500, quotes: 5_000, values: 5_000 } as const;
/** To start a thread, also on a busy machine. */
const startMs = 10_000;
/** A thread holds 10 MB. */
const idleMs = 60_000;

/**
 * Runs checks of answers outside the main thread. Threads start when they are needed. Callers take turns, each with one
 * check at a time; one that runs out of time, or whose request is aborted, ends with its thread.
 */
export class CheckThreads {
  readonly #entry: string;
  /** By caller, whose turn is next first. */
  readonly #waiting = new Map<string, Task[]>();
  readonly #served = new Set<string>();
  readonly #idle = new Map<Worker, { readonly drop: () => void; readonly timer: NodeJS.Timeout }>();

  /** `entry` is the absolute path of the built `check-worker.mjs`; idle threads end when `signal` aborts. */
  constructor(entry: string, signal: AbortSignal) {
    this.#entry = entry;
    signal.addEventListener("abort", () => this.#idle.forEach(({ drop }) => drop()), { once: true });
  }

  /** Rejects with `Cancelled` only. */
  async run(work: CheckWork, { caller, signal }: Asking): Promise<CheckEnd> {
    throwIfCancelled(signal, "the request");
    const checked = await new Promise<CheckEnd | undefined>((resolve) => {
      const task: Task = {
        work,
        caller,
        signal,
        end(result) {
          signal.removeEventListener("abort", leave);
          resolve(result);
        },
      };
      const leave = (): void => {
        const tasks = this.#waiting.get(caller) ?? [];
        const at = tasks.indexOf(task);
        // One that has begun is ended by its thread.
        if (at < 0) return;
        tasks.splice(at, 1);
        if (tasks.length === 0) this.#waiting.delete(caller);
        task.end(undefined);
      };
      signal.addEventListener("abort", leave, { once: true });
      this.#waiting.set(caller, [...(this.#waiting.get(caller) ?? []), task]);
      this.#serve();
    });
    if (checked === undefined) throw new Cancelled("the request was cancelled", { cause: signal.reason });
    return checked;
  }

  #serve(): void {
    for (const [caller, [task, ...others]] of this.#waiting) {
      if (this.#served.size >= maxThreads) return;
      if (task === undefined || this.#served.has(caller)) continue;
      if (others.length > 0) this.#waiting.set(caller, others);
      else this.#waiting.delete(caller);
      this.#served.add(caller);
      void this.#perform(task).then((checked) => {
        this.#served.delete(caller);
        // The next turn of a caller comes after those of the others.
        const left = this.#waiting.get(caller);
        this.#waiting.delete(caller);
        if (left !== undefined) this.#waiting.set(caller, left);
        task.end(checked);
        this.#serve();
      });
    }
  }

  /** Never rejects. Undefined after an abort. */
  #perform({ work, signal }: Task): Promise<CheckEnd | undefined> {
    return new Promise((resolve) => {
      const kept = this.#taken();
      let thread: Worker;
      try {
        thread = kept ?? this.#start();
      } catch (error) {
        // Where no thread can be created, the constructor throws.
        const reason = messageOf(error);
        return resolve({
          unfinished: `its thread could not be started: ${reason}`,
          isOwnFault: false,
          sofar: undefined,
        });
      }
      let isOver = false;
      let sofar: unknown;
      let timer: NodeJS.Timeout | undefined;
      const end = (checked: CheckEnd | undefined, isUsable = false): void => {
        if (isOver) return;
        isOver = true;
        clearTimeout(timer);
        signal.removeEventListener("abort", onAbort);
        quieted(thread);
        if (isUsable) this.#keep(thread);
        else void thread.terminate();
        resolve(checked);
      };
      const fail = (unfinished: string, isOwnFault = false): void => end({ unfinished, isOwnFault, sofar });
      const onAbort = (): void => end(undefined);
      const limit = (ms: number, unfinished: string, isOwnFault: boolean): void => {
        clearTimeout(timer);
        // A message that arrived while the main thread was busy is read first.
        timer = setTimeout(() => setImmediate(() => fail(unfinished, isOwnFault)), ms);
      };
      const begin = (): void => {
        const ms = limitsMs[work.kind];
        limit(ms, `it takes longer than ${ms < 1_000 ? `${ms} ms` : counted(ms / 1_000, "second")}`, true);
        try {
          thread.postMessage(work);
        } catch (error) {
          fail(`it can't be passed to a thread: ${messageOf(error)}`, true);
        }
      };
      thread.on("message", ({ state, found }: CheckReport) => {
        if (state === "ready") begin();
        else if (state === "going on") sofar = found;
        else if (state === "done") end({ found }, true);
        else fail(String(found));
      });
      thread.on("error", (error: Error) => fail(`its thread failed: ${error.message}`));
      thread.on("exit", () => fail("its thread ended"));
      signal.addEventListener("abort", onAbort, { once: true });
      if (kept === undefined) limit(startMs, "its thread did not start", false);
      else begin();
    });
  }

  #start(): Worker {
    const thread = new Worker(this.#entry, { execArgv: [], stdin: false });
    thread.unref();
    return thread;
  }

  #taken(): Worker | undefined {
    const [thread] = this.#idle.keys();
    if (thread === undefined) return undefined;
    this.#release(thread);
    return thread;
  }

  #keep(thread: Worker): void {
    const drop = (): void => {
      this.#release(thread);
      void thread.terminate();
    };
    thread.on("error", drop);
    thread.on("exit", drop);
    this.#idle.set(thread, { drop, timer: setTimeout(drop, idleMs).unref() });
  }

  /** Back from the idle ones. */
  #release(thread: Worker): void {
    clearTimeout(this.#idle.get(thread)?.timer);
    this.#idle.delete(thread);
    quieted(thread);
  }
}

/** Without its listeners, but an error that it still has must not end the daemon. */
function quieted(thread: Worker): void {
  // Not all: Node has its own.
  for (const event of ["message", "error", "exit"]) thread.removeAllListeners(event);
  thread.on("error", () => undefined);
}
