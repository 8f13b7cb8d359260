import { describe, expect, it } from "vitest";
import {
  answersTogether,
  createThreadContest,
} from "../../../../../src/orchestrator/engines/llama-cpp/child/threads.ts";
import { createPieceSize, inOrder, Turns } from "../../../../../src/orchestrator/engines/llama-cpp/child/turns.ts";

const minutes = 60_000;

describe("how many answers are written together", () => {
  const speeds = (...pairs: (readonly [number, number, number?])[]) =>
    new Map(pairs.map(([width, speed, atMs = 0]) => [width, { speed, atMs }]));
  it.each([
    ["two are tried if nothing was measured", speeds([1, 1]), 2],
    ["four if two are faster", speeds([1, 1], [2, 1.5]), 4],
    ["two if they lose little, because callers are answered sooner", speeds([1, 1], [2, 0.96]), 4],
    ["one after the other if two are slower", speeds([1, 1], [2, 0.9]), 1],
    ["as many as are fastest", speeds([1, 1], [2, 1.5], [4, 1.4]), 2],
    ["all", speeds([1, 1], [2, 1.5], [4, 2], [8, 2]), 8],
    ["what was slower ten minutes ago is tried again", speeds([1, 1], [2, 0.5, -11 * minutes]), 2],
    ["what is slower and was just measured is not", speeds([1, 1], [2, 0.5, -9 * minutes]), 1],
  ])("%s", (_, known, expected) => {
    expect(answersTogether(known, 0)).toBe(expected);
  });
});

describe("the size of a piece of a prompt beside answers", () => {
  it("grows and shrinks until a piece takes the time that it may", () => {
    const size = createPieceSize(128);
    const msPerToken = 4;
    for (let round = 0; round < 10; round += 1) size.measured(size.tokens, size.tokens * msPerToken, 160);
    expect(size.tokens).toBe(40);
    for (let round = 0; round < 10; round += 1) size.measured(size.tokens, size.tokens * 40, 160);
    expect(size.tokens).toBe(4);
  });
  it("is one token at least and a batch at most, and the end of a prompt doesn't change it", () => {
    const size = createPieceSize(128);
    for (let round = 0; round < 20; round += 1) size.measured(size.tokens, 1, 160);
    expect(size.tokens).toBe(128);
    size.measured(3, 10_000, 160);
    expect(size.tokens).toBe(128);
    for (let round = 0; round < 20; round += 1) size.measured(size.tokens, 10_000, 160);
    expect(size.tokens).toBe(1);
  });
  it("shrinks, too, where the tokens of answers leave no room for all of it", () => {
    const size = createPieceSize(128);
    for (let round = 0; round < 20; round += 1) size.measured(size.tokens, 1, 160);
    size.measured(120, 1_000, 160, 120);
    expect(size.tokens).toBe(64);
  });
});

describe("the prompts that are read next", () => {
  const long = { leftTokens: 8_000, since: 2 };
  const middle = { leftTokens: 900, since: 1 };
  const short = { leftTokens: 50, since: 3 };
  it("are the shortest, and each fourth time first the one that waits longest", () => {
    for (const count of [0, 1, 2, 4]) expect(inOrder([long, middle, short], count)).toEqual([short, middle, long]);
    for (const count of [3, 7]) expect(inOrder([long, middle, short], count)).toEqual([middle, short, long]);
  });
});

