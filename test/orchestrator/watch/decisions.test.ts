import { describe, expect, it } from "vitest";
import { type EventOf, createEvents } from "../../../src/orchestrator/api/events.ts";
import { watchDecisions } from "../../../src/orchestrator/watch/decisions.ts";

function start() {
  const debugged: string[] = [];
  let now = Date.parse("2026-11-21T12:00:00Z");
  const log = { debug: (line: string) => void debugged.push(line), info() {}, warn() {} };
  const events = createEvents(log);
  const decisions = watchDecisions({ events, now: () => (now += 1_000), log });
  const decide = (decision: EventOf<"decision taken">["decision"]) => events.emit({ kind: "decision taken", decision });
  return { decisions, decide, debugged };
}

describe("the decision log", () => {
  it("keeps decisions, newest first, and logs them", () => {
    const { decisions, decide, debugged } = start();
    decide({ kind: "load", model: "a:1b", engine: "ollama", steps: ["1.2 GB free", "load a:1b"] });
    decide({ kind: "unload", model: "a:1b", engine: "ollama", steps: ["unloaded on request"] });
    expect(decisions.list().map(({ at, kind }) => [at, kind])).toEqual([
      ["2026-11-21T12:00:02.000Z", "unload"],
      ["2026-11-21T12:00:01.000Z", "load"],
    ]);
    expect(debugged[0]).toBe("decisions: load a:1b: 1.2 GB free -> load a:1b");
  });

  it("drops the oldest decisions beyond 200", () => {
    const { decisions, decide } = start();
    for (let number = 0; number < 205; number += 1) {
      decide({ kind: "load", model: `m${number}`, engine: "ollama", steps: [] });
    }
    const kept = decisions.list();
    expect(kept).toHaveLength(200);
    expect([kept[0]?.model, kept.at(-1)?.model]).toEqual(["m204", "m5"]);
  });
});
