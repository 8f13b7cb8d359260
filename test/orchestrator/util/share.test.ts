import { describe, expect, it } from "vitest";
import { createMutex } from "../../../src/orchestrator/util/mutex.ts";
import { createShare } from "../../../src/orchestrator/util/share.ts";
import { Cancelled } from "../../../src/orchestrator/api/errors.ts";

const never = new AbortController().signal;

/** Work that the test ends; aborted, it takes a turn to clean up. */
function controlledWork() {
  let finish: () => void = () => undefined;
  let emit: (event: number) => void = () => undefined;
  const state = { starts: 0, isCleanedUp: false };
  const start = (emitEvent: (event: number) => void, signal: AbortSignal) => {
    state.starts += 1;
    emit = emitEvent;
    return new Promise<string>((resolve, reject) => {
      finish = () => resolve("done");
      signal.addEventListener("abort", () =>
        setImmediate(() => {
          state.isCleanedUp = true;
          reject(new Cancelled("aborted"));
        }),
      );
    });
  };
  return { start, state, finish: () => finish(), emit: (event: number) => emit(event) };
}

describe("share", () => {
  it("runs once for concurrent callers of the same key", async () => {
    const share = createShare<number, string>("work");
    const work = controlledWork();
    const both = Promise.all([
      share("a", work.start, () => undefined, never),
      share("a", work.start, () => undefined, never),
    ]);
    await Promise.resolve();
    work.finish();
    expect(await both).toEqual(["done", "done"]);
    expect(work.state.starts).toBe(1);
  });

  it("gives a caller that joins the newest event at once", async () => {
    const share = createShare<number, string>("work");
    const work = controlledWork();
    const first = share("a", work.start, () => undefined, never);
    await Promise.resolve();
    work.emit(1);
    work.emit(2);
    const heard: number[] = [];
    const second = share("a", work.start, (event) => heard.push(event), never);
    expect(heard).toEqual([2]);
    work.finish();
    await Promise.all([first, second]);
  });

  it("is aborted only with its last caller, who waits for the cleanup", async () => {
    const share = createShare<number, string>("work");
    const work = controlledWork();
    const [first, second] = [new AbortController(), new AbortController()];
    const one = share("a", work.start, () => undefined, first.signal);
    const other = share("a", work.start, () => undefined, second.signal);
    first.abort("cancelled");
    await expect(one).rejects.toBeInstanceOf(Cancelled);
    expect(work.state.isCleanedUp).toBe(false);
    second.abort("cancelled");
    await expect(other).rejects.toBeInstanceOf(Cancelled);
    expect(work.state.isCleanedUp).toBe(true);
  });

  it("starts again for a caller that comes during the cleanup of aborted work", async () => {
    const share = createShare<number, string>("work");
    const work = controlledWork();
    const leaving = new AbortController();
    const left = share("a", work.start, () => undefined, leaving.signal);
    await Promise.resolve();
    leaving.abort("cancelled");
    const fresh = share("a", work.start, () => undefined, never);
    await expect(left).rejects.toBeInstanceOf(Cancelled);
    await new Promise((resolve) => setImmediate(resolve));
    work.finish();
    expect(await fresh).toBe("done");
    expect(work.state.starts).toBe(2);
  });
});

describe("mutex", () => {
  it("runs one task at a time, in order, and continues after a failure", async () => {
    const exclusively = createMutex();
    const order: string[] = [];
    const work = (name: string) => async () => {
      order.push(`${name} in`);
      await new Promise((resolve) => setImmediate(resolve));
      order.push(`${name} out`);
      if (name === "a") throw new Error("a failed");
    };
    await Promise.allSettled([exclusively(work("a")), exclusively(work("b"))]);
    expect(order).toEqual(["a in", "a out", "b in", "b out"]);
  });
});
