import { Cancelled, OrchestratorError, UnknownJob, throwIfCancelled } from "../api/errors.ts";
import type { Emit } from "../api/events.ts";
import type { BatchSummary } from "../api/facade-batches.ts";
import type { Job, Jobs, Orchestrator, PullRequest, PullResult } from "../api/facade.ts";
import type { Log } from "../api/log.ts";
import type { CallerContext, Operation, Progress } from "../api/types.ts";
import { didYouMean } from "../util/nearest.ts";
import type { Operations, RunningFacts } from "./operations.ts";
import { createMutex } from "../util/joined-work.ts";
import {
  type JobFiles,
  type JobRecord,
  boundResult,
  expiredJobs,
  partsIn,
  partsRead,
  readKept,
  readRecord,
  recordOf,
  viewOf,
} from "./record.ts";
import { defined, messageOf } from "../util/values.ts";
import { systemTimers, within } from "../util/timers.ts";

interface JobsOptions {
  readonly now: () => number;
  readonly log: Log;
  /** Absent: jobs end with the process. */
  readonly files?: JobFiles;
  /** Read on each use, like `maxBytes`, because settings may change. */
  readonly keepHours: number;
  readonly maxBytes: number;
  readonly emit: Emit;
  /** `cancel` ends any of them, also one that a call still waits for. */
  readonly operations?: Pick<Operations, "running" | "ended">;
}

interface Entry {
  record: JobRecord;
  operation: Operation<unknown> | undefined;
  /** Resolves, never rejects, once `record` has its end. */
  ended: Promise<void>;
  isCancelRequested: boolean;
  /** The result, or the partial text, is on disk and no longer in memory. */
  isTextStored: boolean;
  bytes: number;
}

/** Limit of one stored result; 8 MiB are some two million tokens. */
const maxResultBytes = 8 * 1024 ** 2;
/** A cancelled operation that does not end within this time is reported as still running. */
const cancelBoundMs = 10_000;

/** Keeps detached operations in memory and in `files`. If the disk is full, they are lost when the daemon exits. */
export class KeptJobs implements Jobs {
  readonly #options: JobsOptions;
  readonly #entries = new Map<string, Entry>();
  /** One file at a time, in order. */
  readonly #write = createMutex();
  #isSuspended = false;

  constructor(options: JobsOptions) {
    this.#options = options;
  }

