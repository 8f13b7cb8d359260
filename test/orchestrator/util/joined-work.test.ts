import { getEventListeners } from "node:events";
import { setImmediate as nextTurn } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { createMutex, JoinedWorks } from "../../../src/orchestrator/util/joined-work.ts";
import { Cancelled } from "../../../src/orchestrator/api/errors.ts";

const never = new AbortController().signal;

/** Work that the test ends; aborted, it takes a turn to clean up. */
function controlledWork() {
  let finish: () => void = () => undefined;
  let emit: (event: number) => void = () => undefined;
  const state = { starts: 0, isCleanedUp: false };
  const start = (signal: AbortSignal, emitEvent: (event: number) => void) => {
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

describe("joined work", () => {
  it("runs once for concurrent callers of the same key", async () => {
    const works = new JoinedWorks<string, number>("work");
    const work = controlledWork();
    const both = Promise.all([
      works.join("a", work.start, never, () => undefined),
      works.join("a", work.start, never, () => undefined),
    ]);
    await Promise.resolve();
    work.finish();
    expect(await both).toEqual(["done", "done"]);
    expect(work.state.starts).toBe(1);
  });

  it("waits for many at once on the signal of one call without a warning of a leak, and takes its listeners off again", async () => {
    const works = new JoinedWorks<string, number>("work");
    const all = Array.from({ length: 12 }, () => controlledWork());
    const { signal } = new AbortController();
    const warnings: Error[] = [];
    const note = (warning: Error) => void warnings.push(warning);
    process.on("warning", note);
    const joined = Promise.all(all.map((work, at) => works.join(`${at}`, work.start, signal)));
    await nextTurn();
    process.off("warning", note);
    expect(warnings).toEqual([]);
    for (const work of all) work.finish();
    await joined;
    expect(getEventListeners(signal, "abort")).toEqual([]);
    const controller = new AbortController();
    const cancelled = all.map((work, at) => works.join(`${at}`, work.start, controller.signal));
    controller.abort();
    for (const each of await Promise.allSettled(cancelled)) expect(each.status).toBe("rejected");
  });

  it("gives a caller that joins the newest event at once", async () => {
    const works = new JoinedWorks<string, number>("work");
    const work = controlledWork();
    const first = works.join("a", work.start, never, () => undefined);
    await Promise.resolve();
    work.emit(1);
    work.emit(2);
    const heard: number[] = [];
    const second = works.join("a", work.start, never, (event) => heard.push(event));
    expect(heard).toEqual([2]);
    work.finish();
    await Promise.all([first, second]);
  });

  it("is aborted only with its last caller, who waits for the cleanup", async () => {
    const works = new JoinedWorks<string, number>("work");
    const work = controlledWork();
    const [first, second] = [new AbortController(), new AbortController()];
    const one = works.join("a", work.start, first.signal, () => undefined);
    const other = works.join("a", work.start, second.signal, () => undefined);
    first.abort("cancelled");
    await expect(one).rejects.toBeInstanceOf(Cancelled);
    expect(work.state.isCleanedUp).toBe(false);
    second.abort("cancelled");
    await expect(other).rejects.toBeInstanceOf(Cancelled);
    expect(work.state.isCleanedUp).toBe(true);
  });

  it("starts again for a caller that comes during the cleanup of aborted work", async () => {
    const works = new JoinedWorks<string, number>("work");
    const work = controlledWork();
    const leaving = new AbortController();
    const left = works.join("a", work.start, leaving.signal, () => undefined);
    await Promise.resolve();
    leaving.abort("cancelled");
    const fresh = works.join("a", work.start, never, () => undefined);
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
