import { describe, expect, it } from "vitest";
import { type Generated, isUnreliable, noteLines } from "../../../src/cli/terminal/answer.ts";
import { silentIo } from "../../support/silent-io.ts";

const answered: Generated = { text: "8080", model: "small:1b", engine: "ollama", reason: "loaded" };
const notes = (answer: Generated): string => noteLines(answer, false, silentIo);

describe("what the shell says of a check and of parts", () => {
  it("counts what was found, and says what is wrong on one line, with the other answers", () => {
    const statements = [
      { text: "The port is 8080.", status: "quoted" as const, where: "app.yaml:2", line: "port: 8080" },
      { text: "It is 99.", status: "not_found" as const },
      { text: "The port is 8080.", status: "quoted" as const, where: "app.yaml:2", line: "port: 8080" },
    ];
    const text = "The port is 8080. [quoted, app.yaml:2: port: 8080]\nIt is 99. [not found]";
    expect(notes({ ...answered, text, check: { kind: "quotes", statements } })).toBe("2 quoted, 1 not found\n");
    const votes = { equal: 1, total: 4, others: ["yes", "no (2)"] };
    const check = { kind: "agree", statements: [], votes };
    expect(notes({ ...answered, check: { ...check, problem: "no two\nagree" } })).toBe(
      "no two agree; others: yes, no (2)\n",
    );
    expect(notes({ ...answered, check: { ...check, votes: { equal: 3, total: 3 } } })).toBe("3 of 3 answers agree\n");
  });

  it("shows what stands behind a value of JSON, which has no room for it", () => {
    const statements = [
      { text: "port: 8080", status: "value_found" as const, where: "a.yaml:2", line: "http.port: 8080" },
    ];
    expect(notes({ ...answered, text: '{"port":8080}', check: { kind: "quotes", statements } })).toBe(
      "1 value found\nport: 8080 [value found, a.yaml:2: http.port: 8080]\n",
    );
  });

  it("names the parts that were read, eight of them, and those that are missing", () => {
    expect(notes({ ...answered, parts: { total: 12 } })).toBe("read in 12 parts\n");
    const read = Array.from({ length: 9 }, (_, at) => `a.md: ${at}`);
    const missing = ["a.md: 7: the model failed"];
    expect(notes({ ...answered, parts: { total: 70, read, share: 0.043 } })).toBe(
      `read 9 of 70 parts, 4 %: the passages that match the question (${read.slice(0, 8).join(", ")} and 1 more)\n`,
    );
    expect(notes({ ...answered, parts: { total: 7000, read: ["a.md"], share: 0.001 } })).toContain(
      "read 1 of 7000 parts, under 1 %: ",
    );
    expect(notes({ ...answered, parts: { total: 9, read, share: 1 } })).toBe("read all 9 parts\n");
    expect(notes({ ...answered, parts: { total: 12, share: 0.999, missing } })).toBe(
      "read 99 % in 12 parts\nmissing: a.md: 7: the model failed\n",
    );
  });

  it("tells scripts of a failed check and of missing parts alone", () => {
    const check = { kind: "quotes", statements: [] };
    expect(isUnreliable(answered)).toBe(false);
    expect(isUnreliable({ ...answered, check, parts: { total: 2, read: ["a"] } })).toBe(false);
    expect(isUnreliable({ ...answered, check: { ...check, problem: "1 not found" } })).toBe(true);
    expect(isUnreliable({ ...answered, parts: { total: 2, missing: ["a: it failed"] } })).toBe(true);
  });

  it("says how much of the prompt was not read again, and where it was kept", () => {
    const timing = { queue_ms: 5, load_ms: 1_200, first_token_ms: 90 };
    const cached = "cached 2,072 of 2,082 prompt tokens, from disk";
    const explained = (answer: Generated) => noteLines(answer, true, silentIo);
    expect(explained({ ...answered, timing: { ...timing, cached } })).toContain(
      `queued 5 ms, loaded in 1.2 s, first token after 90 ms; ${cached}\n`,
    );
    expect(explained({ ...answered, timing })).toContain("first token after 90 ms\n");
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
