import { afterEach, expect, test, vi } from "vitest";
import { localTime } from "../../../src/orchestrator/util/format-bytes.ts";

afterEach(() => void vi.unstubAllEnvs());

test.each([
  ["UTC", "2026-11-22 23:20"],
  ["Asia/Tokyo", "2026-11-23 08:20"],
  ["America/New_York", "2026-11-22 18:20"],
])("a time is that of %s", (zone, text) => {
  vi.stubEnv("TZ", zone);
  expect(localTime("2026-11-22T23:20:45.123Z")).toBe(text);
});

test("what is no time stays as it is", () => {
  expect(localTime("some day")).toBe("some day");
});
