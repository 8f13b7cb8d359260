import { expect, it } from "vitest";
import { formatBytes } from "../../../src/orchestrator/util/format-bytes.ts";

it.each([
  [0, "0 bytes"],
  [-5e9, "0 bytes"],
  [999, "999 bytes"],
  [87_040, "87.0 kB"],
  [999_950, "1.0 MB"],
  [98_107_392, "98.1 MB"],
  [999_950_000, "1.0 GB"],
  [18e9, "18.0 GB"],
  [22.8e9, "22.8 GB"],
])("writes %i bytes as %s", (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});
