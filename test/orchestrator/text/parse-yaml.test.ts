import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseYaml } from "../../../src/orchestrator/text/parse-yaml.ts";

const limit = 64 * 1024;

describe("parseYaml", () => {
  it("gives plain data with the places of its nodes", async () => {
    const parsed = await parseYaml("a: 1\nb: [x, {c: true}]\nd: 2026-11-21\n", limit);
    expect(parsed).toMatchObject({ value: { a: 1, b: ["x", { c: true }], d: "2026-11-21" } });
  });

  it.each([
    ["brackets without an end", "[".repeat(20_000), "nests deeper than 64 levels", 1],
    ["braces without an end", `a: 1\nb: ${"{x: ".repeat(500)}`, "nests deeper than 64 levels", 2],
    ["lists in lists on one line", `${"- ".repeat(20_000)}a`, "nests deeper than 64 levels", 1],
    ["keys in keys on one line", `${"? ".repeat(20_000)}a`, "nests deeper than 64 levels", 1],
    ["a cycle", "a: &a [*a]\n", "has an alias (*name) inside of what it stands for", undefined],
    [
      "a bomb of aliases",
      `a: &a [1]\nb: &b [${"*a,".repeat(20)}]\nc: &c [${"*b,".repeat(20)}]\nd: [${"*c,".repeat(20)}]\n`,
      "has too many aliases (*name)",
      undefined,
    ],
    ["a key that is a list", "a: 1\n? [x]\n: y\n", "has a key that is no plain word", 2],
    ["a key that is an object's prototype", "x:\n  __proto__: {a: 1}\n", "has a key that is no plain word", 2],
    ["the same key twice", "a: 1\na: 2\n", "has the key a twice", 2],
    ["the same key twice within another", "x:\n  - {a: 1, b: 2,\n    'a': 2}\n", "has the key a twice", 3],
    ["a number and a text that are the same key", "1: a\n'1': b\n", "has the key 1 twice", 2],
    ["two documents", "a: 1\n---\nb: 2\n", "holds more than one document (---)", 2],
    ["bytes in a text", "a: !!binary aGk=\n", "has the tag tag:yaml.org,2002:binary, which means nothing here", 1],
    ["a tag of somebody's own", "a: !run ls\n", "has the tag !run, which means nothing here", 1],
    [
      "a tag as long as the file",
      `a: !${"x".repeat(5_000)} ls\n`,
      `has the tag "!${"x".repeat(59)}...", which means nothing here`,
      1,
    ],
    ["more than is allowed", `a: ${"x".repeat(limit)}`, "is larger than 65536 bytes", undefined],
  ])("says what is wrong with %s", async (_what, text, problem, line) => {
    expect(await parseYaml(text, limit)).toEqual({ problem, ...(line !== undefined && { line }) });
  });

  it("survives blocks as deep as the size allows", async () => {
    let text = "";
    for (let depth = 0; text.length < limit - 1_000; depth += 1) text += `${" ".repeat(depth)}a:\n`;
    expect(await parseYaml(text, limit)).toHaveProperty("value");
  });

  it("reads as many keys as the size allows without comparing each with each", async () => {
    const room = 256 * 1024;
    let text = "";
    for (let index = 0; text.length < room - 20; index += 1) text += `k${index.toString(36)}:\n`;
    expect(await parseYaml(text, room)).toHaveProperty("value");
  }, 20_000);

  it("never throws, whatever the text", async () => {
    const piece = fc.constantFrom(
      ..."abc:-?[]{},&*!|>'\"%@` \n#~<".split(""),
      "\n  ",
      ": ",
      "- ",
      "&a ",
      "*a",
      "!!",
      "\t",
      "\r\n",
      "---\n",
      "<<: ",
    );
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 60 }), async (pieces) => {
        const parsed = await parseYaml(pieces.join(""), limit);
        expect("value" in parsed || parsed.problem !== "").toBe(true);
      }),
      { numRuns: 500 },
    );
  });
});
