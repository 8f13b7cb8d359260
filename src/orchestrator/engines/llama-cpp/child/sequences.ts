import { ChildFailure, throwIfAborted } from "./failure.ts";
import { evaluateWithGuesses, type GuessCosts, type Step } from "./guesses.ts";
import type { ContextSequence, SequenceInside, Token } from "./node-llama-cpp.ts";
import type { ChildEvent } from "./protocol.ts";
import type { Turns, WritingAnswer } from "./turns.ts";
import { messageOf } from "../../../util/values.ts";

/** Conversations with fewer tokens don't move to another context: they are read again. */
const minReusableTokens = 64;

export interface SequenceParts {
  readonly firstContext: OpenContext;
  /** Creates a context with so many empty sequences. */
  readonly openContext: (sequences: number, signal: AbortSignal) => Promise<OpenContext>;
  /** There are more or fewer conversations. */
  readonly changed: () => void;
  readonly turns: Turns;
  /** Absent: nothing is guessed. */
  readonly costs?: GuessCosts;
  readonly files: {
    /** Whether what the sequence holds may be written. */
    mayWrite(sequence: ContextSequence): boolean;
    /** Returns how to move what a sequence holds into an empty one; undefined: it is lost. */
    park(sequence: ContextSequence, minTokens: number): Promise<((to?: ContextSequence) => Promise<void>) | undefined>;
  };
}

/** A context of llama.cpp: what its sequences compute at the same time is one batch. */
export interface OpenContext {
  readonly sequences: readonly ContextSequence[];
  dispose(): Promise<void>;
}

interface Kept {
  readonly sequence: ContextSequence;
  readonly context: OpenContext;
  lastUse: number;
  /** The pause of the request that uses it. */
  pause: Pause | undefined;
}

/**
 * The conversations whose caches are kept. A context's number of sequences is fixed, so another context takes its place. In
 * the same one answers are computed together, so there are several only beside paused answers, until answers of a replaced
 * one have ended, and while the last conversation can't be moved.
 */
export class Conversations {
  readonly #parts: SequenceParts;
  #sequences: Kept[];
  /** Those of contexts that were replaced, which requests still use. */
  #leaving: Kept[] = [];
  #uses = 0;
  /** The last change, or search for a sequence: one at a time. */
  #changing: Promise<unknown> = Promise.resolve();

  constructor(parts: SequenceParts) {
    this.#parts = parts;
    this.#sequences = this.#keep(parts.firstContext);
  }

  get count(): number {
    return this.#sequences.length;
  }

  /**
   * The sequence for a prompt, until `release`. There are `sequences` from now on, if they can be created. Throws
   * `ChildFailure` if other requests use all of them.
   */
  claim(prompt: Token[], sequences: number, pause: Pause, signal: AbortSignal) {
    return this.#change(async () => {
      throwIfAborted(signal);
      const isSplit = this.#sequences.some(({ context }) => context !== this.#sequences[0]?.context);
      if (sequences > this.count || (isSplit && this.#inUse().length === 0 && this.#canMove()))
        await this.#tryToChange(Math.max(sequences, this.count), signal);
      const free = this.#sequences.filter((each) => each.pause === undefined);
      const states = free.map(({ sequence, lastUse }) => ({
        commonTokens: sequence.compareContextTokens(prompt).firstDifferentIndex,
        heldTokens: sequence.nextTokenIndex,
        lastUse,
      }));
      const chosen = free[chooseSequence(states)];
      if (chosen === undefined || this.#leaving.length >= free.length)
        throw new ChildFailure("no_sequence", "other requests use all sequences");
      this.#uses += 1;
      chosen.lastUse = this.#uses;
      chosen.pause = pause;
      return { sequence: chosen.sequence, release: () => this.#release(chosen) };
    });
  }

  /** Keeps one conversation alone, the last one, if it can be moved, unless a request came meanwhile. */
  shrink(isIdle: () => boolean): Promise<void> {
    return this.#change(async () => {
      if (isIdle() && this.count > 1 && this.#canMove()) await this.#tryToChange(1, new AbortController().signal);
    });
  }

  #change<Result>(work: () => Promise<Result>): Promise<Result> {
    const changed = this.#changing.then(work);
    this.#changing = changed.catch(() => undefined);
    return changed;
  }

  #keep(context: OpenContext): Kept[] {
    return context.sequences.map((sequence) => {
      const entry: Kept = { sequence, context, lastUse: 0, pause: undefined };
      takeTurns(sequence, this.#parts, () => entry.pause);
      return entry;
    });
  }

