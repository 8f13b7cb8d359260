import type { EvaluateOptions, GrammarState, NativeSampler, SequenceInside, Token } from "./node-llama-cpp.ts";

/** So many tokens must be the same as before, so that what follows is guessed to follow again. */
const leastMatch = 3;
/** A longer match is not looked for. */
const mostMatch = 32;
/** The latest places of the same few tokens that are compared. */
const mostPlaces = 24;

interface Found {
  readonly tokens: readonly Token[];
  readonly matched: number;
}

const nothing: Found = { tokens: [], matched: 0 };

/** A text of tokens, and what followed its last ones where they stood before. */
export class SeenTokens {
  readonly #tokens: Token[] = [];
  /** The place of what would follow if the text went on as it did before. */
  #copied: number | undefined;
  #matched = 0;

  add(tokens: readonly Token[]): void {
    for (const token of tokens) {
      const goesOn = this.#copied !== undefined && this.#tokens[this.#copied] === token;
      [this.#copied, this.#matched] = goesOn ? [(this.#copied ?? 0) + 1, this.#matched + 1] : [undefined, 0];
      this.#tokens.push(token);
    }
  }

  /** The tokens that followed, and how many before them are the same. */
  next(most: number): Found {
    if (this.#copied === undefined) this.#find();
    if (this.#copied === undefined) return nothing;
    return { tokens: this.#tokens.slice(this.#copied, this.#copied + most), matched: this.#matched };
  }

  /** The place with the longest match; of equals the latest. An index would take longer than a search for each token. */
  #find(): void {
    const end = this.#tokens.length;
    for (let [place, places] = [end - 1, 0]; place >= leastMatch && places < mostPlaces; place -= 1) {
      let matched = 0;
      while (
        matched < mostMatch &&
        matched < place &&
        this.#tokens[place - 1 - matched] === this.#tokens[end - 1 - matched]
      )
        matched += 1;
      if (matched < leastMatch) continue;
      places += 1;
      if (matched > this.#matched) [this.#copied, this.#matched] = [place, matched];
    }
  }
}

/** Sizes of batches that are compared: a token and guesses. */
const sizes = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64] as const;
/** Matches of at least so many tokens are judged together: the longer they are, the likelier is the next token. */
const matchClasses = [3, 4, 6, 10, 18] as const;
/** A match of so many tokens is hardly by chance. */
const surelyMatched = 10;
/** What was seen in other answers counts as so many guesses in this one. */
const priorWeight = 2;
const firstGuesses = 7;
/** With a loss of so many tokens, an answer goes on without guesses, until after each token less of it counts. */
const mostLost = 3;
const forgetting = 0.99;
/** A gain must be larger than what measurements vary by. */
const leastGain = 1.05;

interface Tally {
  right: number;
  all: number;
}

/** Before any were judged. */
const expectedOf = (matchClass: number): Tally => ({ right: 10 - 4 / (matchClass + 1), all: 10 });

/** How long batches take, and how often guesses are right, in all answers of a model. */
export class GuessCosts {
  /** By size: how many times as long as one token. */
  readonly #ratios: Map<number, number>;
  readonly #all = matchClasses.map((_, index) => expectedOf(index));
  /** There is memory for so many with a token. */
  readonly mostGuesses: number;
  /** What one token takes, of an answer and of a prompt. */
  #tokenMs = 0;
  #readMs = 0;

  /** `known`: sizes of batches, and how many times as long as one token they took. */
  constructor(known: readonly (readonly [number, number])[], mostGuesses: number) {
    this.#ratios = new Map([[1, 1], ...known]);
    this.mostGuesses = mostGuesses;
  }

  /** As the constructor takes it. */
  get known(): readonly (readonly [number, number])[] {
    return [...this.#ratios].filter(([size]) => size > 1);
  }

  startAnswer(): AnswerGuesses {
    // So that what was wrong in some answers is tried again in others.
    this.#all.forEach((tally, index) => {
      const expected = expectedOf(index);
      tally.right += (expected.right - tally.right) / 10;
      tally.all += (expected.all - tally.all) / 10;
    });
    return new AnswerGuesses(this.#all, (size, isSure) => this.#ratioOf(size, isSure));
  }

  /** So many tokens of a prompt took so long. */
  read(tokens: number, ms: number): void {
    this.#readMs = ms / tokens;
  }

  measured(size: number, ms: number): void {
    if (size === 1) {
      // Something else may have used the processor.
      const found = this.#tokenMs === 0 ? ms : Math.min(ms, 1.5 * this.#tokenMs);
      this.#tokenMs += (found - this.#tokenMs) / (this.#tokenMs === 0 ? 1 : 4);
    } else if (this.#tokenMs > 0) {
      const before = this.#ratioOf(size, true);
      // A single measurement beside other programs says little, but more than a guess.
      const found = Math.min(this.#ratios.has(size) ? before * 1.5 : size, Math.max(before * 0.67, ms / this.#tokenMs));
      this.#ratios.set(size, before + (found - before) / (this.#ratios.has(size) ? 3 : 1));
    }
  }

  /** Where guesses aren't sure, nothing is tried that wasn't measured, else a batch is taken to read as one of a prompt does. */
  #ratioOf(size: number, isSure: boolean): number {
    const guessed = this.#tokenMs > 0 ? 1 + ((size - 1) * this.#readMs) / this.#tokenMs : size;
    return this.#ratios.get(size) ?? (isSure ? guessed : size);
  }
}

/** The guesses of one answer. */
class AnswerGuesses {
  readonly #all: readonly Tally[];
  readonly #own = matchClasses.map((): Tally => ({ right: 0, all: 0 }));
  readonly #ratioOf: (size: number, isSure: boolean) => number;
  /** Grows while all are right: what one answer repeats says little of another one. */
  #limit = firstGuesses;
  /** Tokens more than would have been written without guesses. */
  #gained = 0;

  constructor(all: readonly Tally[], ratioOf: (size: number, isSure: boolean) => number) {
    [this.#all, this.#ratioOf] = [all, ratioOf];
  }

  /** How many of the tokens that may follow a match are worth a try: those with which most tokens per ms are expected. */
  count(matched: number, available: number): number {
    // What was lost is tried again later.
    this.#gained *= forgetting;
    for (const tally of this.#own) [tally.right, tally.all] = [tally.right * forgetting, tally.all * forgetting];
    if (this.#gained < -mostLost) return 0;
    let [best, bestSpeed] = [0, leastGain];
    let [expected, chance, at] = [1, 1, 0];
    for (const size of sizes) {
      if (size === 1 || size - 1 > Math.min(available, this.#limit)) continue;
      for (; at < size - 1; at += 1) {
        chance *= this.#chance(matched + at);
        expected += chance;
      }
      const speed = expected / this.#ratioOf(size, matched >= surelyMatched);
      if (speed > bestSpeed) [best, bestSpeed] = [size - 1, speed];
    }
    return best;
  }

  /** After a match there were so many guesses, and the first `right` ones were right. */
  judged(matched: number, guesses: number, right: number): void {
    const gained = this.#gained + right + 1 - this.#ratioOf(guesses + 1, true);
    this.#gained = Math.min(4 * mostLost, Math.max(-1.5 * mostLost, gained));
    this.#limit = right === guesses ? Math.max(this.#limit, 2 * guesses + 1) : Math.max(firstGuesses, this.#limit / 2);
    for (let at = 0; at < Math.min(guesses, right + 1); at += 1)
      for (const tallies of [this.#own, this.#all]) {
        const tally = tallies[classOf(matched + at)];
        if (tally === undefined) continue;
        tally.all += 1;
        if (at < right) tally.right += 1;
        // What was long ago counts less.
        if (tally.all > 64) [tally.right, tally.all] = [tally.right / 2, tally.all / 2];
      }
  }

  #chance(matched: number): number {
    const index = classOf(matched);
    const [own = { right: 0, all: 0 }, all = { right: 0, all: 1 }] = [this.#own[index], this.#all[index]];
    return (own.right + (priorWeight * all.right) / all.all) / (own.all + priorWeight);
  }
}

const classOf = (matched: number) => matchClasses.findLastIndex((least) => matched >= least);

/** Computes a step of an answer: a token, with so many more. */
export type Step = <Result>(more: number, compute: () => Promise<Result>) => Promise<Result>;

interface Guessing {
  readonly costs: GuessCosts;
  /** Whether nothing else is computed now. */
  readonly isOnly: () => boolean;
  /** So many guesses may be computed with a token. */
  readonly most: () => number;
  readonly step: Step;
}

/**
 * As `ContextSequence.evaluate`, for a sequence that can be cut to a prefix. Tokens that followed the last ones before (in the
 * prompt, or in the answer) are computed together with the next one, and those that the model writes are yielded without
 * another step. What is sampled, in which order, and what is penalized is the same as without guesses.
 */
export async function* evaluateWithGuesses(
  sequence: SequenceInside,
  input: readonly Token[],
  options: EvaluateOptions,
  { costs, isOnly, most, step }: Guessing,
): AsyncGenerator<Token, void, Token | Token[] | undefined> {
  const sampler = new Sampler(sequence, options);
  const answer = costs.startAnswer();
  const seen = new SeenTokens();
  seen.add([...sequence.contextTokens, ...input]);
  let next: readonly Token[] = input;
  /** So many tokens of the sequence belong to the answer, others are guesses that weren't used. */
  let [end, heldAtYield] = [sequence.nextTokenIndex, undefined as number | undefined];
  const grammarNow = () => {
    const { grammarEvaluationState: state } = options;
    return typeof state === "function" ? state() : state;
  };
  const cut = () => sequence.eraseContextTokenRanges([{ start: end, end: sequence.nextTokenIndex }]);
  try {
    for (let count = 0; ; count += 1) {
      if (sequence.nextTokenIndex > end) await cut();
      const start = end + next.length;
      const isMeasured = count > 0 && next.length === 1 && isOnly();
      const room = isOnly() ? Math.min(sequence.context.contextSize - start - 2, costs.mostGuesses, most()) : 0;
      const found: Found = room < 1 ? nothing : seen.next(room);
      const guesses = found.tokens.slice(0, answer.count(found.matched, found.tokens.length));
      const grammar = grammarNow();
      const sampled = await step(next.length - 1 + guesses.length, () => sampler.decode(next, guesses, grammar));
      if (isMeasured) costs.measured(1 + guesses.length, sampled.ms);
      if (guesses.length > 0) answer.judged(found.matched, guesses.length, sampled.tokens.length - 1);
      for (const [index, token] of sampled.tokens.entries()) {
        // What the answer may contain changes: the rest was sampled for nothing.
        if (index > 0 && grammarNow() !== grammar) break;
        if (guesses.length > 0) sampler.accept(token, grammar);
        if (options.yieldEogToken !== true && sequence.model.isEogToken(token)) return;
        sequence.tokenMeter.useTokens(1, "output");
        end = start + index;
        heldAtYield = sequence.nextTokenIndex;
        const given = (yield token) ?? token;
        [next, heldAtYield] = [Array.isArray(given) ? given : [given], undefined];
        sampler.written.push(token);
        seen.add(next);
        if (next.length !== 1 || next[0] !== token) break;
      }
    }
  } finally {
    sampler.dispose();
    // Else the library has fitted the sequence to another prompt, of which some may be guesses.
    if (sequence.nextTokenIndex > end && (heldAtYield ?? sequence.nextTokenIndex) === sequence.nextTokenIndex)
      await cut();
  }
}

/** Samples one answer. */
class Sampler {
  /** What is penalized. */
  readonly written: Token[] = [];
  readonly #sequence: SequenceInside;
  readonly #options: EvaluateOptions;
  readonly #native: NativeSampler;

  constructor(sequence: SequenceInside, options: EvaluateOptions) {
    [this.#sequence, this.#options] = [sequence, options];
    const { model } = sequence;
    this.#native = new model._llama._bindings.AddonSampler(model._model);
  }

  dispose(): void {
    this.#native.dispose();
  }

  /** The model wrote a token that was sampled with a copy of the grammar's state. */
  accept(token: Token, grammar: GrammarState | undefined): void {
    const { model } = this.#sequence;
    if (grammar !== undefined && !model.isEogToken(token))
      model._llama._bindings.AddonSampler.acceptGrammarEvaluationStateToken(grammar._state, token);
  }

  /** Computes `next` and guesses. Returns the token after `next`, and those after each guess that was right. */
  async decode(next: readonly Token[], guesses: readonly Token[], grammar: GrammarState | undefined) {
    const startedAt = performance.now();
    const sequence = this.#sequence;
    const tokens: Token[] = [];
    const state = guesses.length === 0 ? grammar : grammar?.clone();
    const logits: true[] = [];
    for (let index = next.length - 1; index < next.length + guesses.length; index += 1) logits[index] = true;
    let [goesOn, failure] = [true, undefined as unknown];
    await sequence._decodeTokens([...next, ...guesses], logits, 5, undefined, sequence._contextShift, async (index) => {
      if (!goesOn) return;
      try {
        const token = await this.#sample(index, tokens, state);
        goesOn = token === guesses[tokens.length] && !sequence.model.isEogToken(token);
        tokens.push(token);
      } catch (error) {
        // The library wouldn't end if this failed.
        [goesOn, failure] = [false, error];
      }
    });
    if (failure !== undefined) throw failure as Error;
    return { tokens, ms: performance.now() - startedAt };
  }

  async #sample(logits: number, found: readonly Token[], grammarEvaluationState: GrammarState | undefined) {
    const { repeatPenalty } = this.#options;
    const sequence = this.#sequence;
    const options = { ...this.#options, grammarEvaluationState };
    const most = repeatPenalty?.maxPunishTokens ?? 0;
    const punishTokens = most === 0 ? [] : [...this.written.slice(-most), ...found].slice(-most);
    const penalized = repeatPenalty && { repeatPenalty: { ...repeatPenalty, punishTokens } };
    this.#native.applyConfig(sequence._resolveSamplerConfig({ ...options, ...penalized }));
    const token = await sequence.context._ctx.sampleToken(logits, this.#native);
    if (token === -1) throw new Error("Failed to sample next token");
    return token;
  }
}
