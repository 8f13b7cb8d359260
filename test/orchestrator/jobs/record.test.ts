import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { boundResult, readRecord } from "../../../src/orchestrator/jobs/record.ts";

const record = {
  schemaVersion: 1 as const,
  id: "pull-3f9a2c1b",
  kind: "pull",
  title: "pull smollm2:135m",
  tool: "pull_model",
  client: "test",
  state: "running",
  startedAt: "2026-11-21T12:00:00.000Z",
};

describe("a job's file", () => {
  it("is read if it is valid", () => {
    expect(readRecord(JSON.stringify(record))).toEqual({ record });
  });

  it.each([
    ["half a document", '{"schemaVersion":1,"id":"pull-3f'],
    ["an unknown state", JSON.stringify({ ...record, state: "sleeping" })],
    ["an id that would leave the folder", JSON.stringify({ ...record, id: "../../config" })],
    ["a time that is none", JSON.stringify({ ...record, endedAt: "yesterday" })],
    ["no version", JSON.stringify({ ...record, schemaVersion: undefined })],
    ["an empty file", ""],
    ["null", "null"],
  ])("is broken with %s", (_what, text) => {
    expect(readRecord(text)).toBe("broken");
  });

  it("of a newer version is recognized as such", () => {
    expect(readRecord(JSON.stringify({ ...record, schemaVersion: 2, state: "sleeping" }))).toBe("newer");
  });
});

describe("a result", () => {
  it("is stored unchanged if it is small", () => {
    expect(boundResult({ text: "Paris" }, 100)).toEqual({ result: { text: "Paris" } });
  });

  it("has its longest text cut, with a note, if it is large", () => {
    const { result, note } = boundResult({ text: "x".repeat(1000), model: "m" }, 100);
    expect(result?.["model"]).toBe("m");
    expect(result?.["text"]).toMatch(/^x{50,}$/);
    expect(note).toMatch(/cut to the limit of 100$/);
  });

  it("without a text to cut is not stored", () => {
    expect(boundResult({ list: Array.from({ length: 100 }, () => 1) }, 100)).toEqual({
      note: expect.stringMatching(/exceeds the limit of 100 and was not stored$/),
    });
  });

  it("never exceeds its limit, and is never cut within a character", () => {
    const text = fc.string({ unit: fc.constantFrom("a", '"', "\n", "é", "漢", "😀"), maxLength: 200 });
    fc.assert(
      fc.property(text, text, fc.integer({ min: 30, max: 300 }), (first, second, maxBytes) => {
        const { result } = boundResult({ first, second }, maxBytes);
        if (result === undefined) return;
        expect(Buffer.byteLength(JSON.stringify(result))).toBeLessThanOrEqual(maxBytes);
        expect(first.startsWith(String(result["first"]))).toBe(true);
        // Throws for a split character.
        expect(() => encodeURIComponent(`${String(result["first"])}${String(result["second"])}`)).not.toThrow();
      }),
    );
  });
});
