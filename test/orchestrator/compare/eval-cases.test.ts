import { describe, expect, it } from "vitest";
import type { Comparison } from "../../../src/orchestrator/api/facade-compare.ts";
import { pickedCases, readCases } from "../../../src/orchestrator/compare/eval-cases.ts";
import { failureOf } from "./fixture.ts";

const file = (path: string, text: string) => ({ path, text });
const lines = (...values: readonly unknown[]) =>
  file("c.jsonl", values.map((value) => JSON.stringify(value)).join("\n"));

describe("cases of files", () => {
  it("are a line, a document, a list, or a prompt with its answer beside it", async () => {
    const { cases, notes } = await readCases([
      lines({ prompt: "a", expected: 0 }, { prompt: "b", contains: ["x", "y"], task: "coding" }),
      file("d/one.yaml", "prompt: c\nformat: json\nfiles: data.csv\ncheck: quotes\n"),
      file("two.yml", "- prompt: d\n- name: named\n  prompt: e\n  judge: It is polite.\n"),
      file("capital.md", "Which city?\n"),
      file("capital.expected.txt", "Paris\n"),
      file("d/data.csv", "a,b"),
      file("photo.bmp", ""),
      file("lonely.expected.md", "x"),
    ]);
    expect(cases).toEqual([
      { name: "c.jsonl:1", source: "c.jsonl", prompt: "a", expects: [{ type: "equals", value: 0 }] },
      {
        name: "c.jsonl:2",
        source: "c.jsonl",
        prompt: "b",
        task: "code",
        expects: [
          { type: "contains", value: "x" },
          { type: "contains", value: "y" },
        ],
      },
      {
        name: "d/one.yaml",
        source: "d/one.yaml",
        prompt: "c",
        format: "json",
        files: [{ path: "data.csv" }],
        check: "quotes",
        expects: [],
      },
      { name: "two.yml:1", source: "two.yml", prompt: "d", expects: [] },
      { name: "named", source: "two.yml", prompt: "e", expects: [{ type: "judge", value: "It is polite." }] },
      { name: "capital.md", prompt: "Which city?", expects: [{ type: "equals", value: "Paris" }] },
    ]);
    expect(notes).toEqual([
      "photo.bmp is no case, and no case names it",
      "lonely.expected belongs to no prompt: lonely.md or lonely.txt is missing",
    ]);
  });

  it.each([
    [
      "a key that is no key of a case",
      lines({ prompt: "a" }, { prompt: "b", expects: 1 }),
      'c.jsonl:2 is no case: Unrecognized key: "expects"',
    ],
    ["a line that is no JSON", file("c.jsonl", '{"prompt": "a"}\n\n{"prompt'), "c.jsonl:3 is not JSON"],
    ["no prompt", lines({ expected: 1 }), "c.jsonl:1 is no case: prompt: "],
    ["an empty prompt", lines({ prompt: " " }), "c.jsonl:1 has an empty prompt"],
    ["null as what is expected", lines({ prompt: "a", expected: null }), "expected: is null"],
    ["quotes without files", lines({ prompt: "a", check: "quotes" }), "c.jsonl:1 has check: quotes, and no files"],
    [
      "agreement, which says nothing at temperature 0",
      lines({ prompt: "a", check: "agree" }),
      "c.jsonl:1 is no case: check",
    ],
    ["a text that stands in every answer", lines({ prompt: "a", contains: "" }), "c.jsonl:1 is no case: contains"],
    ["an empty list of texts", lines({ prompt: "a", contains: [] }), "c.jsonl:1 is no case: contains"],
    ["a list of texts", file("c.yaml", "- a\n- b\n"), "c.yaml:1 is no case"],
    ["broken YAML", file("c.yaml", "prompt: [a\n"), "c.yaml:"],
    ["an empty file", file("c.jsonl", "\n"), "there is no case in c.jsonl"],
    ["an empty prompt file", file("c.md", " "), "c.md is empty"],
    ["a file of another kind alone", file("c.csv", "a,b"), "there is no case in c.csv"],
  ])("are refused for %s, with their place", async (_what, given, message) => {
    expect((await failureOf(readCases([given]))).message).toContain(message);
  });

  it("are not the files that a case names, whatever they hold", async () => {
    const named = lines({ prompt: "a", files: ["./app.yaml", "notes.md"] }, { prompt: "b", files: "f/x.json" });
    const others = [file("app.yaml", "port: 1\n"), file("notes.md", "Some notes"), file("f/x.json", "{")];
    expect(await readCases([...others, named])).toMatchObject({ cases: [{ prompt: "a" }, { prompt: "b" }], notes: [] });
    expect((await failureOf(readCases([lines({ prompt: "a" }), ...others]))).message).toContain("app.yaml is no case");
  });

  it("may be 10,000, and no more", async () => {
    const many = Array.from({ length: 10_000 }, (_, index) => ({ prompt: `p${index}` }));
    expect((await readCases([lines(...many)])).cases).toHaveLength(10_000);
    expect((await failureOf(readCases([lines(...many, { prompt: "one more" })]))).message).toContain("10001 cases");
  });
});

