import { Cancelled, OrchestratorError, UnknownJob, throwIfCancelled } from "../api/errors.ts";
import type { Change, Job, Jobs, PullRequest, PullResult } from "../api/facade.ts";
import type { Log } from "../api/log.ts";
import type { Operation } from "../api/types.ts";
import { nearestNames } from "../util/nearest.ts";
import { createUnderWay } from "../util/under-way.ts";
import { type JobFiles, type JobRecord, boundResult, expiredJobs, readRecord, schemaVersion } from "./record.ts";

export interface JobsOptions {
  readonly now: () => number;
  readonly log: Log;
  /** Absent: jobs end with the process. */
  readonly files?: JobFiles;
  /** Read on each use, like `maxBytes`, because settings may change. */
  readonly keepHours: number;
  readonly maxBytes: number;
  readonly publish: (change: Change) => void;
}

/** The facade's jobs, with the methods that only the orchestrator uses. */
export interface KeptJobs extends Jobs {
  /** Stores a pull while its call still waits, so that it survives the daemon. `ended` resolves when the pull ends. */
  recordPull(operation: Operation<PullResult>, client: string, pull: PullRequest, ended: Promise<void>): void;
  /**
   * Reads the jobs of earlier daemons. Running pulls are restarted with `startPull` under the same id; other running jobs
   * have failed. A file that can't be read is set aside.
   */
  restore(
    startPull: (record: { readonly id: string; readonly pull: PullRequest }) => Operation<PullResult>,
    answers: {
      readonly ofPull: (result: PullResult) => Readonly<Record<string, unknown>>;
      readonly ofError: (error: unknown, tool: string) => string;
    },
  ): Promise<void>;
  /** From now on jobs that are aborted keep the state "running", so that the next daemon resumes them. */
  suspend(): void;
  /** Resolves when all writes are done. */
  settled(): Promise<void>;
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
  writing: Promise<void>;
}

/** Limit of one stored result; 8 MiB are some two million tokens. */
const maxResultBytes = 8 * 1024 ** 2;
/** A cancelled operation that does not end within this time is reported as still running. */
const cancelBoundMs = 10_000;