  #release(entry: Kept): void {
    if (entry.pause !== undefined) this.#parts.turns.leave(entry.pause);
    entry.pause = undefined;
    this.#uses += 1;
    entry.lastUse = this.#uses;
    if (!this.#leaving.includes(entry)) return;
    this.#change(() => this.#moveOver(entry)).catch(
      (error: unknown) => void process.stderr.write(`[warn] a conversation is lost: ${messageOf(error)}\n`),
    );
  }

  /** Whether the last conversation can be written, else it would be lost. */
  #canMove(): boolean {
    const [last] = this.#byUse();
    if (last === undefined || last.sequence.nextTokenIndex < minReusableTokens) return true;
    return this.#parts.files.mayWrite(last.sequence);
  }

  #inUse = () => [...this.#sequences, ...this.#leaving].flatMap(({ pause }) => pause ?? []);

  /** Not essential for most answers: a failure is logged, and a later request tries again. */
  async #tryToChange(count: number, signal: AbortSignal): Promise<void> {
    const [before, inUse] = [this.count, this.#inUse()];
    try {
      if (inUse.length === 0 && this.#canMove()) await this.#replace(count, signal);
      else if (inUse.every(({ isAsked }) => isAsked))
        this.#sequences.push(...this.#keep(await this.#parts.openContext(count - before, signal)));
      else await this.#handOver(count, signal);
    } catch (error) {
      throwIfAborted(signal);
      process.stderr.write(`[warn] no context with ${count} sequences: ${messageOf(error)}\n`);
    } finally {
      this.#parts.changed();
    }
  }

  /** Without more memory than both take alone. */
  async #replace(count: number, signal: AbortSignal): Promise<void> {
    const { files } = this.#parts;
    const before = this.#byUse();
    const parked = [];
    for (const { sequence } of before.slice(0, count)) parked.push(await files.park(sequence, minReusableTokens));
    this.#sequences = [];
    try {
      for (const context of new Set(before.map((each) => each.context))) await context.dispose();
      this.#sequences = this.#keep(await this.#parts.openContext(count, signal));
    } catch (error) {
      // There was memory for as many; if there isn't any more, the next request tries again.
      const again = this.#parts.openContext(Math.max(1, before.length), new AbortController().signal);
      this.#sequences = this.#keep(await again);
      throw error;
    } finally {
      for (const [index, state] of parked.entries()) {
        const to = this.#sequences[index];
        await state?.(to?.sequence);
        if (to !== undefined) to.lastUse = before[index]?.lastUse ?? 0;
      }
    }
  }

  /** What the sequences in use hold moves over when they are free. */
  async #handOver(count: number, signal: AbortSignal): Promise<void> {
    const context = await this.#parts.openContext(count, signal);
    const before = this.#byUse();
    this.#sequences = this.#keep(context);
    this.#leaving.push(...before);
    for (const entry of before) if (entry.pause === undefined) await this.#moveOver(entry);
  }

  #byUse = () => this.#sequences.toSorted((one, other) => other.lastUse - one.lastUse);

  async #moveOver(entry: Kept): Promise<void> {
    const { files } = this.#parts;
    if (!this.#leaving.includes(entry)) return;
    const free = this.#sequences.filter(({ pause }) => pause === undefined);
    const unused = free.toSorted((one, other) => one.lastUse - other.lastUse)[0];
    const to = free.find(({ sequence }) => sequence.nextTokenIndex === 0) ?? unused;
    const isNewer = to !== undefined && (to.lastUse < entry.lastUse || to.sequence.nextTokenIndex === 0);
    const parked = await files.park(entry.sequence, isNewer ? minReusableTokens : Number.POSITIVE_INFINITY);
    if (isNewer && parked !== undefined) {
      await to.sequence.adaptStateToTokens([], false);
      await parked(to.sequence);
      to.lastUse = entry.lastUse;
    }
    this.#leaving = this.#leaving.filter((each) => each !== entry);
    if (this.#leaving.every(({ context }) => context !== entry.context)) await entry.context.dispose();
  }
}

/** Estimated probability that a conversation continues after another one has taken its sequence. */
const returnChance = 0.5;

/**
 * Returns the index of the sequence for a prompt: the one with the fewest tokens to evaluate, now (those of the prompt that
 * it lacks) and later (those that its own conversation loses, if it continues). So conversations that share only the first
 * words of the template don't discard each other's cache. Among equals, the least recently used.
 */
export function chooseSequence(
  /** Each when a prompt is assigned. */
  states: readonly {
    /** Length of the prefix that it shares with the prompt. */
    readonly commonTokens: number;
    /** Tokens in its cache. */
    readonly heldTokens: number;
    /** Larger is later; 0 if unused. */
    readonly lastUse: number;
  }[],
): number {
  let [chosen, lowestCost, oldestUse] = [-1, Number.POSITIVE_INFINITY, 0];
  states.forEach(({ commonTokens, heldTokens, lastUse }, index) => {
    const cost = returnChance * (heldTokens - commonTokens) - commonTokens;
    if (cost > lowestCost || (cost === lowestCost && lastUse >= oldestUse)) return;
    [chosen, lowestCost, oldestUse] = [index, cost, lastUse];
  });
  return chosen;
}

/** How many evicted conversations are remembered, as tokens. */
const maxEvicted = 4;

