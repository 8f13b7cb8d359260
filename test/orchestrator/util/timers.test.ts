import { describe, expect, it } from "vitest";
import { within } from "../../../src/orchestrator/util/timers.ts";

const never = (): Promise<never> => new Promise(() => undefined);
const late = (): string => "late";

/** Timers that a test ends by hand. */
function handTimers() {
  const actions = new Set<() => void>();
  return {
    actions,
    after(_ms: number, action: () => void) {
      actions.add(action);
      return () => actions.delete(action);
    },
  };
}

describe("a wait that is bounded", () => {
  it("gives what the work gives, and leaves no timer and no listener", async () => {
    const timers = handTimers();
    const { signal } = new AbortController();
    expect(await within({ ms: 1, timers, signal }, async () => "done", late)).toBe("done");
    await expect(within({ ms: 1, timers }, () => Promise.reject(new Error("no")), late)).rejects.toThrow("no");
    expect(timers.actions.size).toBe(0);
  });

  it("gives what to do instead when the time is over, and aborts the work", async () => {
    const timers = handTimers();
    let given: AbortSignal | undefined;
    const waiting = within({ ms: 5, timers }, (signal) => ((given = signal), never()), late);
    for (const end of timers.actions) end();
    expect(await waiting).toBe("late");
    expect(given?.aborted).toBe(true);
    expect(timers.actions.size).toBe(0);
  });

  it("fails as `late` does, even if the work fails because of it", async () => {
    const fail = (): never => {
      throw new Error("too long");
    };
    const work = (signal: AbortSignal) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener("abort", () => reject(new Error("aborted")));
      });
    await expect(within({ ms: 1 }, work, fail)).rejects.toThrow("too long");
  });

  it("ends with its signal, whose reason the work gets", async () => {
    const reason = new Error("gone");
    for (const isBefore of [true, false]) {
      const controller = new AbortController();
      if (isBefore) controller.abort(reason);
      let given: AbortSignal | undefined;
      const waiting = within({ ms: 60_000, signal: controller.signal }, (signal) => ((given = signal), never()), late);
      controller.abort(reason);
      expect(await waiting).toBe("late");
      expect(given?.reason).toBe(reason);
    }
  });

  it("may be longer than the longest delay of a timer", async () => {
    expect(await within({ ms: 2 ** 40 }, async () => "done", late)).toBe("done");
  });
});
