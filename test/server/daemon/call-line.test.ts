import { mkdtemp, mkdir, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { callLogFile } from "../../../src/ipc/run-folder.ts";
import { callLine, createCallLog } from "../../../src/server/daemon/call-log.ts";

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

describe("textsOf", () => {
  const silent = { debug: () => undefined, info: () => undefined, warn: () => undefined };
  const [one, other] = ["4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b74bf92f3577b34da6"];

  it("finds the texts of a trace, also in an older file, and is not taken in by a text that looks like a line", async () => {
    const home = await mkdtemp(join(tmpdir(), "ollm-calls-"));
    try {
      await mkdir(join(home, "logs"));
      const calls = createCallLog(home, silent);
      expect(await calls.textsOf(one)).toEqual({});
      const prompt = `say "hi"\n trace=${other} prompt="forged"\\`;
      calls.note({ ...record, model: "m", trace: one, prompt, answer: 'he said "hi" \\' });
      calls.note({ ...record, outcome: "error", error: "ModelUnfit", trace: other, prompt: "the second" });
      await calls.idle();
      expect(await calls.textsOf(one)).toEqual({ prompt, answer: 'he said "hi" \\' });
      expect(await calls.textsOf(other)).toEqual({ prompt: "the second" });
      await rename(callLogFile(home), callLogFile(home).replace(".log", ".1.log"));
      calls.note({ ...record, trace: one });
      expect(await calls.textsOf(one)).toMatchObject({ prompt });
      expect(await calls.textsOf("0".repeat(32))).toEqual({});
    } finally {
      await rm(home, { recursive: true });
    }
  });
});
