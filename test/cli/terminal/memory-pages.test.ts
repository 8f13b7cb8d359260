import { describe, expect, it } from "vitest";
import { joinPages, splitExport } from "../../../src/cli/commands/memory.ts";
import { InvalidRequest } from "../../../src/orchestrator/api/errors.ts";
import { exportEntries, pageOf, parseExport } from "../../../src/orchestrator/recall/markdown.ts";
import { entryOf } from "../../orchestrator/recall/entries.ts";

const odd = [
  "plain",
  "## no heading\n### nor this\n---",
  "`code`\n> quoted\n",
  "🦊 \u202Eright to left",
  "\r\n\r\n",
  "]}",
];
const entries = Array.from({ length: 100 }, (_unused, index) => ({
  ...entryOf(`key ${index}`, `${odd[index % odd.length] ?? ""} ${index}`),
  category: (["fact", "preference", "context"] as const)[index % 3] ?? "fact",
}));
const formats = [
  ["JSON", false],
  ["Markdown", true],
] as const;

function pagesOf(isMarkdown: boolean, maxChars: number): readonly string[] {
  const pages: string[] = [];
  let after: string | undefined;
  do {
    const { from, to, next } = pageOf(entries, { maxChars, ...(after === undefined ? {} : { after }) });
    pages.push(exportEntries(entries.slice(from, to), isMarkdown ? "markdown" : "json", 0));
    after = next;
  } while (after !== undefined);
  return pages;
}

const valuesOf = (texts: readonly string[], isMarkdown: boolean) =>
  new Map(
    texts.flatMap((text) =>
      parseExport(text, isMarkdown ? "markdown" : "json").map((each) => {
        const { key, value, category } = each as { key: string; value: string; category: string };
        return [key, `${category} ${value}`] as const;
      }),
    ),
  );
const expected = new Map(entries.map(({ key, value, category }) => [key, `${category} ${value}`]));

describe.each(formats)("pages of an export in %s", (_name, isMarkdown) => {
  it.each([1, 1_000, 5_000, 1e9])("of %d characters make one text that has it all", (maxChars) => {
    const pages = pagesOf(isMarkdown, maxChars);
    expect(pages.length).toBe({ 1: 100, 1_000: 34, 5_000: 9, 1e9: 1 }[maxChars]);
    const text = joinPages(pages, isMarkdown);
    expect(valuesOf([text], isMarkdown)).toEqual(expected);
    expect(text.match(/^# Memory$/gm)?.length ?? 1).toBe(1);
    expect(text.endsWith("\n")).toBe(true);
  });

  it.each([1, 1_000, 1e9])("are parted again for an import, %d characters each", (maxChars) => {
    const pieces = splitExport(joinPages(pagesOf(isMarkdown, 5_000), isMarkdown), isMarkdown, maxChars);
    expect(pieces.length).toBeGreaterThanOrEqual({ 1: 100, 1_000: 15, 1e9: 1 }[maxChars] ?? 0);
    expect(valuesOf(pieces, isMarkdown)).toEqual(expected);
  });

  it("are rejected unless the text is an export", () => {
    expect(() => splitExport("no export ".repeat(10), isMarkdown, 10)).toThrow(InvalidRequest);
    expect(() => splitExport('{"version":1,"entries":"none"}', isMarkdown, 10)).toThrow(/the text contains no entries/);
  });
});
