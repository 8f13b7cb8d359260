import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { framed } from "../../../src/orchestrator/reading/parts.ts";
import { type SplitSource, type TextPart, splitTexts } from "../../../src/orchestrator/reading/split-text.ts";
import { estimateTokens } from "../../../src/orchestrator/routing/tokens.ts";

const frameTokens = 10;

function split(sources: readonly SplitSource[], maxTokens: number): readonly TextPart[] {
  return splitTexts(sources, { maxTokens, frameTokens, countTokens: (text) => estimateTokens(text) });
}

const one = (path: string, text: string, maxTokens: number) => split([{ path, text }], maxTokens);
const namesOf = (parts: readonly TextPart[]) => parts.map(({ name }) => name);

/** Paragraphs of about 40 tokens. */
const prose = (paragraphs: number) =>
  Array.from({ length: paragraphs }, (_, index) => `Paragraph ${index} says ${"word ".repeat(35)}.\n\n`).join("");

describe("any text", () => {
  const line = fc.oneof(
    fc.string({ unit: "binary", maxLength: 300 }),
    fc.constantFrom(
      "",
      "# Title",
      "name,age,town",
      "| name | age |",
      "|---|---|",
      '"open',
      "2026-11-23 10:00:00 INFO started",
      "    at run (a.ts:1)",
      "## Ports",
      "```",
      "function run() {",
      "class A:",
      "    def b(self):",
      "}",
      "\r",
      "漢字".repeat(200),
    ),
    fc.nat(2000).map((length) => "QUJDREVG".repeat(length)),
  );
  const source = fc.record({
    path: fc.constantFrom("a.md", "b.ts", "c.py", "d.log", "e.csv", "git:diff"),
    text: fc.array(line, { maxLength: 60 }).map((lines) => lines.join("\n")),
  });

  it("is the text of its parts, joined; each within the limit, with its lines", () => {
    fc.assert(
      fc.property(fc.array(source, { maxLength: 5 }), fc.integer({ min: 64, max: 2000 }), (given, maxTokens) => {
        const sources = given.map((each, index) => ({ ...each, path: `${index}/${each.path}` }));
        const parts = split(sources, maxTokens);
        for (const { path, text } of sources) {
          const passages = parts.flatMap((part) => part.passages).filter((passage) => passage.path === path);
          expect(passages.map((passage) => passage.text).join("")).toBe(text);
          let start = 0;
          for (const passage of passages) {
            const before = text.slice(0, start);
            expect(passage.firstLine).toBe(before.split("\n").length);
            start += passage.text.length;
            const until = text.slice(0, passage.text.endsWith("\n") ? start - 1 : start);
            expect(passage.lastLine).toBe(until.split("\n").length);
          }
        }
        for (const { tokens, passages } of parts) {
          expect(tokens).toBeLessThanOrEqual(maxTokens);
          const counted = passages.reduce(
            (sum, { text, header = "" }) => sum + estimateTokens(header + text) + frameTokens,
            0,
          );
          expect(counted).toBeLessThanOrEqual(maxTokens * 1.01 + 2);
          expect(passages.length).toBeGreaterThan(0);
        }
        expect(new Set(namesOf(parts)).size).toBe(parts.length);
      }),
    );
  });

  it("leaves no two neighbours that would fit one part", () => {
    fc.assert(
      fc.property(fc.array(source, { maxLength: 4 }), (given) => {
        const parts = split(
          given.map((each, index) => ({ ...each, path: `${index}/${each.path}` })),
          300,
        );
        for (const [index, part] of parts.slice(1).entries()) {
          expect((parts[index]?.tokens ?? 0) + part.tokens).toBeGreaterThan(300 / 2);
        }
      }),
    );
  });
});

