import { describe, expect, it } from "vitest";
import {
  evaluateWithGuesses,
  GuessCosts,
  SeenTokens,
} from "../../../../../src/orchestrator/engines/llama-cpp/child/guesses.ts";
import type {
  EvaluateOptions,
  GrammarState,
  SequenceInside,
  Token,
} from "../../../../../src/orchestrator/engines/llama-cpp/child/node-llama-cpp.ts";

const tokens = (...numbers: number[]) => numbers as Token[];
const textOf = (text: string) => Array.from(text, (character) => character.charCodeAt(0) as Token);

describe("what followed the last tokens before", () => {
  it.each([
    ["nothing in a text that doesn't repeat", "abcdefgh", ""],
    ["what followed the last three", "abcdefgh abc", "defg"],
    ["not what followed two", "abcdefgh bc", ""],
    ["the longest match, not the latest", "xabcd1 yabcd2 zabcd3 yabcd", "2 za"],
    ["of equals the latest", "abc1 abc2 abc", "2 ab"],
    ["no more than there is", "abcd abc", "d ab"],
  ])("is %s", (_, text, expected) => {
    const seen = new SeenTokens();
    seen.add(textOf(text));
    expect(String.fromCharCode(...seen.next(4).tokens)).toBe(expected);
  });
  it("goes on where it was copied from, also where other places match as well", () => {
    const seen = new SeenTokens();
    seen.add(textOf("1 one two three. 2 one two three! 1 one"));
    for (const each of " two three") seen.add(textOf(each));
    expect(String.fromCharCode(...seen.next(2).tokens)).toBe(". ");
    seen.add(textOf("?"));
    expect(seen.next(2).tokens).toEqual([]);
  });
});

describe("how many guesses are tried", () => {
  /** A batch takes `ratio(size)` times as long as a token. */
  const measuring = (ratio: (size: number) => number, readMs = 1) => {
    const costs = new GuessCosts([], 63);
    costs.measured(1, 10);
    costs.read(128, 128 * readMs);
    for (let round = 0; round < 20; round += 1)
      for (const size of [2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]) costs.measured(size, 10 * ratio(size));
    return costs;
  };
  it("is none where a batch takes as long as its tokens one after the other", () => {
    const answer = measuring((size) => size).startAnswer();
    for (const matched of [3, 8, 40]) expect(answer.count(matched, 63)).toBe(0);
  });
  it("is many where a batch takes as long as a token, and more after each that was right", () => {
    const answer = measuring(() => 1.1).startAnswer();
    let count = answer.count(20, 63);
    expect(count).toBe(7);
    for (let round = 0; round < 4; round += 1) {
      answer.judged(20, count, count);
      count = answer.count(20, 63);
    }
    expect(count).toBe(63);
  });
  it("is none after guesses that were wrong, and some again in later answers", () => {
    const costs = measuring((size) => 1 + (size - 1) / 3);
    const answer = costs.startAnswer();
    expect(answer.count(20, 63)).toBeGreaterThan(0);
    for (let round = 0; round < 6; round += 1) answer.judged(20, 7, 0);
    expect(answer.count(20, 63)).toBe(0);
    expect(costs.startAnswer().count(20, 63)).toBeLessThan(2);
    let later = 0;
    for (let round = 0; round < 20; round += 1) later = costs.startAnswer().count(20, 63);
    expect(later).toBeGreaterThan(2);
  });
  it("is none of a size that wasn't measured, unless the match is hardly by chance", () => {
    const costs = new GuessCosts([], 63);
    costs.measured(1, 10);
    costs.read(128, 128);
    expect(costs.startAnswer().count(4, 63)).toBe(0);
    expect(costs.startAnswer().count(12, 63)).toBeGreaterThan(0);
  });
  it("follows the first batch of a size, if no prompt said before what reading takes", () => {
    const costs = new GuessCosts([], 63);
    costs.measured(1, 10);
    costs.measured(8, 57);
    expect(costs.known).toEqual([[8, 5.7]]);
  });
  it("never exceeds what is there, and what was measured is known to the next process", () => {
    const costs = measuring(() => 1.1);
    expect(costs.startAnswer().count(20, 2)).toBe(2);
    const again = new GuessCosts(costs.known, 63);
    expect(again.startAnswer().count(4, 63)).toBeGreaterThan(0);
  });
});