  #changed(id: string, isListChanged: boolean): void {
    this.#options.emit({ kind: "job changed", id, isListChanged });
  }

  #add(record: JobRecord, operation?: Operation<unknown>): Entry {
    const entry: Entry = {
      record,
      operation,
      ended: Promise.resolve(),
      isCancelRequested: false,
      isTextStored: false,
      bytes: 0,
    };
    this.#entries.set(record.id, entry);
    return entry;
  }

  #save(entry: Entry): void {
    const { files } = this.#options;
    const { record } = entry;
    const text = JSON.stringify(record);
    entry.bytes = Buffer.byteLength(text);
    if (files === undefined) return;
    void this.#write(async () => {
      try {
        await files.write(record.id, text);
        // Texts that are on disk are not needed in memory.
        if (entry.record === record) dropTexts(entry);
      } catch (error) {
        this.#options.log.warn(`jobs: ${record.id} was not saved and will not survive the daemon: ${messageOf(error)}`);
      }
    });
  }

  #forget(id: string): void {
    const { files } = this.#options;
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    this.#entries.delete(id);
    if (entry.record.isAwaited !== true) this.#changed(id, true);
    if (files === undefined) return;
    void this.#write(async () => {
      try {
        await files.remove(id);
      } catch (error) {
        this.#options.log.warn(`jobs: can't remove ${id}: ${messageOf(error)}`);
      }
    });
  }

  #tidy(): void {
    const kept = [...this.#entries.values()].map(({ record: { id, endedAt }, bytes }) => ({
      id,
      bytes,
      ...(endedAt === undefined ? {} : { endedAtMs: Date.parse(endedAt) }),
    }));
    const limits = { nowMs: this.#options.now(), keepHours: this.#options.keepHours, maxBytes: this.#options.maxBytes };
    for (const id of expiredJobs(kept, limits)) this.#forget(id);
  }

  #isResumable({ isCancelRequested }: Entry, hasSucceeded: boolean): boolean {
    return this.#isSuspended && !hasSucceeded && !isCancelRequested;
  }

  #end(entry: Entry, ending: Partial<JobRecord> & Pick<JobRecord, "state">): void {
    const { parts: _parts, ...record } = entry.record;
    entry.record = { ...record, ...ending, endedAt: new Date(this.#options.now()).toISOString() };
    entry.operation = undefined;
    // The next daemon finds "running" and resumes a pull.
    if (!this.#isResumable(entry, ending.state === "succeeded")) this.#save(entry);
    this.#tidy();
    this.#changed(entry.record.id, false);
  }

  #follow(entry: Entry, outcome: Promise<Readonly<Record<string, unknown>>>, textOf: (error: unknown) => string): void {
    const { operation } = entry;
    operation?.detach();
    operation?.follow(never(), (progress) => this.#progressed(entry, progress)).catch(() => undefined);
    entry.ended = outcome.then(
      (result) => this.#end(entry, { state: "succeeded", ...boundResult(result, maxResultBytes) }),
      (error: unknown) => {
        const partial = operation?.partial();
        const written = partial === undefined ? {} : { partial };
        if (error instanceof Cancelled || entry.isCancelRequested) this.#end(entry, { state: "cancelled", ...written });
        else this.#end(entry, { state: "failed", error: textOf(error), ...written });
      },
    );
  }

  /** Stores which parts of long files were read: if the daemon ends, they are named. */
  #progressed(entry: Entry, progress: Progress): void {
    const { parts } = partsIn(progress);
    if (parts !== undefined && parts.done.length > (entry.record.parts?.done.length ?? 0)) {
      entry.record = { ...entry.record, parts };
      this.#save(entry);
    }
    this.#changed(entry.record.id, false);
  }

  async #wholeView(entry: Entry): Promise<Job> {
    const { files } = this.#options;
    const view = viewOf(entry.record, entry.operation);
    if (files === undefined || !entry.isTextStored) return view;
    try {
      const read = readRecord(await files.read(view.id));
      const { result, partial } = typeof read === "object" ? read.record : {};
      if (result !== undefined) return { ...view, result };
      if (partial !== undefined) return { ...view, partial };
      return { ...view, note: "the result is lost: its file was changed" };
    } catch (error) {
      return { ...view, note: `the result can't be read: ${messageOf(error)}` };
    }
  }

  #known(): readonly Entry[] {
    this.#tidy();
    return [...this.#entries.values()].filter(({ record }) => record.isAwaited !== true);
  }

  #find(id: string): Entry {
    const jobs = this.#known();
    const found = jobs.find(({ record }) => record.id === id);
    if (found !== undefined) return found;
    const ids = jobs.map(({ record }) => record.id);
    throw new UnknownJob(`no job ${id}; results are kept for ${this.#options.keepHours} hours`, {
      next: [...didYouMean(id, ids, 1), { step: "listJobs" }],
    });
  }

  get keepHours(): number {
    return this.#options.keepHours;
  }

  adopt(caller: CallerContext, { tool, operation, outcome, errorText }: Parameters<Jobs["adopt"]>[1]): Job {
    const before = this.#entries.get(operation.id);
    if (before?.operation === operation && before.record.isAwaited !== true) {
      // Two calls waited for one operation: they share one job and the same answer.
      outcome.catch(() => undefined);
      return viewOf(before.record, before.operation);
    }
    // One that has ended began again.
    const kept = before?.operation === operation ? before : undefined;
    const { isAwaited: _awaited, ...record } = kept?.record ?? recordOf(operation, tool, caller.client);
    const entry = kept ?? this.#add({ ...record, tool }, operation);
    entry.record = { ...record, tool, ...partsIn(operation.progress()) };
    this.#save(entry);
    this.#follow(entry, outcome, errorText);
    this.#changed(operation.id, true);
    return viewOf(entry.record, entry.operation);
  }

  list(): ReturnType<Jobs["list"]> {
    return this.#known()
      .toSorted((a, b) => (a.record.startedAt < b.record.startedAt ? 1 : -1))
      .map((entry) => {
        const { result: _result, partial: _partial, ...view } = viewOf(entry.record, entry.operation);
        return view;
      });
  }

  async get(_caller: CallerContext, id: string): Promise<Job> {
    return this.#wholeView(this.#find(id));
  }

  async wait(caller: CallerContext, id: string, { maxWaitMs, onProgress }: Parameters<Jobs["wait"]>[2]): Promise<Job> {
    const entry = this.#find(id);
    const waiting = new AbortController();
    // A job continues without followers, so following it has no effect on it.
    entry.operation?.follow(waiting.signal, onProgress).catch(() => undefined);
    try {
      await waitFor(entry, caller.signal, maxWaitMs);
    } finally {
      waiting.abort("disconnected");
    }
    throwIfCancelled(caller.signal, `waiting for ${id}`);
    return this.#wholeView(entry);
  }

  async cancel(caller: CallerContext, id: string): Promise<Job> {
    const running = this.#options.operations?.running().find((operation) => operation.id === id);
    if (running !== undefined && !this.#known().some(({ record }) => record.id === id)) {
      return this.#cancelCall(caller, running);
    }
    const entry = this.#find(id);
    if (entry.operation !== undefined) {
      entry.isCancelRequested = true;
      entry.operation.cancel();
      await waitFor(entry, caller.signal, cancelBoundMs);
    }
    return this.#wholeView(entry);
  }

  /** Cancels an operation that its call still waits for. */
  async #cancelCall(caller: CallerContext, operation: Operation<unknown> & RunningFacts): Promise<Job> {
    const { operations } = this.#options;
    const pull = this.#entries.get(operation.id);
    // The next daemon must not resume it.
    if (pull !== undefined) pull.isCancelRequested = true;
    operation.cancel();
    const ended = operations?.ended(operation.id) ?? Promise.resolve();
    await waitFor({ ended }, caller.signal, cancelBoundMs);
    const { id, kind, title, startedAtMs, client = "unknown" } = operation;
    return { id, kind, title, client, state: operation.state(), startedAt: new Date(startedAtMs).toISOString() };
  }

  /** Stores a pull while its call still waits, so that it survives the daemon. `ended` resolves when the pull ends. */
  recordPull(operation: Operation<PullResult>, client: string, pull: PullRequest, ended: Promise<void>): void {
    if (this.#entries.has(operation.id)) return;
    const { model, from, engine } = pull;
    if (engine === undefined) throw new Error("a stored pull needs its engine");
    const named = { model, engine, ...defined({ from }) };
    const entry = this.#add({ ...recordOf(operation, "pull_model", client), pull: named, isAwaited: true }, operation);
    this.#save(entry);
    entry.ended = ended.then(() => {
      if (entry.record.isAwaited !== true || this.#isResumable(entry, operation.state() === "succeeded")) return;
      this.#forget(operation.id);
    });
  }

  /**
   * Reads the jobs of earlier daemons. Running pulls and batches are restarted under the same id; other running jobs have
   * failed. A file that can't be read is set aside.
   */
  async restore(
    start: {
      readonly pull: (record: { readonly id: string; readonly pull: PullRequest }) => Operation<PullResult>;
      readonly batch: (id: string) => Promise<Operation<BatchSummary>>;
    },
    answers: Parameters<Orchestrator["resume"]>[0],
  ): Promise<void> {
    const { files } = this.#options;
    if (files === undefined) return;
    await files.removeLeftovers();
    for (const id of await files.list()) {
      const record = await readKept(files, id, this.#options.log);
      if (record === undefined || this.#entries.has(record.id)) continue;
      const { isAwaited: _awaited, ...job } = record;
      const entry = this.#add(job);
      if (job.state !== "running") {
        entry.bytes = Buffer.byteLength(JSON.stringify(job));
        dropTexts(entry);
      } else if (job.pull !== undefined || job.kind === "batch") {
        const { pull } = job;
        const follow = async <Result>(operation: Operation<Result>): Promise<Result> => {
          entry.operation = operation;
          operation.detach();
          operation.follow(never(), (progress) => this.#progressed(entry, progress)).catch(() => undefined);
          return operation.follow(never());
        };
        const restart = async (): Promise<Readonly<Record<string, unknown>>> =>
          pull === undefined
            ? answers.ofBatch(await follow(await start.batch(job.id)))
            : answers.ofPull(await follow(start.pull({ id: job.id, pull })));
        this.#save(entry);
        this.#follow(entry, restart(), (error) => answers.ofError(error, job.tool));
      } else {
        const error = new OrchestratorError(`the daemon exited while the job was running${partsRead(job)}`, {
          next: { step: "retry" },
        });
        this.#end(entry, { state: "failed", error: answers.ofError(error, job.tool) });
      }
    }
    this.#tidy();
  }

  /** From now on jobs that are aborted keep the state "running", so that the next daemon resumes them. */
  suspend(): void {
    this.#isSuspended = true;
    // Operations that were cancelled before must not be resumed by the next daemon.
    for (const entry of this.#entries.values()) entry.isCancelRequested ||= entry.operation?.isAborted() === true;
  }

  /** Resolves when all writes are done. */
  async settled(): Promise<void> {
    await Promise.all([...this.#entries.values()].map(({ ended }) => ended));
    await this.#write(() => Promise.resolve());
  }
}

function dropTexts(entry: Entry): void {
  const { result, partial, ...rest } = entry.record;
  if (result === undefined && partial === undefined) return;
  entry.record = rest;
  entry.isTextStored = true;
}

/** Resolves when the job has ended, the signal aborts, or the time is over. */
async function waitFor(entry: Pick<Entry, "ended">, signal: AbortSignal, maxWaitMs: number): Promise<void> {
  await within(
    { ms: maxWaitMs, signal, timers: systemTimers },
    async () => entry.ended,
    () => undefined,
  );
}

/** A signal that never aborts: a job's operation does not depend on a call. */
function never(): AbortSignal {
  return new AbortController().signal;
}
