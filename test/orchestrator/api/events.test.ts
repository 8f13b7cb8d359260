import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Event, createEvents } from "../../../src/orchestrator/api/events.ts";

const job = (id: number): Event => ({ kind: "job changed", id: String(id), isListChanged: false });
const decided = (model: string): Event => ({
  kind: "decision taken",
  decision: { kind: "load", model, engine: "e", steps: [] },
});

function heard(kinds: readonly Event["kind"][] = ["job changed", "decision taken"]) {
  const logged: string[] = [];
  const events = createEvents({ warn: (line) => void logged.push(line) });
  const got: Event[] = [];
  const stop = events.on(kinds, (event) => got.push(event));
  return { events, got, stop, logged };
}

describe("events", () => {
  it("that wait reach a listener that reads figures, in order", () => {
    const { events } = heard();
    const order: string[] = [];
    events.on(["decision taken"], () => {
      order.push("decision");
      events.emit({ kind: "figures changed" });
      events.flush();
      order.push("read");
    });
    events.on(["decision taken"], () => order.push("second"));
    events.on(["job changed"], () => order.push("job"));
    events.on(["figures changed"], () => order.push("figures"));
    events.emit(decided("a"));
    events.emit(job(1));
    events.flush();
    expect(order).toEqual(["decision", "second", "job", "figures", "read"]);
  });

  it("are delivered in order, in a later turn of the event loop", async () => {
    const { events, got } = heard();
    events.emit(job(1));
    events.emit(decided("a"));
    events.emit(job(2));
    expect(got).toEqual([]);
    await new Promise((resolve) => void setImmediate(resolve));
    expect(got).toEqual([job(1), decided("a"), job(2)]);
  });

  it("are delivered at once by a flush, with what listeners emit", () => {
    const { events, got } = heard();
    events.on(["job changed"], ({ id }) => {
      if (id === "1") events.emit(decided("after"));
    });
    events.emit(job(1));
    events.flush();
    expect(got).toEqual([job(1), decided("after")]);
  });

  it("cost nothing if no one listens to their kind, and end with the listener", () => {
    const { events, got, stop } = heard(["job changed"]);
    expect([events.isHeard("job changed"), events.isHeard("decision taken")]).toEqual([true, false]);
    events.emit(decided("a"));
    stop();
    events.emit(job(1));
    events.flush();
    expect(got).toEqual([]);
    expect(events.isHeard("job changed")).toBe(false);
  });

  it("reach the other listeners when one throws, which is logged, and never throw into what emits", () => {
    const { events, got, logged } = heard();
    events.on(["job changed"], () => {
      throw new Error("deaf");
    });
    const heardAfter: Event[] = [];
    events.on(["job changed"], (event) => heardAfter.push(event));
    events.emit(job(1));
    events.flush();
    expect([got.length, heardAfter.length]).toEqual([1, 1]);
    expect(logged.join("\n")).toContain("deaf");
  });

  it("that are more than 10,000 lose the cheapest, oldest first, and the counter says how many", () => {
    const { events, got } = heard();
    const emitted = { jobs: 0, decisions: 0 };
    fc.assert(
      fc.property(fc.array(fc.constantFrom("job", "decision"), { minLength: 20, maxLength: 20 }), (order) => {
        got.splice(0);
        emitted.jobs = 0;
        emitted.decisions = 0;
        const before = events.dropped;
        for (let at = 0; at < 15_000; at += 1) {
          if (order[at % order.length] === "job") events.emit(job((emitted.jobs += 1)));
          else events.emit(decided(String((emitted.decisions += 1))));
        }
        events.flush();
        const jobs = got.filter(({ kind }) => kind === "job changed");
        expect(got.length).toBeLessThanOrEqual(10_000);
        expect(got.length + events.dropped - before).toBe(15_000);
        // A decision is lost only when no job waits.
        if (got.length - jobs.length < emitted.decisions) expect(jobs.length).toBeLessThan(1_000);
        expect(jobs.at(-1) ?? job(emitted.jobs)).toEqual(job(emitted.jobs));
      }),
      { numRuns: 10 },
    );
  });
});
