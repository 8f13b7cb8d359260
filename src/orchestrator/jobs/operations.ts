import { randomUUID } from "node:crypto";
import { Cancelled } from "../api/errors.ts";
import type { Emit } from "../api/events.ts";
import type { Operation, OperationKind, OperationState, PartialText, Progress } from "../api/types.ts";
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
}

export interface Operations {
  start<Result>(spec: OperationSpec, work: (context: OperationContext) => Promise<Result>): Operation<Result>;
  /** The running operations, oldest first. */
  running(): readonly (Operation<unknown> & RunningFacts)[];
  /** Resolves when the work of the operation has ended in any way; at once if it isn't running. */
  ended(id: string): Promise<void>;
  /** Aborts all operations and resolves when their work has ended. */
  close(): Promise<void>;
}

interface Running {
  readonly operation: Operation<unknown> & RunningFacts;
  readonly spec: OperationSpec;
  readonly settled: Promise<void>;
}

/**
 * Runs all pulls, loads and generations; see `Operation` for what ends one. Ids (`pull-3f9a2c1b`) are random: they
 * outlive the process as ids of jobs, where a counter would repeat itself.
 */
export function createOperations(now: () => number, emit: Emit): Operations {
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
    const operation = new RunningOperation(id, spec, now, work);
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
    running: () => [...running.values()].map((entry) => entry.operation),
    ended: (id) => running.get(id)?.settled ?? Promise.resolve(),
    async close() {
      const entries = [...running.values()];
      for (const { operation } of entries) operation.cancel();
      await Promise.all(entries.map((entry) => entry.settled));
    },
  };
}

class RunningOperation<Result> implements Operation<Result>, RunningFacts {
  readonly id: string;
  readonly startedAtMs: number;
  readonly #now: () => number;
  readonly #spec: OperationSpec;
  readonly #work: JoinedWork<Result, Progress>;
  readonly #background = new AbortController();
  #state: OperationState = "running";
  #text = "";
  #thinking = "";
  #model: string | undefined;
  #textSinceMs: number | undefined;
  #tokens = 0;
  readonly #answers = new Map<string, string>();

  constructor(
    id: string,
    spec: OperationSpec,
    now: () => number,
    work: (context: OperationContext) => Promise<Result>,
  ) {
    this.id = id;
    this.startedAtMs = now();
    this.#now = now;
    this.#spec = spec;
    this.#work = new JoinedWork<Result, Progress>(
      spec.title,
      (signal, report) => work(this.#context(signal, report)),
      (reason) => this.#background.signal.aborted || (reason === "disconnected" && spec.kind === "pull"),
    );
    this.#work.outcome.then(
      () => (this.#state = "succeeded"),
      (error: unknown) => (this.#state = error instanceof Cancelled ? "cancelled" : "failed"),
    );
  }

  get kind(): OperationKind {
    return this.#spec.kind;
  }

  get title(): string {
    return this.#spec.title;
  }

  get client(): string | undefined {
    return this.#spec.client;
  }

  get model(): string | undefined {
    return this.#model;
  }

  get textSinceMs(): number | undefined {
    return this.#textSinceMs;
  }

  /** Resolves when the work has ended in any way. */
  get settled(): Promise<void> {
    return this.#work.settled;
  }

  state(): OperationState {
    return this.#state;
  }

  isAborted(): boolean {
    return this.#work.isAborted;
  }

  progress(): Progress | undefined {
    return this.#work.newest;
  }

  partial(): PartialText | undefined {
    const [text, thinking] = [this.#text, this.#thinking];
    if (text === "" && thinking === "" && this.#answers.size === 0) return undefined;
    const answers = [...this.#answers].map(([model, answer]) => ({ model, text: answer }));
    return { text, thinking, ...(answers.length > 0 && { answers }) };
  }

  follow(signal: AbortSignal, onProgress?: (progress: Progress) => void): Promise<Result> {
    return this.#work.follow(signal, onProgress);
  }

  detach(): void {
    this.#background.abort();
  }

  cancel(): void {
    this.#work.abort("cancelled");
  }

  /** A plain object: work passes parts of it on. */
  #context(signal: AbortSignal, report: (progress: Progress) => void): OperationContext {
    const background = this.#background;
    return {
      signal,
      // Hardly ever read: most answers don't wait.
      get background() {
        return background.signal;
      },
      report: (progress) => {
        const { model = this.#model, completionTokens } = progress;
        this.#model = model;
        if (completionTokens !== undefined) {
          // Fewer than before: another answer began.
          if (completionTokens < this.#tokens) this.#textSinceMs = this.#now();
          this.#textSinceMs ??= this.#now();
          this.#tokens = completionTokens;
        }
        report(progress);
      },
      addText: (delta) => {
        this.#text += delta;
      },
      addThinking: (delta) => {
        this.#thinking += delta;
      },
      hasText: () => this.#text !== "" || this.#thinking !== "",
      clearText: () => {
        this.#text = "";
        this.#thinking = "";
      },
      setAnswer: (model, text) => void this.#answers.set(model, text),
    };
  }
}