/** Keeps detached operations in memory and in `files`. If the disk is full, they are lost when the daemon exits. */
export function createJobs(options: JobsOptions): KeptJobs {
  const { now, log, files, publish } = options;
  const entries = new Map<string, Entry>();
  /** Including those of jobs that were removed since. */
  const writes = createUnderWay();
  let isSuspended = false;

  const isoNow = (): string => new Date(now()).toISOString();
  const changed = (id: string, isListChanged: boolean): void => publish({ kind: "job", id, isListChanged });

  function add(record: JobRecord, operation?: Operation<unknown>): Entry {
    const entry: Entry = {
      record,
      operation,
      ended: Promise.resolve(),
      isCancelRequested: false,
      isTextStored: false,
      bytes: 0,
      writing: Promise.resolve(),
    };
    entries.set(record.id, entry);
    return entry;
  }

  function save(entry: Entry): void {
    const { record } = entry;
    const text = JSON.stringify(record);
    entry.bytes = Buffer.byteLength(text);
    if (files === undefined) return;
    const written = entry.writing
      .then(() => files.write(record.id, text))
      .then(
        () => {
          // Texts that are on disk are not needed in memory.
          if (entry.record === record) dropTexts(entry);
        },
        (error: unknown) =>
          log.warn(`jobs: ${record.id} was not saved and will not survive the daemon: ${reason(error)}`),
      );
    entry.writing = writes.count(written);
  }

  function dropTexts(entry: Entry): void {
    const { result, partial, ...rest } = entry.record;
    if (result === undefined && partial === undefined) return;
    entry.record = rest;
    entry.isTextStored = true;
  }

  function forget(id: string): void {
    const entry = entries.get(id);
    if (entry === undefined) return;
    entries.delete(id);
    if (entry.record.isAwaited !== true) changed(id, true);
    if (files === undefined) return;
    const removed = entry.writing
      .then(() => files.remove(id))
      .catch((error: unknown) => log.warn(`jobs: can't remove ${id}: ${reason(error)}`));
    entry.writing = writes.count(removed);
  }

  function tidy(): void {
    const kept = [...entries.values()].map(({ record: { id, endedAt }, bytes }) => ({
      id,
      bytes,
      ...(endedAt === undefined ? {} : { endedAtMs: Date.parse(endedAt) }),
    }));
    const limits = { nowMs: now(), keepHours: options.keepHours, maxBytes: options.maxBytes };
    for (const id of expiredJobs(kept, limits)) forget(id);
  }

  function isResumable({ isCancelRequested }: Entry, hasSucceeded: boolean): boolean {
    return isSuspended && !hasSucceeded && !isCancelRequested;
  }

  function end(entry: Entry, ending: Partial<JobRecord> & Pick<JobRecord, "state">): void {
    entry.record = { ...entry.record, ...ending, endedAt: isoNow() };
    entry.operation = undefined;
    // The next daemon finds "running" and resumes a pull.
    if (!isResumable(entry, ending.state === "succeeded")) save(entry);
    tidy();
    changed(entry.record.id, false);
  }

  function follow(
    entry: Entry,
    outcome: Promise<Readonly<Record<string, unknown>>>,
    textOf: (error: unknown) => string,
  ): void {
    const { operation } = entry;
    operation?.detach();
    operation?.follow(never(), () => changed(entry.record.id, false)).catch(() => undefined);
    entry.ended = outcome.then(
      (result) => end(entry, { state: "succeeded", ...boundResult(result, maxResultBytes) }),
      (error: unknown) => {
        const partial = operation?.partial();
        const written = partial === undefined ? {} : { partial };
        if (error instanceof Cancelled || entry.isCancelRequested) end(entry, { state: "cancelled", ...written });
        else end(entry, { state: "failed", error: textOf(error), ...written });
      },
    );
  }

  function viewOf({ record, operation }: Entry): Job {
    const { schemaVersion: _version, pull: _pull, isAwaited: _awaited, partial, result, ...facts } = record;
    const progress = operation?.progress();
    const written = operation?.partial() ?? partial;
    const { endedAt, error, note, ...rest } = facts;
    return {
      ...rest,
      ...(endedAt === undefined ? {} : { endedAt }),
      ...(error === undefined ? {} : { error }),
      ...(note === undefined ? {} : { note }),
      ...(progress === undefined ? {} : { progress }),
      ...(written === undefined ? {} : { partial: written }),
      ...(result === undefined ? {} : { result }),
    };
  }

  async function wholeView(entry: Entry): Promise<Job> {
    const view = viewOf(entry);
    if (files === undefined || !entry.isTextStored) return view;
    try {
      const read = readRecord(await files.read(view.id));
      const { result, partial } = typeof read === "object" ? read.record : {};
      if (result !== undefined) return { ...view, result };
      if (partial !== undefined) return { ...view, partial };
      return { ...view, note: "the result is lost: its file was changed" };
    } catch (error) {
      return { ...view, note: `the result can't be read: ${reason(error)}` };
    }
  }

  function known(): readonly Entry[] {
    tidy();
    return [...entries.values()].filter(({ record }) => record.isAwaited !== true);
  }

  function find(id: string): Entry {
    const jobs = known();
    const found = jobs.find(({ record }) => record.id === id);
    if (found !== undefined) return found;
    const ids = jobs.map(({ record }) => record.id);
    const [nearest] = nearestNames(id, ids, 1);
    const list = { step: "listJobs" } as const;
    throw new UnknownJob(`no job ${id}; results are kept for ${options.keepHours} hours`, {
      next: nearest === undefined ? list : [{ step: "didYouMean", names: [nearest] }, list],
    });
  }

  /** Resolves when the job has ended, the signal aborts, or the time is over. */
  async function waitFor(entry: Entry, signal: AbortSignal, maxWaitMs: number): Promise<void> {
    let stop: () => void = () => undefined;
    const stopped = new Promise<void>((resolve) => (stop = resolve));
    const timer = setTimeout(stop, Math.min(maxWaitMs, 2 ** 31 - 1));
    timer.unref();
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
    try {
      await Promise.race([entry.ended, stopped]);
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
    }
  }

  return {
    get keepHours() {
      return options.keepHours;
    },
    adopt(caller, { tool, operation, outcome, errorText }) {
      const before = entries.get(operation.id);
      if (before !== undefined && before.record.isAwaited !== true) {
        // Two calls waited for one operation: they share one job and the same answer.
        outcome.catch(() => undefined);
        return viewOf(before);
      }
      const { isAwaited: _awaited, ...record } = before?.record ?? recordOf(operation, tool, caller.client);
      const entry = before ?? add({ ...record, tool }, operation);
      entry.record = { ...record, tool };
      save(entry);
      follow(entry, outcome, errorText);
      changed(operation.id, true);
      return viewOf(entry);
    },
    list: () =>
      known()
        .toSorted((a, b) => (a.record.startedAt < b.record.startedAt ? 1 : -1))
        .map((entry) => {
          const { result: _result, partial: _partial, ...view } = viewOf(entry);
          return view;
        }),
    get: async (_caller, id) => wholeView(find(id)),
    async wait(caller, id, { maxWaitMs, onProgress }) {
      const entry = find(id);
      const waiting = new AbortController();
      // A job continues without followers, so following it has no effect on it.
      entry.operation?.follow(waiting.signal, onProgress).catch(() => undefined);
      try {
        await waitFor(entry, caller.signal, maxWaitMs);
      } finally {
        waiting.abort("disconnected");
      }
      throwIfCancelled(caller.signal, `waiting for ${id}`);
      return wholeView(entry);
    },
    async cancel(caller, id) {
      const entry = find(id);
      if (entry.operation !== undefined) {
        entry.isCancelRequested = true;
        entry.operation.cancel();
        await waitFor(entry, caller.signal, cancelBoundMs);
      }
      return wholeView(entry);
    },
    recordPull(operation, client, pull, ended) {
      if (entries.has(operation.id)) return;
      const { model, from, engine } = pull;
      if (engine === undefined) throw new Error("a stored pull needs its engine");
      const named = { model, engine, ...(from === undefined ? {} : { from }) };
      const entry = add({ ...recordOf(operation, "pull_model", client), pull: named, isAwaited: true }, operation);
      save(entry);
      entry.ended = ended.then(() => {
        if (entry.record.isAwaited !== true || isResumable(entry, operation.state() === "succeeded")) return;
        forget(operation.id);
      });
    },
    async restore(startPull, answers) {
      if (files === undefined) return;
      await files.removeLeftovers();
      for (const id of await files.list()) {
        const record = await readKept(files, id, log);
        if (record === undefined || entries.has(record.id)) continue;
        const { isAwaited: _awaited, ...job } = record;
        const entry = add(job);
        if (job.state !== "running") {
          entry.bytes = Buffer.byteLength(JSON.stringify(job));
          dropTexts(entry);
        } else if (job.pull !== undefined) {
          const { pull } = job;
          const start = async (): Promise<Readonly<Record<string, unknown>>> => {
            entry.operation = startPull({ id: job.id, pull: present(pull) });
            entry.operation.detach();
            return answers.ofPull((await entry.operation.follow(never())) as PullResult);
          };
          save(entry);
          follow(entry, start(), (error) => answers.ofError(error, job.tool));
        } else {
          const error = new OrchestratorError("the daemon exited while the job was running", {
            next: { step: "retry" },
          });
          end(entry, { state: "failed", error: answers.ofError(error, job.tool) });
        }
      }
      tidy();
    },
    suspend() {
      isSuspended = true;
      // Operations that were cancelled before must not be resumed by the next daemon.
      for (const entry of entries.values()) entry.isCancelRequested ||= entry.operation?.isAborted() === true;
    },
    async settled() {
      await Promise.all([...entries.values()].map(({ ended }) => ended));
      await writes.settled();
    },
  };
}

/** A signal that never aborts: a job's operation does not depend on a call. */
function never(): AbortSignal {
  return new AbortController().signal;
}

function recordOf(operation: Operation<unknown>, tool: string, client: string): JobRecord {
  const { id, kind, title, startedAtMs } = operation;
  const startedAt = new Date(startedAtMs).toISOString();
  return { schemaVersion, id, kind, title, tool, client, state: "running", startedAt };
}

async function readKept(files: JobFiles, id: string, log: Log): Promise<JobRecord | undefined> {
  try {
    const read = readRecord(await files.read(id));
    if (typeof read === "object" && read.record.id === id) return read.record;
    if (read === "newer") log.info(`jobs: ${id} was written by a newer version and is ignored`);
    else log.warn(`jobs: ${id} can't be read; its file is now ${await files.setAside(id)}`);
  } catch (error) {
    log.warn(`jobs: can't read ${id}: ${reason(error)}`);
  }
  return undefined;
}

function present({ model, from, engine }: { model: string; from?: string | undefined; engine: string }): PullRequest {
  return { model, engine, ...(from === undefined ? {} : { from }) };
}

function reason(error: unknown): string {
  if (error instanceof OrchestratorError || error instanceof Error) return error.message;
  return String(error);
}