describe("documents", () => {
  const guide = `# Guide\n\nIntro.\n\n## 1 Setup\n\n${prose(3)}## 2 Network\n\n### 2.1 Ports\n\n${prose(3)}### 2.2 Names\n\n${prose(3)}`;

  it("are cut at headings, and each part has its heading path", () => {
    const parts = one("guide.md", guide, 200);
    expect(namesOf(parts)).toEqual(["guide.md: Guide", "guide.md: 2 Network", "guide.md: 2.2 Names"]);
    expect(parts.map(({ passages }) => passages[0]?.headings)).toEqual([
      ["Guide"],
      ["Guide", "2 Network"],
      ["Guide", "2 Network", "2.2 Names"],
    ]);
    for (const { passages } of parts) expect(passages[0]?.text).toMatch(/^#/);
  });

  it("are cut between paragraphs within a section, never after its heading; equal names get their lines", () => {
    const parts = one("guide.md", `## Ports\n\n${prose(8)}`, 110);
    expect(parts.length).toBeGreaterThan(3);
    expect(parts[0]?.name).toBe("guide.md: Ports, lines 1–6");
    for (const { passages } of parts) expect(passages[0]?.text).toMatch(/^(?:## Ports\n\n)?Paragraph /);
  });

  it("have no headings within fences", () => {
    const [first, ...others] = one(
      "guide.md",
      `# A\n\n\`\`\`sh\n# no heading\n${"echo word word\n".repeat(60)}\`\`\`\n`,
      150,
    );
    expect(first?.passages[0]?.headings).toEqual(["A"]);
    expect(others.length).toBeGreaterThan(0);
    for (const { passages } of others) expect(passages[0]?.headings).toEqual(["A"]);
  });

  it("without structure are cut at lines, and named by them", () => {
    const parts = one("server.log", "2026-11-23 listening on port 9000\n".repeat(100), 400);
    expect(parts[1]?.name).toMatch(/^server\.log: lines \d+–\d+$/);
    for (const { passages } of parts) expect(passages[0]?.text.endsWith("\n")).toBe(true);
  });

  it("of one line are cut at spaces, between characters where there are none, and never within one", () => {
    const words = one("a.txt", "word ".repeat(2000), 300);
    for (const { passages } of words) expect(passages[0]?.text).toMatch(/^word .* $/);
    const emoji = one("b.txt", "😀".repeat(3000), 300);
    for (const { passages } of emoji) expect(passages[0]?.text).toMatch(/^(?:😀)+$/u);
    expect(emoji[0]?.name).toBe("b.txt: line 1, piece 1");
  });
});

describe("program text", () => {
  const body = (indent: string) => `${indent}const words = "one two three four five six";\n`.repeat(12);

  it("in TypeScript is cut at classes, functions and methods, with the comments above them", () => {
    const text = `import a from "a";\n\n/** Serves. */\nexport class Server extends Base {\n  // starts it\n  async start(port: number) {\n${body("    ")}  }\n\n  stop() {\n${body("    ")}  }\n}\n\n/** Runs. */\nexport async function run(): Promise<void> {\n${body("  ")}}\n`;
    const parts = one("server.ts", text, 260);
    expect(namesOf(parts)).toEqual(["server.ts: lines 1–20", "server.ts: stop", "server.ts: function run"]);
    expect(parts[2]?.passages[0]?.text).toMatch(/^\/\*\* Runs\. \*\//);
    expect(parts[1]?.passages[0]?.headings).toEqual(["class Server", "stop"]);
  });

  it.each([
    [
      "a.py",
      `class Server(Base):\n    @cached\n    def start(self):\n${body("        ")}\n    def stop(self):\n${body("        ")}`,
    ],
    ["a.go", `func (s *Server) start(port int) {\n${body("\t")}}\n\nfunc stop() {\n${body("\t")}}\n`],
    [
      "a.rs",
      `impl Server {\n    pub(crate) fn start(&self) {\n${body("        ")}    }\n\n    /// Stops.\n    fn stop(&self) {\n${body("        ")}    }\n}\n`,
    ],
  ])("in %s is cut at its functions", (path, text) => {
    const parts = one(path, text, 230);
    expect(parts).toHaveLength(2);
    expect(parts[1]?.name).toMatch(/^a\.\w+: (?:def|func|fn) stop$/);
    expect(parts[0]?.name).toMatch(/^a\.\w+: (?:class Server|func \(s \*Server\) start|impl Server)$/);
  });

  it("of git is cut at files", () => {
    const change = (file: string) =>
      `diff --git a/${file} b/${file}\n@@ -1,3 +1,3 @@\n${"+ a line of words\n".repeat(30)}`;
    const parts = one("git:staged", ["a.ts", "b.ts"].map(change).join(""), 250);
    expect(namesOf(parts)).toEqual(["git:staged: a.ts", "git:staged: b.ts"]);
  });
});

describe("several files", () => {
  it("share a part while they are small, and a large one is split", () => {
    const small = ["a.md", "b.md", "c.md"].map((path) => ({ path, text: `# ${path}\n\nShort.\n` }));
    const parts = split([...small, { path: "large.md", text: prose(12) }], 250);
    expect(parts[0]?.passages.map(({ path }) => path)).toEqual(["a.md", "b.md", "c.md", "large.md"]);
    expect(parts[0]?.name).toBe("a.md and 3 more");
    expect(parts[1]?.name).toMatch(/^large\.md: lines /);
  });

  it("that are split again keep their lines and headings", () => {
    const [part] = one("guide.md", `# Guide\n\n${prose(4)}`, 1000);
    const passages = (part as TextPart).passages.map((passage) => ({
      ...passage,
      firstLine: 101,
      headings: ["Guide"],
    }));
    const pieces = split(passages, 100);
    expect(pieces.map(({ passages: [first] }) => first?.headings[0])).toEqual(pieces.map(() => "Guide"));
    expect(pieces[0]?.passages[0]?.firstLine).toBe(101);
  });
});

it("a long text takes linear time: a line of a megabyte, and a document of eight", () => {
  const seconds = (work: () => unknown) => {
    const startedAt = performance.now();
    work();
    return (performance.now() - startedAt) / 1000;
  };
  // Quadratic work would take minutes.
  expect(seconds(() => one("a.txt", "QUJD".repeat(262_144), 1000))).toBeLessThan(5);
  expect(seconds(() => one("a.md", prose(40_000), 1000))).toBeLessThan(5);
});

describe("tables", () => {
  const rows = (count: number) => Array.from({ length: count }, (_, at) => `${at},Name ${at},${at * 7} Elm Street`);

  it.each([
    ["people.csv", ","],
    ["people.tsv", "\t"],
    ["people.csv", ";"],
  ])("have their header row with each part: %s", (path, separator) => {
    const header = `id${separator}name${separator}address\n`;
    const text = header + rows(100).join("\n").replaceAll(",", separator);
    const parts = one(path, text, 200);
    expect(parts.length).toBeGreaterThan(3);
    for (const [at, { passages }] of parts.entries()) expect(passages[0]?.header).toBe(at === 0 ? undefined : header);
    const [second] = parts.slice(1).flatMap((part) => part.passages);
    expect(second === undefined ? "" : framed(second)).toContain(`${header}${second?.text}`);
  });

  it("have none if the first row holds numbers", () => {
    const parts = one("people.csv", rows(100).join("\n"), 200);
    expect(parts.flatMap(({ passages }) => passages).every(({ header }) => header === undefined)).toBe(true);
  });

  it("in Markdown have their own header, which is not parted from the first row; the text after them has none", () => {
    const table = (name: string) =>
      `## ${name}\n\n| ${name} | street |\n|---|---|\n${rows(30)
        .map((row) => `| ${row.replaceAll(",", " | ")} |\n`)
        .join("")}\n`;
    const parts = one("a.md", `${table("first")}${prose(4)}${table("second")}`, 200);
    const passages = parts.flatMap((part) => part.passages);
    for (const { text, header } of passages) {
      if (/^\| \d/.test(text)) expect(header).toMatch(/^\| (?:first|second) \| street \|\n\|---\|---\|\n$/);
      else expect(header).toBeUndefined();
      if (text.includes("|---")) expect(text).toMatch(/street \|\n\|---\|---\|\n\| 0/);
    }
    expect(passages.filter(({ header }) => header?.includes("first")).length).toBeGreaterThan(1);
    expect(passages.filter(({ header }) => header?.includes("second")).length).toBeGreaterThan(1);
  });

  it("keep the header when a part is split again, and leave it out if it takes more than a third of a part", () => {
    const [, part] = one("people.csv", `id,name,address\n${rows(100).join("\n")}`, 400);
    for (const { passages } of split((part as TextPart).passages, 200)) {
      expect(passages[0]?.header).toBe("id,name,address\n");
    }
    const wide = `${Array.from({ length: 80 }, (_, at) => `column${at}`).join(",")}\n`;
    const parts = one("wide.csv", wide + rows(100).join("\n"), 200);
    expect(parts.at(-1)?.passages[0]?.header).toBeUndefined();
  });
});

describe("parts of records", () => {
  it("begin at a row, not inside a quoted cell", () => {
    const text = `id,note\n${Array.from({ length: 40 }, (_, at) => `${at},"first line of ${at}\n\nsecond, line\n"\n`).join("")}`;
    const parts = one("notes.csv", text, 120);
    expect(parts.length).toBeGreaterThan(3);
    for (const { passages } of parts) expect(passages[0]?.text).toMatch(/^(?:id,note\n)?\d+,"first/);
  });

  it.each(["server.log", "prompt", "worker.out"])("begin at an entry of a log, not within its stack: %s", (path) => {
    const entry = (at: number) =>
      `2026-11-23 10:00:${10 + (at % 50)} ERROR request ${at} failed\nTypeError: it is null\n    at run (a.ts:${at})\n\n    at main (b.ts:${at})\n`;
    const parts = one(path, Array.from({ length: 60 }, (_, at) => entry(at)).join(""), 150);
    expect(parts.length).toBeGreaterThan(5);
    for (const { passages } of parts) expect(passages[0]?.text).toMatch(/^2026-11-23/);
  });

  it("begin at an object of JSON lines", () => {
    const parts = one("a.jsonl", Array.from({ length: 90 }, (_, at) => `{"id":${at},"text":"a | b"}\n`).join(""), 150);
    for (const { passages } of parts) expect(passages[0]?.text).toMatch(/^\{"id"/);
  });
});
