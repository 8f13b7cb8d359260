import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { maxForeignTokens, parseYaml } from "../../../src/orchestrator/util/parse-yaml.ts";

const limit = 64 * 1024;

describe("parseYaml", () => {
  it("returns plain data with the positions of its nodes", async () => {
    const parsed = await parseYaml("a: 1\nb: [x, {c: true}]\nd: 2026-11-21\n", limit);
    expect(parsed).toMatchObject({ value: { a: 1, b: ["x", { c: true }], d: "2026-11-21" } });
  });

  it.each([
    ["brackets without an end", "[".repeat(20_000), "nests deeper than 64 levels", 1],
    ["braces without an end", `a: 1\nb: ${"{x: ".repeat(500)}`, "nests deeper than 64 levels", 2],
    ["lists in lists on one line", `${"- ".repeat(20_000)}a`, "nests deeper than 64 levels", 1],
    ["keys in keys on one line", `${"? ".repeat(20_000)}a`, "nests deeper than 64 levels", 1],
    ["a cycle", "a: &a [*a]\n", "has an alias (*name) inside its own anchor", undefined],
    [
      "a bomb of aliases",
      `a: &a [1]\nb: &b [${"*a,".repeat(20)}]\nc: &c [${"*b,".repeat(20)}]\nd: [${"*c,".repeat(20)}]\n`,
      "has too many aliases (*name)",
      undefined,
    ],
    ["a key that is a list", "a: 1\n? [x]\n: y\n", "has a key that is not a scalar", 2],
    ["a key that is an object's prototype", "x:\n  __proto__: {a: 1}\n", "has a key that is not a scalar", 2],
    ["the same key twice", "a: 1\na: 2\n", "has the duplicate key a", 2],
    ["the same key twice within another", "x:\n  - {a: 1, b: 2,\n    'a': 2}\n", "has the duplicate key a", 3],
    ["a number and a text that are the same key", "1: a\n'1': b\n", "has the duplicate key 1", 2],
    ["two documents", "a: 1\n---\nb: 2\n", "contains more than one document (---)", 2],
    ["bytes in a text", "a: !!binary aGk=\n", "has the unsupported tag tag:yaml.org,2002:binary", 1],
    ["a custom tag", "a: !run ls\n", "has the unsupported tag !run", 1],
    [
      "a tag as long as the file",
      `a: !${"x".repeat(5_000)} ls\n`,
      `has the unsupported tag "!${"x".repeat(59)}..."`,
      1,
    ],
    ["more than is allowed", `a: ${"x".repeat(limit)}`, "is larger than 65536 bytes", undefined],
  ])("reports the problem and the line of %s", async (_what, text, problem, line) => {
    expect(await parseYaml(text, limit)).toEqual({ problem, ...(line !== undefined && { line }) });
  });

  it("parses blocks as deep as the size allows", async () => {
    let text = "";
    for (let depth = 0; text.length < limit - 1_000; depth += 1) text += `${" ".repeat(depth)}a:\n`;
    expect(await parseYaml(text, limit)).toHaveProperty("value");
  });

  it("parses as many keys as the size allows in linear time", async () => {
    const room = 256 * 1024;
    let text = "";
    for (let index = 0; text.length < room - 20; index += 1) text += `k${index.toString(36)}:\n`;
    expect(await parseYaml(text, room)).toHaveProperty("value");
  }, 20_000);

  it("never throws", async () => {
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

/** Constructs with superlinear cost in the parser, or a suspicion of it, repeated up to the size limit of a project file. */
const repeated: readonly (readonly [string, string])[] = [
  "!!x ",
  "!x a\n",
  "&a ",
  "*a ",
  "- *a\n",
  "- &a a\n",
  "- ",
  "-\n",
  "? a\n",
  "? [",
  "a: ",
  "a: b\n",
  "[],",
  "[a,",
  "{a: ",
  "a,",
  "'",
  '"',
  "|\n",
  ">\n a\n",
  "---\n",
  "%YAML 1.2\n",
  "# c\n",
  "\n",
  " ",
  "\t",
  "\r\n",
  "\n\n a",
  " a\n",
  "a: |\n b\n",
  ": ",
  "]",
  "@",
  '"\\x',
  "1:1:1\n",
  "!!int a\n",
  "!!set\n",
  "!<x> ",
  "a:  # c\n",
].flatMap(
  (each) =>
    [
      [each, ""],
      [each, "a: "],
      [each, "["],
      [each, 'a: "'],
      [each, "a: |\n "],
    ] as const,
);

describe("untrusted YAML of the maximum size", () => {
  it("is parsed or refused within 50 ms, whatever it repeats", { timeout: 120_000 }, async () => {
    const slow: string[] = [];
    for (const [each, before] of repeated) {
      const text = `${before}${each.repeat(Math.ceil(limit / each.length))}`.slice(0, limit);
      const times: number[] = [];
      // The best of a few tries, because other processes slow them down.
      while (times.length < 4 && !times.some((ms) => ms < 50)) {
        const started = process.cpuUsage();
        await parseYaml(text, limit, maxForeignTokens);
        times.push(process.cpuUsage(started).user / 1_000);
      }
      if (Math.min(...times) >= 50)
        slow.push(`${JSON.stringify(before + each)}: ${times.map(Math.round).join(", ")} ms`);
    }
    expect(slow).toEqual([]);
  });

  it("is refused if it has more tokens than maxForeignTokens", async () => {
    const tags = "!!x ".repeat(16_000);
    expect(await parseYaml(tags, limit, maxForeignTokens)).toEqual({
      problem: "has more than 4000 parts (keys, values, brackets, line ends)",
    });
    const names = Array.from({ length: 200 }, (_each, index) => `    - tool_${index}\n`).join("");
    const full = `systemPrompt: |\n  ${"a line of text\n  ".repeat(900)}\ntools:\n  enabled:\n${names}  disabled:\n${names}`;
    expect(await parseYaml(full, limit, maxForeignTokens)).toHaveProperty("value.tools.enabled.length", 200);
  });
});
