import { describe, expect, it } from "vitest";
import { callLine } from "../../../src/server/daemon/call-log.ts";

const at = new Date("2026-11-21T11:00:00.000Z");
const record = { client: "claude-code", tool: "route_and_generate", durationMs: 812.4, outcome: "ok" as const };

describe("callLine", () => {
  it("has time, client, tool, model, duration and outcome", () => {
    expect(callLine({ ...record, model: "smollm2:135m" }, at)).toBe(
      "2026-11-21T11:00:00.000Z claude-code route_and_generate smollm2:135m 812ms ok",
    );
  });

  it("has the class of an error, and a dash without a model", () => {
    expect(callLine({ ...record, outcome: "error", error: "UnknownModel" }, at)).toMatch(
      / route_and_generate - 812ms error UnknownModel$/,
    );
  });

  it("has the id of the call's trace", () => {
    expect(callLine({ ...record, trace: "4bf92f3577b34da6a3ce929d0e0e4736" }, at)).toMatch(
      / 812ms ok trace=4bf92f3577b34da6a3ce929d0e0e4736$/,
    );
  });

  it("keeps a client from writing lines of its own", () => {
    const line = callLine({ ...record, client: "evil\n2026-11-21T11:00:00.000Z claude-code x\u0007" }, at);
    expect(line.split("\n")).toHaveLength(1);
    expect(line).toContain(" evil_2026-11-21T11:00:00.000Z_claude-code_x_ ");
  });

  it("quotes and cuts what was asked and answered, when the record has it", () => {
    const full = { ...record, prompt: 'say "hi"\n', answer: "x".repeat(3_000) };
    const line = callLine(full, at);
    expect(line).toContain('prompt="say \\"hi\\"\\n"');
    expect(line).toContain(`answer="${"x".repeat(2_000)}…"`);
  });
});
