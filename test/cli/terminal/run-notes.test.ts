import { describe, expect, it } from "vitest";
import { type Generated, isUnreliable, noteLines } from "../../../src/cli/commands/run-notes.ts";
import { silentIo } from "../../support/silent-io.ts";

const answered: Generated = { text: "8080", model: "small:1b", engine: "ollama", reason: "loaded" };
const notes = (answer: Generated): string => noteLines(answer, false, silentIo);

describe("what the shell says of a check and of parts", () => {
  it("says what was checked, and what failed on one line, with the other answers", () => {
    expect(notes({ ...answered, check: { passed: true, verified: 4, total: 4 } })).toBe("checked: 4 of 4\n");
    const problem = "2 of 3 answers\nagree";
    const check = { passed: false, problem, verified: 2, total: 3, dissent: ["yes", "no (2)"] };
    expect(notes({ ...answered, check })).toBe("check failed: 2 of 3 answers agree; others: yes, no (2)\n");
  });

  it("names the parts that were read, eight of them, and those that are missing", () => {
    expect(notes({ ...answered, parts: { total: 12 } })).toBe("read in 12 parts\n");
    const read = Array.from({ length: 9 }, (_, at) => `a.md: ${at}`);
    const missing = ["a.md: 7: the model failed"];
    expect(notes({ ...answered, parts: { total: 12, read, missing } })).toBe(
      `parts read: ${read.slice(0, 8).join(", ")} and 1 more (of 12)\nmissing: a.md: 7: the model failed\n`,
    );
  });

  it("tells scripts of a failed check and of missing parts alone", () => {
    const check = { verified: 1, total: 2 };
    expect(isUnreliable(answered)).toBe(false);
    expect(isUnreliable({ ...answered, check: { ...check, passed: true }, parts: { total: 2, read: ["a"] } })).toBe(
      false,
    );
    expect(isUnreliable({ ...answered, check: { ...check, passed: false } })).toBe(true);
    expect(isUnreliable({ ...answered, parts: { total: 2, missing: ["a: it failed"] } })).toBe(true);
  });

  it("names the engine of a model that two engines have, and of no other", () => {
    const considered = [
      { model: "same:1b", engine: "ollama", expected_seconds: 1 },
      { model: "same:1b", engine: "llama-cpp", expected_seconds: 2 },
      { model: "other:1b", engine: "ollama", rejected: "it has no vision" },
    ];
    const route = { task: "general", because: "no clear task", profile: "general", considered, attempts: [] };
    const text = noteLines({ ...answered, route }, true, silentIo);
    expect(text).toMatch(/1\. same:1b on ollama: 1 s[^]*2\. same:1b on llama-cpp: 2 s[^]* other:1b: it has no vision/);
  });
});
