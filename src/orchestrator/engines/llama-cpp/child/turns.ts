import { setImmediate as nextTurn } from "node:timers/promises";
import type { DecodeThreads } from "./threads.ts";

/** While answers are written, a piece of a prompt and the tokens beside it take so many milliseconds together. */
const gapMs = 200;
/** Of so many pieces one is of the prompt that has waited longest for its next, the others are of the shortest. */
const pieces = 4;

interface PieceTurn {
  readonly leftTokens: number;
  readonly since: number;
  /** Resolves when it was computed; never rejects. */
  readonly run: () => Promise<unknown>;
}

/** An answer that is being written. */
export interface WritingAnswer {
  /** It should be the same each time, so it is computed in the same way each time. */
  readonly isHeld: boolean;
}

/** Pieces of prompts that are read while answers are written: as large as time allows, as the last ones were measured. */
export function createPieceSize(batchTokens: number) {
  let size = Math.min(16, batchTokens);
  return {
    /** Tokens of the next piece. */
    get tokens() {
      return size;
    },
    /** So many tokens took so many milliseconds, and should have taken `aimMs`. */
    measured(tokens: number, ms: number, aimMs: number) {
      // The last piece of a prompt says little.
      if (tokens < size) return;
      const factor = Math.min(2, Math.max(0.5, aimMs / Math.max(ms, 0.01)));
      size = Math.min(batchTokens, Math.max(1, Math.round(size * factor)));
    },
  };
}

/** The index of the prompt of which a piece is read: `count` pieces were read before. */
export function nextPiece(waiting: readonly Pick<PieceTurn, "leftTokens" | "since">[], count: number): number {
  const isOldest = count % pieces === pieces - 1;
  const rank = ({ leftTokens, since }: Pick<PieceTurn, "leftTokens" | "since">) => (isOldest ? since : leftTokens);
  let chosen = 0;
  waiting.forEach((each, index) => {
    const before = waiting[chosen];
    if (before !== undefined && rank(each) < rank(before)) chosen = index;
  });
  return chosen;
}

/**
 * What this process computes, step by step: a token of each answer that is being written, all in one batch, then a piece
 * of one prompt. An answer that isn't back from its last token at the end of a step isn't waited for.
 */
export class Turns {
  readonly #threads: Pick<DecodeThreads, "begin" | "beforeToken">;
  readonly #answers = new Set<WritingAnswer>();
  /** Those of one context are computed together. */
  #tokens: (Pick<PieceTurn, "run"> & { readonly answer: WritingAnswer; readonly context: object })[] = [];
  #pieces: PieceTurn[] = [];
  #piecesRead = 0;
  #stepMs = 0;
  #isRunning = false;

  constructor(threads: Pick<DecodeThreads, "begin" | "beforeToken">) {
    this.#threads = threads;
  }

  /** Milliseconds that a piece of a prompt may take; undefined: no answer is being written. */
  get aimMs(): number | undefined {
    // At least half of the time is for prompts.
    return this.#answers.size === 0 ? undefined : Math.max(gapMs - this.#stepMs, this.#stepMs);
  }

  /** Computes the next token of an answer, together with those of others. */
  token<Result>(answer: WritingAnswer, context: object, compute: () => Promise<Result>): Promise<Result> {
    this.#answers.add(answer);
    return this.#wait(compute, (run) => this.#tokens.push({ run, answer, context }));
  }

  /** Reads a piece of a prompt of which so many tokens are left, and whose last one was read, or which came, at that time. */
  piece<Result>(leftTokens: number, since: number, compute: () => Promise<Result>): Promise<Result> {
    return this.#wait(compute, (run) => this.#pieces.push({ run, leftTokens, since }));
  }

  /** The answer has ended or is paused. */
  leave(answer: WritingAnswer): void {
    this.#answers.delete(answer);
  }

  #wait<Result>(compute: () => Promise<Result>, enter: (run: PieceTurn["run"]) => void): Promise<Result> {
    return new Promise((resolve, reject) => {
      enter(() => compute().then(resolve, reject));
      if (!this.#isRunning) void this.#run();
    });
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    while (this.#tokens.length + this.#pieces.length > 0) {
      // The others are back from their last token by then.
      if (this.#answers.size + this.#pieces.length > 1) await nextTurn();
      await this.#step();
      await this.#read();
    }
    this.#isRunning = false;
  }

  async #step(): Promise<void> {
    const context = this.#tokens[0]?.context;
    const step = this.#tokens.filter((each) => each.context === context);
    if (step.length === 0) return;
    this.#tokens = this.#tokens.filter((each) => each.context !== context);
    const isHeld = step.some(({ answer }) => answer.isHeld);
    this.#threads.beforeToken(step.length, isHeld);
    const startedAt = performance.now();
    await Promise.all(step.map(({ run }) => run()));
    this.#stepMs += (performance.now() - startedAt - this.#stepMs) / 4;
  }

  async #read(): Promise<void> {
    const [piece] = this.#pieces.splice(nextPiece(this.#pieces, this.#piecesRead), 1);
    if (piece === undefined) return;
    this.#piecesRead += 1;
    await piece.run();
    this.#threads.begin();
  }
}
