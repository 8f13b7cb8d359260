import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createChanges } from "../../../src/orchestrator/jobs/changes.ts";
import type { Change } from "../../../src/orchestrator/api/facade.ts";
import { createLog } from "../../../src/orchestrator/api/log.ts";
import { handClock } from "../../support/hand-clock.ts";

function watched() {
  const clock = handClock();
  const logged: string[] = [];
  const changes = createChanges(
    clock,
    createLog("warn", (line) => logged.push(line)),
  );
  const told: Change[] = [];
  const stop = changes.subscribe((change) => told.push(change));
  return { clock, changes, told, logged, stop };
}

describe("changes", () => {
  it("are published at once, and further ones within 300 ms as one at the end", () => {
    const { clock, changes, told } = watched();
    changes.publish({ kind: "memory" });
    expect(told).toEqual([{ kind: "memory" }]);
    changes.publish({ kind: "memory" });
    changes.publish({ kind: "memory" });
    clock.advance(299);
    expect(told).toHaveLength(1);
    clock.advance(1);
    expect(told).toHaveLength(2);
    clock.advance(10_000);
    expect(told).toHaveLength(2);
  });

  it("are separate for memory, models and each job", () => {
    const { changes, told } = watched();
    const each: Change[] = [
      { kind: "memory" },
      { kind: "models", isListChanged: false },
      { kind: "job", id: "pull-1", isListChanged: true },
      { kind: "job", id: "pull-2", isListChanged: false },
    ];
    each.forEach((change) => changes.publish(change));
    expect(told).toEqual(each);
  });

  it("keep isListChanged when a later change lacks it", () => {
    const { clock, changes, told } = watched();
    changes.publish({ kind: "models", isListChanged: false });
    changes.publish({ kind: "models", isListChanged: true });
    changes.publish({ kind: "models", isListChanged: false });
    clock.advance(300);
    expect(told.at(-1)).toEqual({ kind: "models", isListChanged: true });
  });

  it("end with the subscription, and leave no timer behind", () => {
    const { clock, changes, told, stop } = watched();
    changes.publish({ kind: "memory" });
    changes.publish({ kind: "memory" });
    stop();
    clock.advance(1_000);
    changes.publish({ kind: "memory" });
    expect(told).toHaveLength(1);
    expect(clock.waiting).toBe(0);
  });

  it("reach the other listeners when one throws, which is logged", () => {
    const { changes, logged } = watched();
    changes.subscribe(() => {
      throw new Error("deaf");
    });
    const heard: Change[] = [];
    changes.subscribe((change) => heard.push(change));
    changes.publish({ kind: "memory" });
    expect(heard).toHaveLength(1);
    expect(logged.join("\n")).toContain("deaf");
  });

  it("are published at most every 300 ms per subject, and the last one always", () => {
    const step = fc.record({ afterMs: fc.integer({ min: 0, max: 400 }), isListChanged: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const clock = handClock();
        const changes = createChanges(
          clock,
          createLog("silent", () => undefined),
        );
        const told: { readonly atMs: number; readonly change: Change }[] = [];
        changes.subscribe((change) => told.push({ atMs: clock.now(), change }));
        for (const { afterMs, isListChanged } of steps) {
          clock.advance(afterMs);
          changes.publish({ kind: "models", isListChanged });
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
