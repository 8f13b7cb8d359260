import { describe, expect, it } from "vitest";
import {
  createThreadContest,
  type ThreadContest,
} from "../../../../../src/orchestrator/engines/llama-cpp/child/thread-contest.ts";

/** Evaluates so many chunks at the speed of each count; answers the threads that were used. */
const run = (contest: ThreadContest, chunks: number, speedOf: (threads: number) => number): readonly number[] =>
  Array.from({ length: chunks }, () => {
    const threads = contest.next();
    contest.measured(threads, speedOf(threads));
    return threads;
  });
const idle = (threads: number) => threads;
const busy = (threads: number) => (threads === 1 ? 0.8 : 0.02);

describe("threads of a prompt", () => {
  it("each count gets one chunk, one thread first, then the fastest goes on", () => {
    expect(run(createThreadContest([1, 2, 4]), 6, idle)).toEqual([1, 2, 4, 4, 4, 4]);
  });
  it("beside other programs one thread wins", () => {
    expect(run(createThreadContest([1, 2]), 5, busy)).toEqual([1, 2, 1, 1, 1]);
  });
  it("the contest is repeated after 20 chunks, then after twice as many", () => {
    const used = run(createThreadContest([1, 2]), 100, busy);
    expect(used.flatMap((threads, chunk) => (threads === 2 ? [chunk] : []))).toEqual([1, 23, 65]);
  });
  it("company on the cores is noticed at once", () => {
    const contest = createThreadContest([1, 2]);
    expect(run(contest, 4, idle)).toEqual([1, 2, 2, 2]);
    expect(run(contest, 5, busy)).toEqual([2, 1, 2, 1, 1]);
  });
  it("one core needs no contest", () => {
    expect(run(createThreadContest([1]), 50, idle)).toEqual(Array.from({ length: 50 }, () => 1));
  });
});