describe("promptfoo's configuration", () => {
  const config = (tests: string, more = "") =>
    file("p.yaml", `${more}prompts:\n  - "Say {{ word }}."\ntests:\n${tests}`);

  it("is each prompt with each test, with variables, lists of them, and the shared ones", async () => {
    const { cases, notes } = await readCases([
      file(
        "p.yaml",
        `description: words
providers: [openai:gpt-5]
prompts: ["Say {{word}}.", { label: loud, raw: "Shout {{word}} {{times}} times!" }]
defaultTest: { vars: { times: 2 }, assert: [{ type: not-icontains, value: sorry }] }
tests:
  - { vars: { word: [a, b] }, assert: [{ type: equals, value: "{{word}}" }, { type: is-json, value: { type: object } }] }
  - { description: rubric, vars: { word: c }, assert: [{ type: llm-rubric, value: "Says {{word}}." }, { type: regex, value: "c\\\\b" }] }
`,
      ),
    ]);
    expect(cases.map(({ name, prompt }) => `${name}: ${prompt}`)).toEqual([
      "p.yaml:6, prompt 1: Say a.",
      "p.yaml:6, prompt 1: Say b.",
      "p.yaml:6, prompt 2: Shout a 2 times!",
      "p.yaml:6, prompt 2: Shout b 2 times!",
      "rubric, prompt 1: Say c.",
      "rubric, prompt 2: Shout c 2 times!",
    ]);
    expect(cases[1]?.expects).toEqual([
      { type: "icontains", value: "sorry", isNot: true },
      { type: "equals", value: "b" },
      { type: "json", value: { type: "object" } },
    ]);
    expect(cases[4]?.expects.slice(1)).toEqual([
      { type: "judge", value: "Says c." },
      { type: "regex", value: "c\\b" },
    ]);
    expect(notes).toEqual(["p.yaml:2: providers is not used"]);
  });

  it.each([
    [
      "another assertion",
      "  - vars: { word: a }\n    assert:\n      - type: python\n        value: x",
      "p.yaml:6: the assertion python is not understood",
    ],
    [
      "a threshold",
      "  - vars: { word: a }\n    assert:\n      - { type: llm-rubric, value: x, threshold: 0.5 }",
      "p.yaml:6: threshold of an assertion",
    ],
    [
      "options of a test",
      "  - vars: { word: a }\n    options: { transform: x }",
      "p.yaml:5: options of a test is not understood",
    ],
    ["a missing variable", "  - vars: { other: a }", "p.yaml:4: {{ word }} is no variable of this test"],
    ["a variable in a file", "  - vars: { word: 'file://a.txt' }", "p.yaml:4: word is in another file"],
    ["an empty list", "  - vars: { word: [] }", "p.yaml:4: word is an empty list"],
    [
      "a value in a file",
      "  - vars: { word: a }\n    assert: [{ type: contains, value: 'file://x' }]",
      "p.yaml:5: a value in another file",
    ],
    [
      "no value",
      "  - vars: { word: a }\n    assert: [{ type: contains }]",
      "p.yaml:5: the assertion contains has no value",
    ],
    [
      "an empty value, which stands in every answer",
      "  - vars: { word: a }\n    assert: [{ type: contains, value: '' }]",
      "p.yaml:5: the assertion contains has no value",
    ],
  ])("leaves out a test with %s, and says where", async (_what, test, note) => {
    const { cases, notes } = await readCases([config(`${test}\n  - vars: { word: kept }\n`)]);
    expect(cases.map(({ prompt }) => prompt)).toEqual(["Say kept."]);
    expect(notes).toEqual([expect.stringContaining(`left out: ${note}`)]);
  });

  it.each([
    ["tests in another file", file("p.yaml", "prompts: [a]\ntests: file://t.csv\n"), "p.yaml:2: tests in another file"],
    [
      "a prompt in another file",
      file("p.yaml", "prompts: [file://a.txt]\ntests: []\n"),
      "p.yaml:1: a prompt in another file",
    ],
    [
      "a list of messages",
      file("p.yaml", `prompts: ['[{"role": "user", "content": "{{q}}"}]']\ntests: [{}]\n`),
      "p.yaml:1: a list of messages is no prompt",
    ],
    [
      "code of a template",
      file("p.yaml", "prompts: ['{% if a %}b{% endif %}']\ntests: [{}]\n"),
      "{% in a template is not understood",
    ],
    [
      "a key that changes what is asked",
      config("  - {}\n", "scenarios: []\n"),
      "p.yaml:1: scenarios is not understood",
    ],
    ["no prompts", file("p.yaml", "tests: [{}]\n"), "there are no prompts"],
  ])("is refused for %s", async (_what, given, message) => {
    expect((await failureOf(readCases([given]))).message).toContain(message);
  });
});

describe("picked comparisons", () => {
  const compared: Comparison = {
    id: "compare-1",
    createdAt: "2026-11-23T12:00:00.000Z",
    prompt: "Greet me.",
    task: "creative",
    results: [
      { model: "a:1b", engine: "ollama", text: "Hello!" },
      { model: "b:1b", engine: "ollama", text: "Go away." },
    ],
    order: "",
    winner: "a:1b",
  };

  it("are cases with the pick as the standard, and say so", () => {
    const { winner: _winner, ...without } = compared;
    const { cases, notes } = pickedCases([
      compared,
      { ...compared, files: ["a.txt"] },
      { ...without, id: "compare-2" },
    ]);
    expect(cases).toEqual([
      {
        name: "compare-1",
        prompt: "Greet me.",
        task: "creative",
        expects: [{ type: "judge", value: expect.stringMatching(/picked as the best:\n\nHello!$/) }],
      },
    ]);
    expect(notes).toEqual([
      expect.stringContaining("the answers of a:1b are the standard, which favours it"),
      "1 comparison left out: their files are not kept",
    ]);
  });

  it("are refused if there are none", () => {
    expect(() => pickedCases([])).toThrow("ratings keep no prompts");
  });
});
