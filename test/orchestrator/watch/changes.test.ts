import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Event, createEvents } from "../../../src/orchestrator/api/events.ts";
import { watchChanges } from "../../../src/orchestrator/watch/changes.ts";
import type { Change } from "../../../src/orchestrator/api/facade.ts";
import { type Log, createLog } from "../../../src/orchestrator/api/log.ts";
import type { Timers } from "../../../src/orchestrator/util/timers.ts";
import { handClock } from "../../support/hand-clock.ts";

const polls = { pollMemory: () => Promise.resolve(0), pollModels: () => Promise.resolve() };

/** Events are delivered at once. */
function start(timers: Timers, log: Log) {
  const events = createEvents(log);
  const emit = (event: Event): void => {
    events.emit(event);
    events.flush();
  };
  return { changes: watchChanges({ events, timers, log, ...polls }), emit };
}

function watched() {
  const clock = handClock();
  const logged: string[] = [];
  const { changes, emit } = start(
    clock,
    createLog("warn", (line) => logged.push(line)),
  );
  const told: Change[] = [];
  const stop = changes.subscribe((change) => told.push(change));
  return { clock, changes, emit, told, logged, stop };
}

describe("changes", () => {
  it("are published at once, and further ones within 300 ms as one at the end", () => {
    const { clock, emit, told } = watched();
    emit({ kind: "memory changed" });
    expect(told).toEqual([{ kind: "memory" }]);
    emit({ kind: "memory changed" });
    emit({ kind: "memory changed" });
    clock.advance(299);
    expect(told).toHaveLength(1);
    clock.advance(1);
    expect(told).toHaveLength(2);
    clock.advance(10_000);
    expect(told).toHaveLength(2);
  });

  it("are separate for memory, models and each job", () => {
    const { emit, told } = watched();
    emit({ kind: "memory changed" });
    emit({ kind: "listed models changed", isListChanged: false });
    emit({ kind: "job changed", id: "pull-1", isListChanged: true });
    emit({ kind: "job changed", id: "pull-2", isListChanged: false });
    expect(told).toEqual([
      { kind: "memory" },
      { kind: "models", isListChanged: false },
      { kind: "job", id: "pull-1", isListChanged: true },
      { kind: "job", id: "pull-2", isListChanged: false },
    ]);
  });

  it("keep isListChanged when a later change lacks it", () => {
    const { clock, emit, told } = watched();
    emit({ kind: "models changed", isListChanged: false });
    emit({ kind: "models changed", isListChanged: true });
    emit({ kind: "models changed", isListChanged: false });
    clock.advance(300);
    expect(told.at(-1)).toEqual({ kind: "models", isListChanged: true });
  });

  it("end with the subscription, and leave no timer behind", () => {
    const { clock, emit, told, stop } = watched();
    emit({ kind: "memory changed" });
    emit({ kind: "memory changed" });
    stop();
    clock.advance(1_000);
    emit({ kind: "memory changed" });
    expect(told).toHaveLength(1);
    expect(clock.waiting).toBe(0);
  });

  it("reach the other listeners when one throws, which is logged", () => {
    const { changes, emit, logged } = watched();
    changes.subscribe(() => {
      throw new Error("deaf");
    });
    const heard: Change[] = [];
    changes.subscribe((change) => heard.push(change));
    emit({ kind: "memory changed" });
    expect(heard).toHaveLength(1);
    expect(logged.join("\n")).toContain("deaf");
  });

  it("are published at most every 300 ms per subject, and the last one always", () => {
    const step = fc.record({ afterMs: fc.integer({ min: 0, max: 400 }), isListChanged: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const clock = handClock();
        const { changes, emit } = start(
          clock,
          createLog("silent", () => undefined),
        );
        const told: { readonly atMs: number; readonly change: Change }[] = [];
        changes.subscribe((change) => told.push({ atMs: clock.now(), change }));
        for (const { afterMs, isListChanged } of steps) {
          clock.advance(afterMs);
          emit({ kind: "models changed", isListChanged });
        }
        const lastAtMs = clock.now();
        clock.advance(300);
        const gaps = told.slice(1).map(({ atMs }, index) => atMs - (told[index]?.atMs ?? 0));
        expect(gaps.filter((gap) => gap < 300)).toEqual([]);
        if (steps.length > 0) expect(told.at(-1)?.atMs).toBeGreaterThanOrEqual(lastAtMs);
        const isAnyListChange = steps.some(({ isListChanged }) => isListChanged);
        const isToldListChange = told.some(({ change }) => change.kind === "models" && change.isListChanged);
        expect(isToldListChange).toBe(isAnyListChange);
      }),
    );
  });
});
