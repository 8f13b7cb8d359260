import { Worker } from "node:worker_threads";
import { Cancelled } from "../api/errors.ts";
import { formatDuration } from "../util/format-bytes.ts";
import { builtFile } from "../util/node-executable.ts";
import type { QueryReport, QueryRows } from "./query-worker.ts";

/** To start the thread and to read the rows: 100,000 take a second. */
const openMs = 30_000;
const runMs = 10_000;
/** Limit for the thread's own objects; the database has a limit of its own. */
const maxOldGenerationSizeMb = 2_048;

/**
 * The rows of files in a thread of their own: a query may take for ever, and ends with its thread. Why not, for files that
 * hold no rows or can't be read in time. `question`: that queries are compared with. Rejects with `Cancelled` only.
 */
export async function openQueryThread(
  files: readonly { readonly path: string; readonly text: string }[],
  signal: AbortSignal,
  question = "",
) {
  const thread = new Worker(builtFile("query-worker.mjs"), {
    workerData: { files: files.map(({ path, text }) => ({ path, text })), question },
    execArgv: [],
    stdin: false,
    resourceLimits: { maxOldGenerationSizeMb },
  });
  thread.unref();
  const opened = await reportOf(thread, openMs, signal);
  if (!("tables" in opened)) {
    await thread.terminate();
    return { problem: "problem" in opened ? opened.problem : "it gives no tables" };
  }
  const isOpen = (): boolean => !ended.has(thread);
  return {
    tables: opened.tables,
    /** Whether it can run another query: a thread that ran out of time or memory has ended. */
    isOpen,
    /** The rows, or why the query can't be run. After one that has no end no other can. Rejects with `Cancelled` only. */
    async run(sql: string, limitMs = runMs): Promise<QueryRows | { readonly problem: string }> {
      if (!isOpen()) return { problem: "the query before it had no end" };
      thread.postMessage(sql);
      const report = await reportOf(thread, limitMs, signal);
      return "found" in report ? report.found : { problem: "problem" in report ? report.problem : "it has no end" };
    },
    close: async () => void (await thread.terminate()),
  };
}

export type QueryThread = Exclude<Awaited<ReturnType<typeof openQueryThread>>, { readonly problem: string }>;

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