/** What a model writes depends on all before, the draws of its sampler, what is penalized, and the grammar. */
function sequenceOf(options: {
  readonly period: number;
  readonly failsAt?: number;
  readonly length: number;
  /** Draws for tokens that are replaced are lost. */ readonly isReplaced?: boolean;
}) {
  let held: Token[] = [];
  let [draws, steps, written] = [0, 0, 0];
  const states: FakeGrammar[] = [];
  class FakeGrammar implements GrammarState {
    readonly _state: { accepted: number };
    constructor(accepted: number) {
      this._state = { accepted };
      states.push(this);
    }
    clone = () => new FakeGrammar(this._state.accepted);
  }
  class NativeSampler {
    static acceptGrammarEvaluationStateToken(state: { accepted: number }) {
      state.accepted += 1;
    }
    config: Record<string, unknown> = {};
    isDisposed = false;
    applyConfig(config: object) {
      this.config = { ...config };
    }
    dispose() {
      this.isDisposed = true;
    }
  }
  const next = (before: readonly Token[], { config }: NativeSampler): Token | -1 => {
    if (options.failsAt === draws) return -1;
    const { repeatPenalty, grammarEvaluationState } = config as {
      repeatPenalty?: { punishTokens: Token[] };
      grammarEvaluationState?: FakeGrammar;
    };
    const turn = before.length % options.period;
    const drawn = options.isReplaced === true ? before.length : draws;
    const noise = drawn % 23 === 0 ? drawn : 0;
    const punished = repeatPenalty?.punishTokens.reduce((sum, token) => sum + token, 0) ?? 0;
    const allowed = grammarEvaluationState?._state.accepted ?? 0;
    draws += 1;
    if (grammarEvaluationState !== undefined) grammarEvaluationState._state.accepted += 1;
    if (before.length >= options.length) return 0 as Token;
    return (1 + turn + noise + (punished % 3) + (allowed % options.period)) as Token;
  };
  const sequence = {
    context: {
      totalSequences: 1,
      contextSize: 4_096,
      _ctx: {
        sampleToken: async (logits: number, sampler: NativeSampler) => next(held.slice(0, logits + 1), sampler),
      },
    },
    model: {
      _model: {},
      _llama: { _bindings: { AddonSampler: NativeSampler } },
      isEogToken: (token: Token) => token === 0,
    },
    _contextShift: {},
    tokenMeter: { usedOutputTokens: 0, useTokens: (count: number) => (written += count) },
    get nextTokenIndex() {
      return held.length;
    },
    get contextTokens() {
      return [...held];
    },
    needsCheckpoints: false,
    async eraseContextTokenRanges([{ start, end }]: readonly [{ start: number; end: number }]) {
      held = [...held.slice(0, start), ...held.slice(end)];
    },
    async _decodeTokens(
      given: readonly Token[],
      logits: readonly true[],
      _priority: number,
      _meter: undefined,
      _shift: object,
      map: (logits: number) => Promise<unknown>,
    ) {
      steps += 1;
      const before = held.length;
      held = [...held, ...given];
      for (const [index, isWanted] of logits.entries()) if (isWanted) await map(before + index);
    },
    _resolveSamplerConfig: (config: object) => config,
  };
  return {
    sequence: sequence as unknown as SequenceInside,
    grammar: () => new FakeGrammar(0),
    counts: () => ({ draws, steps, written }),
    held: () => held,
  };
}

const cheap = () => {
  const costs = new GuessCosts([], 63);
  costs.measured(1, 10);
  costs.read(128, 128);
  // What a fake takes says nothing.
  return Object.assign(costs, { measured: () => undefined });
};

/** Writes an answer, with so many guesses at most, and takes back some tokens. */
async function answerOf(
  subject: ReturnType<typeof sequenceOf>,
  most: number,
  options: EvaluateOptions = {},
  use: (token: Token, count: number) => Token | Token[] | undefined | "end" = () => undefined,
) {
  const given: Token[] = [];
  const guessing = {
    costs: cheap(),
    isOnly: () => true,
    most: () => most,
    step: <Result>(_: number, run: () => Promise<Result>) => run(),
  };
  const writing = evaluateWithGuesses(subject.sequence, tokens(7, 8, 9), { yieldEogToken: true, ...options }, guessing);
  let replacement: Token | Token[] | undefined;
  for (;;) {
    const { value, done } = await writing.next(replacement);
    if (done === true) break;
    given.push(value);
    const used = use(value, given.length);
    if (used === "end" || value === 0) {
      await writing.return();
      break;
    }
    replacement = used;
  }
  return given;
}

function replace(_: Token, count: number) {
  return count % 17 === 0 ? tokens(3, 4) : undefined;
}

