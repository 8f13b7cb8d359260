import { randomUUID } from "node:crypto";
import { Cancelled } from "../api/errors.ts";
import type { Emit } from "../api/events.ts";
import type { Operation, OperationKind, OperationState, Progress } from "../api/types.ts";
import { JoinedWork } from "../util/joined-work.ts";

/** The reporting functions and the abort signal of an operation's work. */
export interface OperationContext {
  readonly signal: AbortSignal;
  /** Aborts when its call lets go of it: it is a job from then on. */
  readonly background: AbortSignal;
  report(progress: Progress): void;
  addText(delta: string): void;
  addThinking(delta: string): void;
  /** Whether a part of the answer was passed on: a program that streams it has the beginning. Absent: no program does. */
  hasText?(): boolean;
  /** Whether the text is held back because it may be the arguments of a call, which may repeat themselves. */
  holdsText?(): boolean;
  /** Discards the partial text: another model starts over after a failure. */
  clearText(): void;
  /** Replaces the answer of one of several models, which is shown beside the others. */
  setAnswer(model: string, text: string): void;
}

interface OperationSpec {
  readonly kind: OperationKind;
  /** For the user: `pull smollm2:135m`. */
  readonly title: string;
  /** The client that began it; absent: this program. */
  readonly client?: string;
  /** A start with the key of a running operation joins it. Absent: never joined. */
  readonly key?: string;
  /** The id of an operation that an earlier daemon began and this one continues. Absent: a new id. */
  readonly id?: string;
}

/** What is seen of an operation while it runs. */
export interface RunningFacts {
  readonly client: string | undefined;
  /** The model that works for it now, as its progress names it. */
  readonly model: string | undefined;
  /** When its present answer began, since the epoch. */
  readonly textSinceMs: number | undefined;
  /** When its `completedBytes` changed last, since the epoch. */
  readonly bytesAtMs: number | undefined;
}

export type Operations = ReturnType<typeof createOperations>;

interface Running {
  readonly operation: Operation<unknown> & RunningFacts;
  readonly spec: OperationSpec;
  readonly settled: Promise<void>;
}

/**
 * Runs all pulls, loads and generations; see `Operation` for what ends one. Ids (`pull-3f9a2c1b`) are random: they
 * outlive the process as ids of jobs, where a counter would repeat itself.
 */
export function createOperations(now: () => number, emit: Emit) {
  const running = new Map<string, Running>();

  function start<Result>(spec: OperationSpec, work: (context: OperationContext) => Promise<Result>): Operation<Result> {
    // An operation that is being aborted would pass its `Cancelled` on to those who join.
    const joined =
      spec.key === undefined
        ? undefined
        : [...running.values()].find((entry) => entry.spec.key === spec.key && !entry.operation.isAborted());
    // Keys name the kind of work as well as its subject, so equal keys have equal result types.
    if (joined !== undefined) return joined.operation as Operation<Result>;

    const id = spec.id ?? `${spec.kind}-${randomUUID().slice(0, 8)}`;
    const operation = runOperation(id, spec, now, work);
    const { settled } = operation;
    running.set(id, { operation, spec, settled });
    emit({ kind: "operations changed" });
    void settled.then(() => {
      // One that was cancelled may have begun again by now.
      if (running.get(id)?.operation === operation) running.delete(id);
      emit({ kind: "operations changed" });
    });
    return operation;
  }

  return {
    start,
    /** The running operations, oldest first. */
    running: () => [...running.values()].map((entry) => entry.operation),
    /** Resolves when the work of the operation has ended in any way; at once if it isn't running. */
    ended: (id: string) => running.get(id)?.settled ?? Promise.resolve(),
    /** Aborts all operations and resolves when their work has ended. */
    async close() {
      const entries = [...running.values()];
      for (const { operation } of entries) operation.cancel();
      await Promise.all(entries.map((entry) => entry.settled));
    },
  };
}

function runOperation<Result>(
  id: string,
  { kind, title, client }: OperationSpec,
  now: () => number,
  work: (context: OperationContext) => Promise<Result>,
): Operation<Result> & RunningFacts & Pick<Running, "settled"> {
  const background = new AbortController();
  const answers = new Map<string, string>();
  let state: OperationState = "running";
  let [text, thinking] = ["", ""];
  let model: string | undefined;
  let textSinceMs: number | undefined;
  let tokens = 0;
  let bytesAtMs: number | undefined;

  /** A plain object: work passes parts of it on. */
  const contextOf = (signal: AbortSignal, report: (progress: Progress) => void): OperationContext => ({
    signal,
    // Hardly ever read: most answers don't wait.
    get background() {
      return background.signal;
    },
    report: (progress) => {
      const { completionTokens, completedBytes } = progress;
      ({ model = model } = progress);
      if (completionTokens !== undefined) {
        // Fewer than before: another answer began.
        if (completionTokens < tokens) textSinceMs = now();
        textSinceMs ??= now();
        tokens = completionTokens;
      }
      if (completedBytes !== undefined && completedBytes !== running.newest?.completedBytes) bytesAtMs = now();
      report(progress);
    },
    addText: (delta) => void (text += delta),
    addThinking: (delta) => void (thinking += delta),
    hasText: () => text !== "" || thinking !== "",
    clearText: () => void ([text, thinking] = ["", ""]),
    setAnswer: (name, answer) => void answers.set(name, answer),
  });
  const running = new JoinedWork<Result, Progress>(
    title,
    (signal, report) => work(contextOf(signal, report)),
    (reason) => background.signal.aborted || (reason === "disconnected" && kind === "pull"),
  );
  running.outcome.then(
    () => (state = "succeeded"),
    (error: unknown) => (state = error instanceof Cancelled ? "cancelled" : "failed"),
  );
  return {
    id,
    kind,
    title,
    client,
    startedAtMs: now(),
    get model() {
      return model;
    },
    get textSinceMs() {
      return textSinceMs;
    },
    get bytesAtMs() {
      return bytesAtMs;
    },
    settled: running.settled,
    state: () => state,
    isAborted: () => running.isAborted,
    progress: () => running.newest,
    partial() {
      if (text === "" && thinking === "" && answers.size === 0) return undefined;
      const each = [...answers].map(([name, answer]) => ({ model: name, text: answer }));
      return { text, thinking, ...(each.length > 0 && { answers: each }) };
    },
    follow: (signal, onProgress) => running.follow(signal, onProgress),
    detach: () => background.abort(),
    cancel: () => running.abort("cancelled"),
  };
}
