import { describe, expect, it } from "vitest";
import { stepsAfterCheck } from "../../../src/orchestrator/generation/checks.ts";
import type { Candidate } from "../../../src/orchestrator/routing/choose.ts";

const billion = 1e9;

function candidate(model: string, parameterCount?: number, changes: Partial<Candidate> = {}): Candidate {
  return {
    model,
    engine: "one",
    sizeBytes: 0,
    trust: "local",
    isLoaded: false,
    isKnown: true,
    ...(parameterCount === undefined ? {} : { parameterCount }),
    contextTokens: 8_192,
    capabilities: ["completion"],
    profiles: [],
    fits: "now",
    expectedLoadSeconds: 1,
    ...changes,
  };
}

function left(failed: Candidate, others: readonly Candidate[]): readonly string[] {
  const waiting = others.map((each) => ({ entry: { candidate: each } }));
  return stepsAfterCheck(waiting, failed).map(({ entry }) => entry.candidate.model);
}

describe("what is left of a chain after a failed check", () => {
  const failed = candidate("middle", 3 * billion);

  it("is what is larger, in the order of the chain, then what is remote", () => {
    const cloud = candidate("cloud", undefined, { trust: "remote" });
    const others = [
      cloud,
      candidate("big", 14 * billion),
      candidate("small", billion),
      candidate("larger", 7 * billion),
    ];
    expect(left(failed, others)).toEqual(["big", "larger", "cloud"]);
  });

  it("is nothing of the same size, and not the same model on another engine", () => {
    expect(left(failed, [candidate("equal", 3 * billion), candidate("middle:latest", undefined)])).toEqual([]);
  });

  it("is decided by bytes where the parameters are unknown, and kept where the size is unknown, too", () => {
    const bytes = candidate("failed", undefined, { sizeBytes: 2 * billion });
    const more = candidate("more", billion, { sizeBytes: 3 * billion });
    const less = candidate("less", 9 * billion, { sizeBytes: billion });
    expect(left(bytes, [more, less, candidate("unknown")])).toEqual(["more", "unknown"]);
  });

  it("is no local model after a remote one, and no remote model that is not known to be larger", () => {
    const remote = (name: string, count?: number) => candidate(name, count, { trust: "remote" });
    const others = [candidate("local", 70 * billion), remote("unknown"), remote("larger", 100 * billion)];
    expect(left(remote("failed", 30 * billion), others)).toEqual(["larger"]);
  });
});
