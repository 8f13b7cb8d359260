import { setImmediate as nextTurn } from "node:timers/promises";
import type { createThreadContest, DecodeThreads } from "./threads.ts";

/**
 * While answers are written, a batch takes so many milliseconds. Small pieces cost: behind 6,000 tokens llama.cpp takes as long for
 * 32 tokens as for 64 (135M, two cores: 430 ms).
 */
const gapMs = 200;
/** As long takes a batch of prompts in the background alone: what comes meanwhile waits for its end. Smaller ones cost too much. */
const behindMs = 60;
const leastBehind = 32;
/** One of so many batches reads of the prompt that has waited longest for its next piece, the others of the shortest. */
const rounds = 4;
/** A batch with fewer tokens of prompts doesn't tell which number of threads reads faster. */
const measuredTokens = 8;

interface PieceTurn {
  readonly context: unknown;
  readonly leftTokens: number;
  readonly since: number;
  /** Others may come at any time, and go first. */
  readonly isBehind: boolean;
  /** Reads so many tokens and returns how many it has read; never rejects. */
  readonly run: (tokens: number) => Promise<number>;
}

/** An answer that is being written. */
export interface WritingAnswer {
  /** It should be the same each time, so it is computed in the same way each time. */
  readonly isHeld: boolean;
}

/** How prompts are read. */
interface Reading {
  readonly batchTokens: number;
  readonly llama: { maxThreads: number };
  /** Chooses the threads. */
  readonly contest: ReturnType<typeof createThreadContest>;
}

/** Pieces of prompts that are read while answers are written: as large as time allows, as the last ones were measured. */
export function createPieceSize(batchTokens: number) {
  let size = Math.min(16, batchTokens);
  return {
    /** Tokens of the next piece. */
    get tokens() {
      return size;
    },
    /** So many tokens took so many milliseconds, and should have taken `aimMs`. `most`: there was no room for more. */
    measured(tokens: number, ms: number, aimMs: number, most = size) {
      // The last piece of a prompt says little.
      if (tokens < Math.min(size, most)) return;
      const factor = Math.min(2, Math.max(0.5, aimMs / Math.max(ms, 0.01)));
      size = Math.min(batchTokens, Math.max(1, Math.round(size * factor)));
    },
  };
}

/** The prompts of which a piece is read, in this order: `count` batches were read before. */
export function inOrder<Piece extends Pick<PieceTurn, "leftTokens" | "since">>(
  waiting: readonly Piece[],
  count: number,
): readonly Piece[] {
  const shortest = waiting.toSorted((one, other) => one.leftTokens - other.leftTokens);
  if (count % rounds !== rounds - 1) return shortest;
  const [oldest] = waiting.toSorted((one, other) => one.since - other.since);
  return oldest === undefined ? [] : [oldest, ...shortest.filter((each) => each !== oldest)];
}

/**
 * What this process computes, batch by batch: the next token of each answer that is being written, and pieces of prompts. An
 * answer that isn't back from its last token when a batch begins isn't waited for.
 */