describe("turns", () => {
  /** Records what is computed at the same time. */
  function recorder() {
    const steps: string[][] = [];
    let open: string[] | undefined;
    const compute = (name: string) => async () => {
      if (open === undefined) {
        steps.push((open = []));
        setImmediate(() => (open = undefined));
      }
      open.push(name);
      await new Promise((resolve) => setImmediate(resolve));
      return name;
    };
    const counts: number[] = [];
    const llama = { maxThreads: 0 };
    const turns = new Turns(
      { begin: () => {}, beforeToken: (answers) => void counts.push(answers) },
      { batchTokens: 128, llama, contest: createThreadContest(1, 5) },
    );
    const write = async (name: string, tokens: number, context: object = steps) => {
      const answer = { isHeld: false };
      for (let token = 0; token < tokens; token += 1) await turns.token(answer, context, compute(name));
      turns.leave(answer);
    };
    const sizes: number[] = [];
    const read = async (name: string, length: number, context: object = steps) => {
      for (let left = length; left > 0;) {
        const piece = await turns.piece(context, left, 0, async (count) => {
          sizes.push(count);
          await compute(name)();
          return count;
        });
        left -= piece.tokens;
      }
    };
    return { steps, counts, sizes, turns, write, read };
  }

  it("compute the tokens of all answers together", async () => {
    const { steps, counts, write } = recorder();
    await Promise.all([write("a", 3), write("b", 3), write("c", 2)]);
    expect(steps.map((step) => step.join(""))).toEqual(
      ["a", "bca", "bca", "b"].map((step) => expect.stringMatching(`^[${step}]+$`)),
    );
    expect(Math.max(...counts)).toBe(3);
  });
  it("read a piece of a prompt beside each token, and whole batches if no answer is written", async () => {
    const { steps, sizes, write, read } = recorder();
    await Promise.all([write("a", 6), read("P", 60)]);
    expect(steps.flat().filter((name) => name === "a")).toHaveLength(6);
    expect(steps.some((step) => step.includes("a") && step.includes("P"))).toBe(true);
    expect(sizes[0]).toBeLessThan(60);
    sizes.length = 0;
    await read("P", 300);
    expect(sizes).toEqual([128, 128, 44]);
  });
  it("read small pieces of a prompt in the background, until one that isn't comes", async () => {
    const { turns } = recorder();
    const sizes: number[] = [];
    // 4 ms a token.
    const piece = (left: number, isBehind: boolean) =>
      turns.piece(
        sizes,
        left,
        0,
        async (count) => {
          sizes.push(count);
          await new Promise((resolve) => setTimeout(resolve, 4 * count));
          return count;
        },
        isBehind,
      );
    for (let round = 0; round < 6; round += 1) await piece(5_000, true);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(32);
    sizes.length = 0;
    await Promise.all([piece(5_000, true), piece(100, false)]);
    expect(sizes).toEqual([100, 28]);
  });
  it("read several prompts in one batch, as far as it reaches", async () => {
    const { steps, sizes, read } = recorder();
    await Promise.all([read("P", 100), read("Q", 20), read("R", 50)]);
    expect(steps.map((step) => step.join(""))).toEqual(["P", "QRP"].map(() => expect.any(String)));
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(170);
  });
  it("let no prompt be read that is to wait, and read the others", async () => {
    const { turns, read } = recorder();
    const waits = turns.piece(turns, 10, 0, async () => 0);
    await Promise.all([expect(waits).resolves.toMatchObject({ tokens: 0 }), read("P", 20)]);
  });
  it("compute the answers of two contexts one after the other", async () => {
    const { steps, write, read } = recorder();
    const [one, other] = [{}, {}];
    await Promise.all([write("a", 3, one), write("b", 3, other), read("P", 20, other)]);
    for (const step of steps) expect(step.includes("a") && (step.includes("b") || step.includes("P"))).toBe(false);
  });
  it("read a prompt of one context although answers of two others are written", async () => {
    const { steps, write, read } = recorder();
    await Promise.all([write("a", 30, {}), write("b", 30, {}), read("P", 20, {})]);
    expect(steps.findIndex((step) => step.includes("P"))).toBeLessThan(10);
  });
  it.each([
    ["that are set, where nothing was compared", undefined, 2],
    [
      "that won",
      new Map([
        [1, 5],
        [2, 1],
      ]),
      1,
    ],
  ])("compute guesses with the threads %s", async (_why, speeds, expected) => {
    const llama = { maxThreads: 2 };
    const reading = { batchTokens: 128, llama, contest: createThreadContest(2, 5, speeds) };
    const turns = new Turns({ begin: () => {}, beforeToken: () => {} }, reading);
    expect(await turns.token({ isHeld: false }, turns, async () => llama.maxThreads, 20)).toBe(expected);
  });
  it("of a failure tell its own request alone", async () => {
    const { turns, write } = recorder();
    const failed = turns.token({ isHeld: false }, turns, () => Promise.reject(new Error("out of cells")));
    await Promise.all([expect(failed).rejects.toThrow("out of cells"), write("b", 3)]);
  });
});
