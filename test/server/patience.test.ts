import { describe, expect, it } from "vitest";
import { patienceMs } from "../../src/server/call/pipeline.ts";

describe("a client's patience", () => {
  it.each([
    { client: "claude-code", hasProgressToken: true, expected: undefined },
    { client: "claude-code", hasProgressToken: false, expected: 45_000 },
    { client: "ollm", hasProgressToken: true, expected: undefined },
    { client: "codex-mcp-client", hasProgressToken: true, expected: 45_000 },
    { client: "Claude Desktop", hasProgressToken: true, expected: 45_000 },
    { client: "unknown", hasProgressToken: true, expected: 45_000 },
  ])(
    "of $client, listening to progress: $hasProgressToken, is $expected ms",
    ({ expected, client, hasProgressToken }) => {
      expect(patienceMs(client, hasProgressToken, 45)).toBe(expected);
    },
  );

  it("is the value of jobs.patience", () => {
    expect(patienceMs("unknown", true, 3)).toBe(3000);
  });
});
