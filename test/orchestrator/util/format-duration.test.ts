import { describe, expect, it } from "vitest";
import { formatDuration } from "../../../src/orchestrator/util/format-bytes.ts";

describe("a duration", () => {
  it.each([
    [0, "0 ms"],
    [812.4, "812 ms"],
    [1_000, "1.0 s"],
    [14_095, "14.1 s"],
    [73_800, "74 s"],
  ])("%d ms reads %s", (milliseconds, text) => {
    expect(formatDuration(milliseconds)).toBe(text);
  });
});
