import { describe, expect, it } from "vitest";
import { parseKeepAlive } from "../../src/orchestrator/util/ollama-host.ts";

describe("parseKeepAlive", () => {
  it.each([
    [300, 300],
    [0, 0],
    [-1, -1],
    [-300, -1],
    [0.5, 1],
    ["10m", 600],
    ["1h30m", 5400],
    ["1.5h", 5400],
    ["500ms", 1],
    ["0", 0],
    ["-1", -1],
    ["-1m", -1],
    ["300", 300],
    [" 24h ", 86_400],
  ])("takes %j as %d seconds", (given, seconds) => {
    expect(parseKeepAlive(given)).toBe(seconds);
  });

  it.each(["", "soon", "10 minutes", "1h-5m", "10m5", Number.NaN, Number.POSITIVE_INFINITY])("refuses %j", (given) => {
    expect(parseKeepAlive(given)).toBeUndefined();
  });
});