export class Turns {
  readonly #threads: Pick<DecodeThreads, "begin" | "beforeToken">;
  readonly #reading: Reading;
  readonly #pieceSize: ReturnType<typeof createPieceSize>;
  readonly #behindSize: ReturnType<typeof createPieceSize>;
  readonly #answers = new Set<WritingAnswer>();
  #tokens: {
    readonly answer: WritingAnswer;
    readonly context: unknown;
    /** Tokens that are computed with it: the end of a prompt, or guesses. */
    readonly more: number;
    /** Never rejects. */
    readonly run: () => Promise<unknown>;
  }[] = [];
  #pieces: PieceTurn[] = [];
  /** Contexts that had a batch since there was nothing to compute, the last one last. */
  #served: readonly unknown[] = [];
  #batchesRead = 0;
  #stepMs = 0;
  #isRunning = false;

  constructor(threads: Pick<DecodeThreads, "begin" | "beforeToken">, reading: Reading) {
    this.#threads = threads;
    this.#reading = reading;
    this.#pieceSize = createPieceSize(reading.batchTokens);
    this.#behindSize = createPieceSize(reading.batchTokens);
  }

  /** Whether nothing is computed but this answer. */
  isOnly(answer: WritingAnswer | undefined): boolean {
    return this.#pieces.length === 0 && [...this.#answers].every((each) => each === answer);
  }

  /** Computes the next token of an answer, with so many `more`, together with what else `context` computes. */
  token<Result>(answer: WritingAnswer, context: unknown, compute: () => Promise<Result>, more = 0): Promise<Result> {
    this.#answers.add(answer);
    return new Promise((resolve, reject) => {
      this.#tokens.push({ answer, context, more, run: () => compute().then(resolve, reject) });
      this.#start();
    });
  }

  /**
   * Reads a piece of a prompt of which so many tokens are left, and whose last one was read, or which came, at that time.
   * `read` reads so many tokens, or none if it is to wait. Returns how many were read, and the milliseconds of their batch.
   */
  piece(
    context: unknown,
    leftTokens: number,
    since: number,
    read: (tokens: number) => Promise<number>,
    isBehind = false,
  ): Promise<{ readonly tokens: number; readonly ms: number }> {
    return new Promise((resolve, reject) => {
      const run = async (count: number) => {
        const startedAt = performance.now();
        try {
          const tokens = await read(count);
          resolve({ tokens, ms: performance.now() - startedAt });
          return tokens;
        } catch (error) {
          reject(error);
          return 0;
        }
      };
      this.#pieces.push({ context, leftTokens, since, isBehind, run });
      this.#start();
    });
  }

  /** The answer has ended or is paused. */
  leave(answer: WritingAnswer): void {
    this.#answers.delete(answer);
  }

  #start(): void {
    if (!this.#isRunning) void this.#run();
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    while (this.#tokens.length + this.#pieces.length > 0) {
      // The others are back from their last token by then.
      if (this.#answers.size + this.#pieces.length > 1) await nextTurn();
      await this.#batch(this.#nextContext());
    }
    [this.#isRunning, this.#served] = [false, []];
  }

  /** Those of two contexts can't be one batch, so they take turns. */
  #nextContext(): unknown {
    const waiting = [...this.#tokens, ...this.#pieces].map(({ context }) => context);
    const served = this.#served.filter((each) => waiting.includes(each));
    const next = waiting.find((each) => !served.includes(each)) ?? served[0];
    this.#served = [...served.filter((each) => each !== next), next];
    return next;
  }

  async #batch(context: unknown): Promise<void> {
    const step = this.#tokens.filter((each) => each.context === context);
    this.#tokens = this.#tokens.filter((each) => each.context !== context);
    const pieces = this.#takePieces(context, step.length);
    const more = step.reduce((sum, each) => sum + each.more, 0);
    const wanted = more + pieces.reduce((sum, { tokens }) => sum + tokens, 0);
    const { llama, contest } = this.#reading;
    const isHeld = step.some(({ answer }) => answer.isHeld);
    if (wanted === 0) this.#threads.beforeToken(step.length, isHeld);
    // Guesses, and the end of a prompt beside a token, take part in no comparison.
    else
      llama.maxThreads =
        pieces.length === 0 ? (contest.won() ?? llama.maxThreads) : contest.next(wanted < measuredTokens);
    const threads = llama.maxThreads;
    const startedAt = performance.now();
    const reading = pieces.map(({ piece, tokens }) => piece.run(tokens));
    await Promise.all(step.map(({ run }) => run()));
    const read = (await Promise.all(reading)).reduce((sum, tokens) => sum + tokens, 0);
    const ms = performance.now() - startedAt;
    if (wanted === 0) return void (this.#stepMs += (ms - this.#stepMs) / 4);
    this.#threads.begin();
    if (read === 0) return;
    if (read >= measuredTokens) contest.measured(threads, read / Math.max(ms, 0.01));
    // At least half of the time is for prompts.
    const aimMs = Math.max(gapMs, 2 * this.#stepMs);
    const most = this.#reading.batchTokens - step.length;
    if (this.#answers.size > 0) this.#pieceSize.measured(read, ms, aimMs, most);
    else if (pieces.every(({ piece }) => piece.isBehind)) this.#behindSize.measured(read, ms, behindMs, most);
  }

  /** Whole batches while no answer is written, and who waits for them is not in the background. */
  #takePieces(context: unknown, beside: number) {
    const { batchTokens } = this.#reading;
    const isBehind = this.#pieces.every((piece) => piece.context !== context || piece.isBehind);
    const widest = isBehind ? Math.max(leastBehind, this.#behindSize.tokens) : batchTokens;
    const most = Math.min(this.#answers.size > 0 ? this.#pieceSize.tokens : widest, batchTokens - beside);
    let left = Math.max(1, most);
    const taken: { readonly piece: PieceTurn; readonly tokens: number }[] = [];
    for (const piece of inOrder(
      this.#pieces.filter((each) => each.context === context),
      this.#batchesRead,
    )) {
      if (left === 0) break;
      const tokens = Math.min(left, piece.leftTokens);
      taken.push({ piece, tokens });
      left -= tokens;
    }
    if (taken.length > 0) this.#batchesRead += 1;
    const pieces = new Set(taken.map(({ piece }) => piece));
    this.#pieces = this.#pieces.filter((each) => !pieces.has(each));
    return taken;
  }
}