export function createEvictedPrompts() {
  let evicted: (readonly number[])[] = [];
  return {
    /** `tokens`: the content of the sequence, of which the first `keptTokens` are kept. */
    note(tokens: readonly number[], keptTokens: number) {
      if (tokens.length > keptTokens) evicted = [tokens, ...evicted].slice(0, maxEvicted);
    },
    /** Returns the tokens of `prompt` that were overwritten, beyond the `cachedTokens` that are in the cache. */
    missedTokens(prompt: readonly number[], cachedTokens: number) {
      const shared = evicted.map((tokens) => commonLength(tokens, prompt));
      const most = Math.max(0, ...shared);
      if (most <= cachedTokens) return 0;
      // It is in the cache again.
      evicted = evicted.filter((_, index) => shared[index] !== most);
      return most - cachedTokens;
    },
  };
}

function commonLength(a: readonly number[], b: readonly number[]): number {
  const end = Math.min(a.length, b.length);
  let length = 0;
  while (length < end && a[length] === b[length]) length += 1;
  return length;
}

/** Speed of a very large model on a small machine. */
const slowestMsPerToken = 2_500;
const reportEveryMs = 10_000;

/**
 * Waits while a sequence drops the tokens that differ from a prompt. If its state can't be truncated (sliding window,
 * recurrent state), the library evaluates the remaining `tokens` again, without progress events: `report` is called
 * instead, for as long as that may take.
 */
export async function reportReevaluation(work: Promise<void>, tokens: number, report: () => void): Promise<void> {
  let left = Math.ceil((tokens * slowestMsPerToken) / reportEveryMs);
  const timer = setInterval(() => {
    if (left > 0) report();
    left -= 1;
  }, reportEveryMs);
  try {
    await work;
  } finally {
    clearInterval(timer);
  }
}

/** Pauses one generation between two tokens, or two parts of its prompt. Its sequence and its sampler keep their state. */
export class Pause implements WritingAnswer {
  readonly #emit: (event: ChildEvent) => void;
  readonly #signal: AbortSignal;
  #ended: Promise<void> | undefined;
  #end: () => void = () => undefined;
  /** Milliseconds spent in pauses. */
  pausedMs = 0;
  /** Called when the request goes on: another one may have changed what is global in the library. */
  resumed: () => void = () => undefined;
  /** As `WritingAnswer`. */
  isHeld = false;
  /** As `GenerateRequest`. */
  isBehind = false;
  /** How many guesses may be computed with a token. */
  mostGuesses = 0;

  constructor(emit: (event: ChildEvent) => void, signal: AbortSignal) {
    this.#emit = emit;
    this.#signal = signal;
    // A cancelled request ends at once, even while it is paused.
    signal.addEventListener("abort", () => this.end(), { once: true });
  }

  get isAsked(): boolean {
    return this.#ended !== undefined;
  }

  ask(): void {
    if (this.#signal.aborted) return;
    this.#ended ??= new Promise((resolve) => (this.#end = resolve));
  }

  end(): void {
    this.#ended = undefined;
    this.#end();
  }

  /** Waits while paused. Throws `ChildFailure` if the request is cancelled meanwhile. */
  async pass(): Promise<void> {
    if (this.#ended === undefined) return;
    const startedAt = performance.now();
    while (this.#ended !== undefined) {
      // Each time: messages that end a pause and ask for the next one may arrive together.
      this.#emit({ type: "phase", phase: "paused" });
      await this.#ended;
    }
    this.pausedMs += performance.now() - startedAt;
    throwIfAborted(this.#signal);
    this.resumed();
  }
}

/**
 * Passes a pause before each step in which `sequence` generates, and waits for its turn. The library has no other place to wait
 * between two tokens: its callbacks are synchronous.
 */
function takeTurns(sequence: ContextSequence, parts: SequenceParts, pause: () => Pause | undefined): void {
  const { turns, costs } = parts;
  const evaluate = sequence.evaluate.bind(sequence);
  const step: Step = async (more, compute) => {
    const current = pause();
    if (current?.isAsked === true) turns.leave(current);
    await current?.pass();
    return current === undefined ? compute() : turns.token(current, sequence.context, compute, more);
  };
  const isOnly = () => turns.isOnly(pause());
  const most = () => pause()?.mostGuesses ?? 0;
  sequence.evaluate = (tokens, options = {}) =>
    costs === undefined || sequence.needsCheckpoints
      ? oneByOne(evaluate(tokens, options), tokens.length - 1, step)
      : evaluateWithGuesses(sequence as SequenceInside, tokens, options, { costs, isOnly, most, step });
}

/** `more`: tokens that are computed with the first one. */
async function* oneByOne(tokens: ReturnType<ContextSequence["evaluate"]>, more: number, step: Step): typeof tokens {
  try {
    for (let replacement: Parameters<typeof tokens.next>[0]; ;) {
      const { value, done } = await step(more, () => tokens.next(replacement));
      if (done === true) return;
      replacement = yield value;
      more = Array.isArray(replacement) ? replacement.length - 1 : 0;
    }
  } finally {
    await tokens.return();
  }
}
