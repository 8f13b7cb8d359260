import { randomUUID } from "node:crypto";
import { Cancelled, throwIfCancelled } from "../api/errors.ts";
import type { CallEnd, Operation, OperationKind, OperationState, PartialText, Progress } from "../api/types.ts";

/** The reporting functions and the abort signal of an operation's work. */
export interface OperationContext {
  readonly signal: AbortSignal;
  report(progress: Progress): void;
  addText(delta: string): void;
  addThinking(delta: string): void;
  /** Discards the partial text: another model starts over after a failure. */
  clearText(): void;
}

export interface OperationSpec {
  readonly kind: OperationKind;
  /** For the user: `pull smollm2:135m`. */
  readonly title: string;
  /** A start with the key of a running operation joins it. Absent: never joined. */
  readonly key?: string;
  /** The id of an operation that an earlier daemon began and this one continues. Absent: a new id. */
  readonly id?: string;
}

export interface Operations {
  start<Result>(spec: OperationSpec, work: (context: OperationContext) => Promise<Result>): Operation<Result>;
  /** The running operations, oldest first. */
  running(): readonly Operation<unknown>[];
  /** Resolves when the work of the operation has ended in any way; at once if it isn't running. */
  ended(id: string): Promise<void>;
  /** Aborts all operations and resolves when their work has ended. */
  close(): Promise<void>;
}

interface Running {
  readonly operation: Operation<unknown>;
  readonly spec: OperationSpec;
  readonly settled: Promise<void>;
}

/**
 * Runs all pulls, loads and generations; see `Operation` for what ends one. Ids (`pull-3f9a2c1b`) are random: they
 * outlive the process as ids of jobs, where a counter would repeat itself.
 */
export function createOperations(now: () => number): Operations {
  const running = new Map<string, Running>();

  function start<Result>(spec: OperationSpec, work: (context: OperationContext) => Promise<Result>): Operation<Result> {
    // An operation that is being aborted would pass its `Cancelled` on to those who join.
    const joined = [...running.values()].find(
      (entry) => spec.key !== undefined && entry.spec.key === spec.key && !entry.operation.isAborted(),
    );
    // Keys name the kind of work as well as its subject, so equal keys have equal result types.
    if (joined !== undefined) return joined.operation as Operation<Result>;

    const id = spec.id ?? `${spec.kind}-${randomUUID().slice(0, 8)}`;
    const { operation, settled } = createOperation(id, spec, now(), work);
    running.set(id, { operation, spec, settled });
    void settled.then(() => running.delete(id));
    return operation;
  }

  return {
    start,
    running: () => [...running.values()].map((entry) => entry.operation),
    ended: (id) => running.get(id)?.settled ?? Promise.resolve(),
    async close() {
      const entries = [...running.values()];
      for (const { operation } of entries) operation.cancel();
      await Promise.all(entries.map((entry) => entry.settled));
    },
  };
}

function createOperation<Result>(
  id: string,
  spec: OperationSpec,
  startedAtMs: number,
  work: (context: OperationContext) => Promise<Result>,
): { operation: Operation<Result>; settled: Promise<void> } {
  const controller = new AbortController();
  const listeners = new Set<(progress: Progress) => void>();
  let followerCount = 0;
  let isDetached = false;
  let state: OperationState = "running";
  let progress: Progress | undefined;
  let partial: PartialText | undefined;

  const addPartial = (text: string, thinking: string) => {
    partial = { text: (partial?.text ?? "") + text, thinking: (partial?.thinking ?? "") + thinking };
  };
  const context: OperationContext = {
    signal: controller.signal,
    report(next) {
      progress = next;
      for (const listener of listeners) listener(next);
    },
    addText: (delta) => addPartial(delta, ""),
    addThinking: (delta) => addPartial("", delta),
    clearText() {
      partial = undefined;
    },
  };

  // The work starts in a microtask, so that the caller can follow before the first report.
  const outcome = Promise.resolve()
    .then(() => {
      throwIfCancelled(controller.signal, spec.title);
      return work(context);
    })
    .then(
      (result) => {
        state = "succeeded";
        return result;
      },
      (error: unknown) => {
        state = error instanceof Cancelled ? "cancelled" : "failed";
        throw error;
      },
    );
  const settled = outcome.then(
    () => undefined,
    () => undefined,
  );

  const leave = (end: CallEnd | undefined) => {
    const isKeptAlive = isDetached || (end === "disconnected" && spec.kind === "pull");
    if (followerCount === 0 && state === "running" && !isKeptAlive) controller.abort(end ?? "cancelled");
  };

  const operation: Operation<Result> = {
    id,
    kind: spec.kind,
    title: spec.title,
    startedAtMs,
    state: () => state,
    isAborted: () => controller.signal.aborted,
    progress: () => progress,
    partial: () => partial,
    async follow(signal, onProgress) {
      followerCount += 1;
      if (onProgress !== undefined) {
        listeners.add(onProgress);
        if (progress !== undefined) onProgress(progress);
      }
      let onAbort: (() => void) | undefined;
      const aborted = new Promise<never>((_resolve, reject) => {
        onAbort = () => reject(new Cancelled(`${spec.title} was cancelled`, { cause: signal.reason }));
        if (signal.aborted) onAbort();
        else signal.addEventListener("abort", onAbort, { once: true });
      });
      try {
        return await Promise.race([outcome, aborted]);
      } finally {
        if (onAbort !== undefined) signal.removeEventListener("abort", onAbort);
        if (onProgress !== undefined) listeners.delete(onProgress);
        followerCount -= 1;
        leave(signal.aborted ? callEnd(signal.reason) : undefined);
      }
    },
    detach() {
      isDetached = true;
    },
    cancel() {
      controller.abort("cancelled");
    },
  };
  return { operation, settled };
}

function callEnd(reason: unknown): CallEnd {
  return reason === "disconnected" ? "disconnected" : "cancelled";
}
