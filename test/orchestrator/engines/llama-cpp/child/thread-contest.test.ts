import { describe, expect, it } from "vitest";
import { createThreadContest } from "../../../../../src/orchestrator/engines/llama-cpp/child/generate.ts";

type ThreadContest = ReturnType<typeof createThreadContest>;

/** Evaluates chunks at the given speeds and returns the threads that were used. */
const run = (contest: ThreadContest, chunks: number, speedOf: (threads: number) => number): readonly number[] =>
  Array.from({ length: chunks }, () => {
    const threads = contest.next();
    contest.measured(threads, speedOf(threads));
    return threads;
  });
const idle = (threads: number) => threads;
const busy = (threads: number) => (threads === 1 ? 0.8 : 0.02);

describe("threads of a prompt", () => {
  it("each count evaluates one chunk, one thread first, then the fastest is used", () => {
    expect(run(createThreadContest([1, 2, 4]), 6, idle)).toEqual([1, 2, 4, 4, 4, 4]);
  });
  it("one thread is used next to other programs", () => {
    expect(run(createThreadContest([1, 2]), 5, busy)).toEqual([1, 2, 1, 1, 1]);
  });
  it("the comparison is repeated after five chunks, then after twice as many", () => {
    const used = run(createThreadContest([1, 2]), 100, busy);
    expect(used.flatMap((threads, chunk) => (threads === 2 ? [chunk] : []))).toEqual([1, 8, 20, 42, 84]);
  });
  it("other programs on the cores are noticed at once", () => {
    const contest = createThreadContest([1, 2]);
    expect(run(contest, 4, idle)).toEqual([1, 2, 2, 2]);
    expect(run(contest, 5, busy)).toEqual([2, 1, 2, 1, 1]);
  });
  it("one core needs no comparison", () => {
    expect(run(createThreadContest([1]), 50, idle)).toEqual(Array.from({ length: 50 }, () => 1));
  });
});
