import { describe, expect, it } from "vitest";
import { answersTogether } from "../../../../../src/orchestrator/engines/llama-cpp/child/speeds.ts";
import { createPieceSize, nextPiece, Turns } from "../../../../../src/orchestrator/engines/llama-cpp/child/turns.ts";

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
});

describe("the prompt that is read next", () => {
  const long = { leftTokens: 8_000, since: 1 };
  const short = { leftTokens: 50, since: 2 };
  it("is the shortest, and each fourth time the one that waits longest", () => {
    expect([0, 1, 2, 3, 4, 7].map((count) => nextPiece([long, short], count))).toEqual([1, 1, 1, 0, 1, 0]);
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
    const turns = new Turns({ begin: () => {}, beforeToken: (answers) => void counts.push(answers) });
    const write = async (name: string, tokens: number, context: object = steps) => {
      const answer = { isHeld: false };
      for (let token = 0; token < tokens; token += 1) await turns.token(answer, context, compute(name));
      turns.leave(answer);
    };
    const read = async (name: string, pieces: number) => {
      for (let left = pieces; left > 0; left -= 1) await turns.piece(left, 0, compute(name));
    };
    return { steps, counts, turns, write, read };
  }

  it("compute the tokens of all answers together", async () => {
    const { steps, counts, write } = recorder();
    await Promise.all([write("a", 3), write("b", 3), write("c", 2)]);
    expect(steps.map((step) => step.join(""))).toEqual(
      ["a", "bca", "bca", "b"].map((step) => expect.stringMatching(`^[${step}]+$`)),
    );
    expect(Math.max(...counts)).toBe(3);
  });
  it("read a piece of a prompt after each token, and whole batches if no answer is written", async () => {
    const { steps, turns, write, read } = recorder();
    expect(turns.aimMs).toBeUndefined();
    const writing = write("a", 6);
    expect(turns.aimMs).toBeGreaterThan(0);
    await Promise.all([writing, read("P", 3)]);
    const order = steps.flat().join("");
    expect(order.replaceAll("P", "")).toBe("aaaaaa");
    expect(order).not.toContain("PP");
    expect(turns.aimMs).toBeUndefined();
  });
  it("compute the answers of two contexts one after the other", async () => {
    const { steps, write } = recorder();
    await Promise.all([write("a", 3, {}), write("b", 3, {})]);
    for (const step of steps) expect(new Set(step).size).toBe(1);
  });
  it("of a failure tell its own request alone", async () => {
    const { turns, write } = recorder();
    const failed = turns.token({ isHeld: false }, turns, () => Promise.reject(new Error("out of cells")));
    await Promise.all([expect(failed).rejects.toThrow("out of cells"), write("b", 3)]);
  });
});
