import { describe, expect, it } from "vitest";
import { KeepAlive, withEvictionBias } from "../../../src/orchestrator/residency/keep-alive.ts";

const own = { name: "qwen3:8b", requestedSeconds: undefined, sentSeconds: 900 };

describe("keep-alives sent to engines", () => {
  it("are shorter for models that should be evicted first: Ollama evicts by shortest keep-alive", () => {
    const losses = [0, 0.3, 2, 40, 5_000];
    const sentSeconds = losses.map((seconds) => withEvictionBias(900, seconds));
    expect(new Set(sentSeconds).size).toBe(losses.length);
    expect(sentSeconds).toEqual(sentSeconds.toSorted((a, b) => a - b));
  });

  it("are at least the configured one and at most 5 % longer", () => {
    for (const seconds of [1, 60, 900, 86_400]) {
      for (const loss of [0, 1, 1e6]) {
        expect(withEvictionBias(seconds, loss)).toBeGreaterThanOrEqual(seconds);
        expect(withEvictionBias(seconds, loss)).toBeLessThanOrEqual(seconds * 1.05);
      }
    }
  });

  it("of -1 and 0 are unchanged", () => {
    expect(withEvictionBias(-1, 100)).toBe(-1);
    expect(withEvictionBias(0, 100)).toBe(0);
  });

  it("are stale if the configured one changed, but not if only the use of the model did", () => {
    const isStale = (seconds: number | undefined, sentSeconds: number | undefined) => {
      const pins = { keepAliveForLoad: () => seconds };
      const parts = { pins } as unknown as ConstructorParameters<typeof KeepAlive>[0];
      return new KeepAlive(parts).isStale({ ...own, sentSeconds });
    };
    expect([isStale(900, 900), isStale(900, 915), isStale(-1, -1), isStale(undefined, undefined)]).toEqual([
      false,
      false,
      false,
      false,
    ]);
    expect([isStale(900, 60), isStale(900, 960), isStale(-1, 900), isStale(900, -1), isStale(900, undefined)]).toEqual([
      true,
      true,
      true,
      true,
      true,
    ]);
  });
});