describe("an answer with guesses", () => {
  const penalty = { repeatPenalty: { punishTokens: () => [], maxPunishTokens: 5 } };
  for (const period of [4, 7, 11, 40])
    it.each([
      ["", {}, undefined],
      ["with a penalty", penalty, undefined],
      ["where tokens are replaced", {}, replace],
      ["that is ended", {}, (_: Token, count: number) => (count === 161 ? ("end" as const) : undefined)],
    ])(`is that without them where a text repeats after ${period} tokens %s`, async (_, options, use) => {
      const create = () => sequenceOf({ period, length: 300, isReplaced: use?.name === "replace" });
      const [plain, guessing] = [create(), create()];
      const expected = await answerOf(plain, 0, options, use);
      const found = await answerOf(guessing, 63, options, use);
      expect(found).toEqual(expected);
      expect(guessing.counts().written).toBe(plain.counts().written);
      // What is left is what a later prompt is compared with.
      expect(guessing.held()).toEqual(plain.held());
      if (use === undefined) expect(guessing.counts().draws).toBe(plain.counts().draws);
      // Some texts with a penalty don't repeat.
      if (options !== penalty) expect(guessing.counts().steps).toBeLessThan(plain.counts().steps);
    });

  it.each([7, 30])("keeps to a grammar, of which another one takes the place after %i tokens", async (changes) => {
    const run = async (most: number) => {
      const subject = sequenceOf({ period: 9, length: 200 });
      const [first, second] = [subject.grammar(), subject.grammar()];
      let count = 0;
      const now = () => (count < changes ? first : second);
      const text = await answerOf(subject, most, { grammarEvaluationState: now }, (_, written) => {
        count = written;
        return undefined;
      });
      return { text, accepted: [first, second].map(({ _state }) => _state), steps: subject.counts().steps };
    };
    const [plain, guessing] = [await run(0), await run(63)];
    expect(guessing.text).toEqual(plain.text);
    expect(guessing.steps).toBeLessThan(plain.steps);
  });

  it("fails where no token can be sampled, and leaves no guesses", async () => {
    const subject = sequenceOf({ period: 7, length: 300, failsAt: 90 });
    await expect(answerOf(subject, 63)).rejects.toThrow("Failed to sample");
    const { held } = subject;
    const plain = sequenceOf({ period: 7, length: 300, failsAt: 90 });
    await expect(answerOf(plain, 0)).rejects.toThrow("Failed to sample");
    expect(plain.held().slice(0, held().length)).toEqual(held());
  });

  it("keeps its hands off a sequence that was fitted to another prompt meanwhile", async () => {
    const subject = sequenceOf({ period: 7, length: 300 });
    const step = <Result>(_: number, run: () => Promise<Result>) => run();
    const guessing = { costs: cheap(), isOnly: () => true, most: () => 63, step };
    const writing = evaluateWithGuesses(subject.sequence, tokens(7, 8, 9), { yieldEogToken: true }, guessing);
    let end = 2;
    // The first of several guesses that were right.
    while (subject.held().length < end + 4) {
      await writing.next();
      end += 1;
    }
    const fitted = end + 2;
    await subject.sequence.eraseContextTokenRanges([{ start: fitted, end: subject.held().length }]);
    await writing.return();
    expect(subject.held()).toHaveLength(fitted);
  });

  it("ends where the model ends it, also if the prompt went on after such a token", async () => {
    const subject = sequenceOf({ period: 7, length: 30 });
    const ended = tokens(...[30, 31, 32, 33].map((at) => 1 + (at % 7)), 0, 9, 9, 9);
    const guessing = {
      costs: cheap(),
      isOnly: () => true,
      most: () => 63,
      step: <Result>(_: number, run: () => Promise<Result>) => run(),
    };
    const given: Token[] = [];
    for await (const token of evaluateWithGuesses(subject.sequence, [...ended, ...tokens(3, 4, 5)], {}, guessing))
      given.push(token);
    expect(given).not.toContain(0);
    expect(subject.counts().draws).toBe(given.length + 1);
  });

  it("never goes beyond the window", async () => {
    const subject = sequenceOf({ period: 7, length: 300 });
    const small = { ...subject.sequence.context, contextSize: 120 };
    Object.assign(subject.sequence, { context: small });
    let most = 0;
    await answerOf(subject, 63, {}, (_, count) => {
      most = Math.max(most, subject.held().length);
      return count === 110 ? "end" : undefined;
    });
    expect(most).toBeLessThan(120);
  });
});
