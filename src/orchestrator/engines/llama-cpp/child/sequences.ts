import { ChildFailure, throwIfAborted } from "./failure.ts";
import type { ContextSequence, Token } from "./node-llama-cpp.ts";
import type { ChildEvent } from "./protocol.ts";
import { messageOf } from "../../../util/message-of.ts";

/** Minimum number of cached tokens of another conversation that are worth another sequence. */
const minReusableTokens = 64;

export interface SequenceParts {
  readonly firstSequence: ContextSequence;
  /** Creates another sequence with its own cache. */
  readonly addSequence: (signal: AbortSignal) => Promise<ContextSequence>;
}

interface Kept {
  readonly sequence: ContextSequence;
  lastUse: number;
  /** The pause of the request that uses it. */
  pause: Pause | undefined;
}

/** The conversations whose caches are kept. */
export class Conversations {
  readonly #addSequence: SequenceParts["addSequence"];
  readonly #sequences: Kept[];
  #uses = 0;

  constructor({ firstSequence, addSequence }: SequenceParts) {
    this.#addSequence = addSequence;
    this.#sequences = [kept(firstSequence)];
  }

  get count(): number {
    return this.#sequences.length;
  }

  /**
   * The sequence for a prompt, until `release`. Throws `ChildFailure` if paused requests use all of them, and no other
   * can be added.
   */
  async claim(prompt: Token[], maxSequences: number, pause: Pause, signal: AbortSignal) {
    const free = this.#sequences.filter((each) => each.pause === undefined);
    const states = free.map(({ sequence, lastUse }) => ({
      commonTokens: sequence.compareContextTokens(prompt).firstDifferentIndex,
      heldTokens: sequence.nextTokenIndex,
      lastUse,
    }));
    const index = chooseSequence(states);
    let chosen = free[index];
    const { heldTokens, commonTokens } = states[index] ?? { heldTokens: Number.POSITIVE_INFINITY, commonTokens: 0 };
    if (this.count < maxSequences && heldTokens - commonTokens >= minReusableTokens) {
      chosen = (await this.#tryToAdd(signal)) ?? chosen;
    }
    if (chosen === undefined) throw new ChildFailure("no_sequence", "a paused request uses the only sequence");
    this.#uses += 1;
    chosen.lastUse = this.#uses;
    chosen.pause = pause;
    const { sequence } = chosen;
    return { sequence, release: () => void (chosen.pause = undefined) };
  }

  /** Not essential for most answers: a failure is logged, and a later request tries again. */
  async #tryToAdd(signal: AbortSignal): Promise<Kept | undefined> {
    try {
      const added = kept(await this.#addSequence(signal));
      this.#sequences.push(added);
      return added;
    } catch (error) {
      throwIfAborted(signal);
      process.stderr.write(`[warn] no further sequence: ${messageOf(error)}\n`);
      return undefined;
    }
  }
}

/** Its tokens pass the pause of the request that uses it. */
function kept(sequence: ContextSequence): Kept {
  const entry: Kept = { sequence, lastUse: 0, pause: undefined };
  passBeforeTokens(sequence, () => entry.pause);
  return entry;
}

/** State of one sequence when a prompt is assigned. */
interface SequenceState {
  /** Length of the prefix that it shares with the prompt. */
  readonly commonTokens: number;
  /** Tokens in its cache. */
  readonly heldTokens: number;
  /** Larger is later; 0 if unused. */
  readonly lastUse: number;
}

/** Estimated probability that a conversation continues after another one has taken its sequence. */
const returnChance = 0.5;

/**
 * Returns the index of the sequence for a prompt: the one with the fewest tokens to evaluate, now (those of the prompt that
 * it lacks) and later (those that its own conversation loses, if it continues). So conversations that share only the first
 * words of the template don't discard each other's cache. Among equals, the least recently used.
 */
export function chooseSequence(states: readonly SequenceState[]): number {
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
export class Pause {
  readonly #emit: (event: ChildEvent) => void;
  readonly #signal: AbortSignal;
  #ended: Promise<void> | undefined;
  #end: () => void = () => undefined;
  /** Milliseconds spent in pauses. */
  pausedMs = 0;
  /** Called when the request goes on: another one may have changed what is global in the library. */
  resumed: () => void = () => undefined;
  /** Called before each token that is generated. */
  beforeToken: () => void = () => undefined;

  constructor(emit: (event: ChildEvent) => void, signal: AbortSignal) {
    this.#emit = emit;
    this.#signal = signal;
    // A cancelled request ends at once, even while it is paused.
    signal.addEventListener("abort", () => this.end(), { once: true });
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
 * Passes a pause before each token that `sequence` generates. The library has no other place to wait between two tokens:
 * its callbacks are synchronous.
 */
function passBeforeTokens(sequence: ContextSequence, pause: () => Pause | undefined): void {
  const evaluate = sequence.evaluate.bind(sequence);
  sequence.evaluate = async function* (...given: Parameters<ContextSequence["evaluate"]>) {
    const tokens = evaluate(...given);
    try {
      for (let replacement: Parameters<typeof tokens.next>[0]; ;) {
        const current = pause();
        await current?.pass();
        current?.beforeToken();
        const { value, done } = await tokens.next(replacement);
        if (done === true) return;
        replacement = yield value;
      }
    } finally {
      await tokens.return();
    }
  };
}
