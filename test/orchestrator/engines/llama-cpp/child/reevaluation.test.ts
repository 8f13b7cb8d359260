import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { reportReevaluation } from "../../../../../src/orchestrator/engines/llama-cpp/child/sequences.ts";

const minute = 60_000;

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** Work that ends when triggered by the test. */
function held() {
  let end: () => void = () => undefined;
  const work = new Promise<void>((resolve) => {
    end = resolve;
  });
  return { work, end: () => end() };
}

it("progress is reported during a reevaluation and not after it", async () => {
  const { work, end } = held();
  let signs = 0;
  const waiting = reportReevaluation(work, 2_000, () => void (signs += 1));
  // As for a model with 27 billion parameters on two cores.
  await vi.advanceTimersByTimeAsync(11 * minute);
  expect(signs).toBe(66);
  end();
  await waiting;
  await vi.advanceTimersByTimeAsync(11 * minute);
  expect(signs).toBe(66);
});

it("progress is reported no longer than the tokens may take", async () => {
  const { work } = held();
  let signs = 0;
  void reportReevaluation(work, 40, () => void (signs += 1));
  void reportReevaluation(work, 0, () => void (signs += 1));
  await vi.advanceTimersByTimeAsync(60 * minute);
  expect(signs).toBe(10);
});

it("a failed reevaluation rejects", async () => {
  const failing = Promise.reject(new Error("no room in the cache"));
  await expect(reportReevaluation(failing, 40, () => undefined)).rejects.toThrow("no room in the cache");
  expect(vi.getTimerCount()).toBe(0);
});
