import { Worker } from "node:worker_threads";
import { Cancelled } from "../api/errors.ts";
import { formatDuration } from "../util/format-bytes.ts";
import { builtFile } from "../util/node-executable.ts";
import type { QueryReport, QueryRows, TableOutline } from "./query-worker.ts";

/** To start the thread and to read the rows: 100,000 take a second. */
const openMs = 30_000;
const runMs = 10_000;
/** Limit for the thread's own objects; the database has a limit of its own. */
const maxOldGenerationSizeMb = 2_048;

/** The rows of files in a thread of their own: a query may take for ever, and ends with its thread. */
export class QueryThread {
  readonly tables: readonly TableOutline[];
  readonly #thread: Worker;
  readonly #signal: AbortSignal;

  private constructor(thread: Worker, tables: readonly TableOutline[], signal: AbortSignal) {
    this.#thread = thread;
    this.tables = tables;
    this.#signal = signal;
  }

  /** Why not, for files that hold no rows or can't be read in time. Rejects with `Cancelled` only. */
  static async open(
    files: readonly { readonly path: string; readonly text: string }[],
    signal: AbortSignal,
    /** That queries are compared with. */
    question = "",
  ): Promise<QueryThread | { readonly problem: string }> {
    const thread = new Worker(builtFile("query-worker.mjs"), {
      workerData: { files: files.map(({ path, text }) => ({ path, text })), question },
      execArgv: [],
      stdin: false,
      resourceLimits: { maxOldGenerationSizeMb },
    });
    thread.unref();
    const report = await reportOf(thread, openMs, signal);
    if ("tables" in report) return new QueryThread(thread, report.tables, signal);
    await thread.terminate();
    return { problem: "problem" in report ? report.problem : "it gives no tables" };
  }

  /** Whether it can run another query: a thread that ran out of time or memory has ended. */
  get isOpen(): boolean {
    // -1 once it has ended, and at once after `terminate`.
    return !ended.has(this.#thread);
  }

  /** The rows, or why the query can't be run. After one that has no end no other can. Rejects with `Cancelled` only. */
  async run(sql: string, limitMs = runMs): Promise<QueryRows | { readonly problem: string }> {
    if (!this.isOpen) return { problem: "the query before it had no end" };
    this.#thread.postMessage(sql);
    const report = await reportOf(this.#thread, limitMs, this.#signal);
    return "found" in report ? report.found : { problem: "problem" in report ? report.problem : "it has no end" };
  }

  async close(): Promise<void> {
    await this.#thread.terminate();
  }
}

/** Threads that ran out of time or memory. */
const ended = new WeakSet<Worker>();

/** The next message of the thread, which ends after an abort, or when there is none in time. */
function reportOf(thread: Worker, ms: number, signal: AbortSignal): Promise<QueryReport> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
      for (const event of ["message", "error", "exit"]) thread.removeAllListeners(event);
      // An error without a listener would end the daemon.
      thread.on("error", () => undefined);
      act();
    };
    const fail = (problem: string): void => settle(() => resolve({ problem }));
    const onAbort = (): void => {
      void thread.terminate();
      settle(() => reject(new Cancelled("the request was cancelled", { cause: signal.reason })));
    };
    const timer = setTimeout(() => {
      ended.add(thread);
      void thread.terminate();
      fail(`it takes longer than ${formatDuration(ms)}`);
    }, ms);
    thread.on("message", (message: QueryReport) => settle(() => resolve(message)));
    thread.on("error", ({ message }: Error) => fail(message));
    thread.on("exit", () => {
      ended.add(thread);
      fail("its thread has ended");
    });
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
  });
}
