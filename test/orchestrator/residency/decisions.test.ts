import { describe, expect, it } from "vitest";
import { createDecisions } from "../../../src/orchestrator/residency/decisions.ts";
import type { Change } from "../../../src/orchestrator/api/facade.ts";

function start() {
  const published: Change[] = [];
  const debugged: string[] = [];
  const counted: string[] = [];
  let now = Date.parse("2026-11-21T12:00:00Z");
  const decisions = createDecisions({
    now: () => (now += 1_000),
    log: { debug: (line) => debugged.push(line), info() {}, warn() {} },
    publish: (change) => published.push(change),
    metrics: { noteDecision: ({ kind, model }) => counted.push(`${kind} ${model}`) },
  });
  return { decisions, published, debugged, counted };
}

describe("the decision log", () => {
  it("keeps decisions, newest first, logs, publishes and counts them", () => {
    const { decisions, published, debugged, counted } = start();
    decisions.note({ kind: "load", model: "a:1b", engine: "ollama", steps: ["1.2 GB free", "load a:1b"] });
    decisions.note({ kind: "unload", model: "a:1b", engine: "ollama", steps: ["unloaded on request"] });
    expect(decisions.list().map(({ at, kind }) => [at, kind])).toEqual([
      ["2026-11-21T12:00:02.000Z", "unload"],
      ["2026-11-21T12:00:01.000Z", "load"],
    ]);
    expect(published).toEqual([{ kind: "decisions" }, { kind: "decisions" }]);
    expect(counted).toEqual(["load a:1b", "unload a:1b"]);
    expect(debugged[0]).toBe("decisions: load a:1b: 1.2 GB free -> load a:1b");
  });

  it("drops the oldest decisions beyond 200", () => {
    const { decisions } = start();
    for (let number = 0; number < 205; number += 1) {
      decisions.note({ kind: "load", model: `m${number}`, engine: "ollama", steps: [] });
    }
    const kept = decisions.list();
    expect(kept).toHaveLength(200);
    expect([kept[0]?.model, kept.at(-1)?.model]).toEqual(["m204", "m5"]);
  });
});
