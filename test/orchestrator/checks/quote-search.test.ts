import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Lines } from "../../../src/orchestrator/checks/quote-lines.ts";
import { findQuotes, wordsOf } from "../../../src/orchestrator/checks/quote-search.ts";

const places = (texts: readonly string[], ...quotes: readonly string[]) => findQuotes(texts, quotes).places;
const lines = (text: string, quote: string) => places([text], quote)[0]?.map(({ line, endLine }) => [line, endLine]);

describe("a quote is found", () => {
  const file = [
    "# Ports",
    "",
    "The **gateway** listens on port `8443`; it never",
    "accepts more than 1,048,576 bytes.",
    "> Don’t change `foo_bar` – it’s “private”.",
    "- naïve café, Größe 3.5",
    "漢字の文章です。",
  ].join("\n");

  it.each([
    ["in its own writing", "The **gateway** listens on port `8443`", [3, 3]],
    ["in another case", "the GATEWAY listens On Port 8443", [3, 3]],
    ["over the end of a line", "it never accepts more than 1,048,576 bytes", [3, 4]],
    ["with other white space", "it \t never\n\n  accepts", [3, 4]],
    ["with typewriter quotation marks and dashes", `Don't change foo_bar - it's "private"`, [5, 5]],
    ["in another Unicode form", "nai\u0308ve cafe\u0301", [6, 6]],
    ["with soft hyphens and zero-width spaces", "na\u00adïve ca\u200bfé", [6, 6]],
    ["in capitals that have another length", "GRÖSSE 3.5", [6, 6]],
    ["in full width", "Ｇröße", [6, 6]],
    ["inside a run of a script without spaces", "の文章", [7, 7]],
    ["with an ellipsis", "The gateway … 1,048,576 bytes", [3, 4]],
    ["with an ellipsis in brackets", "listens on port [...] accepts more", [3, 4]],
  ])("%s", (_name, quote, expected) => {
    expect(lines(file, quote)).toEqual([expected]);
  });

  it("also after CRLF, a lone CR, a byte order mark, and without a line end at the end", () => {
    expect(lines("\uFEFFone two\r\nthree four\rfive six\nseven", "three four")).toEqual([[2, 2]]);
    expect(lines("\uFEFFone two\r\nthree four\rfive six\nseven", "six seven")).toEqual([[3, 4]]);
    expect(lines("\uFEFFone two", "one two")).toEqual([[1, 1]]);
  });

  it("in each file that has it, and at each of its places", () => {
    const found = places(["a line\nsame line here", "same line here\nsame line here"], "same line here")[0];
    expect(found?.map(({ text, line }) => [text, line])).toEqual([
      [0, 2],
      [1, 1],
      [1, 2],
    ]);
  });

  it("where its beginning was repeated, and inside a longer quote", () => {
    expect(places(["a a a b c"], "a a b", "b", "a b c").map((each) => each.length)).toEqual([1, 1, 1]);
  });
});

describe("a quote is not found", () => {
  it.each([
    ["in a longer word", "port 80", "port 8080"],
    ["in a longer number", "costs 3", "it costs 3.5 euros"],
    ["with another sign", "it is 5 °C", "it is -5 °C"],
    ["with another operator", "if a < b then", "if a > b then"],
    ["with its pieces in another order", "three four … one two", "one two, three four"],
    ["with pieces that overlap", "one two three … two three four", "one two three four"],
    ["with words left out", "one three four", "one two three four"],
    ["if it has no words", "…  \n **", "anything …  ** at all"],
  ])("%s", (_name, quote, text) => {
    expect(lines(text, quote)).toEqual([]);
  });

  it("with its pieces in two files", () => {
    expect(places(["one two", "three four"], "one two … three four")).toEqual([[]]);
  });
});

describe("of any file", () => {
  const word = fc.oneof(
    fc.stringMatching(/^[a-z]{1,8}$/),
    fc.constantFrom(
      "Größe",
      "naïve",
      "8443",
      "3.5",
      "don't",
      "İstanbul",
      "ΟΔΟΣ",
      "ﬁne",
      "-7",
      "x_y",
      "文",
      "e\u0301",
      "$",
    ),
  );
  const fileLines = fc.array(fc.array(word, { minLength: 1, maxLength: 8 }), { minLength: 1, maxLength: 30 });
  const changes: readonly ((text: string) => string)[] = [
    (text) => text,
    (text) => text.toUpperCase(),
    (text) => text.toLowerCase(),
    (text) => text.normalize("NFD"),
    (text) => text.normalize("NFKC"),
    (text) => text.replaceAll(" ", "\n  "),
    (text) => text.replaceAll(" ", " \u200b\u00a0"),
    (text) => text.replaceAll("'", "’").replaceAll("-", "\u2212"),
    (text) => `“**${text}**”`,
    (text) => text.replace(/(?<=\p{L})(?=\p{L})/u, "\u00ad"),
  ];

  it("what is cut from it and written in another way is found at its line", () => {
    fc.assert(
      fc.property(
        fileLines,
        fc.constantFrom("\n", "\r\n", "\r"),
        fc.nat(),
        fc.nat(),
        fc.integer({ min: 1, max: 12 }),
        fc.constantFrom(...changes),
        fc.boolean(),
        (content, lineEnd, atLine, atWord, count, change, hasMark) => {
          const text = (hasMark ? "\uFEFF" : "") + content.map((words) => words.join(" ")).join(lineEnd);
          const line = atLine % content.length;
          const flat = content.flatMap((words, index) => words.map((each) => ({ each, index })));
          const start = flat.findIndex(({ index }) => index === line) + (atWord % (content[line]?.length ?? 1));
          const cut = flat.slice(start, start + count);
          const quote = change(cut.map(({ each }) => each).join(" "));
          const found = findQuotes([text], [quote]).places[0] ?? [];
          const expected = [(cut[0]?.index ?? 0) + 1, (cut.at(-1)?.index ?? 0) + 1];
          const all = found.map((place) => [place.line, place.endLine]);
          // Only the first places of what is repeated often are reported.
          if (all.length < 16) expect(all).toContainEqual(expected);
        },
      ),
      { numRuns: 500 },
    );
  });

  it("words that are in none of its lines in this order are not found", () => {
    fc.assert(
      fc.property(fileLines, fc.array(word, { minLength: 1, maxLength: 6 }), (content, quote) => {
        const text = content.map((words) => words.join(" ")).join("\n");
        const [all, own] = [` ${wordsOf(text).join(" ")} `, ` ${wordsOf(quote.join(" ")).join(" ")} `];
        expect((findQuotes([text], [quote.join(" ")]).places[0] ?? []).length > 0).toBe(all.includes(own));
      }),
      { numRuns: 500 },
    );
  });

  it("lines are numbered as the search numbers them", () => {
    fc.assert(
      fc.property(fileLines, fc.constantFrom("\n", "\r\n", "\r"), (content, lineEnd) => {
        const own = content.map((words) => words.join(" "));
        const found = new Lines([own.join(lineEnd)], new Set());
        const at = (line: number) => found.textOf(found.within({ text: 0, line, endLine: line }));
        expect(own.map((_line, index) => at(index + 1))).toEqual(own);
      }),
    );
  });
});

describe("the steps grow with files and quotes, not with their product", () => {
  const stepsFor = (text: string, quotes: readonly string[]) => findQuotes([text], quotes).steps;

  it.each([
    ["thousands of quotes that are not there", "the quick brown fox ", (index: number) => `quick brown cat ${index}`],
    ["quotes of one repeated word", "a ", (index: number) => "a ".repeat((index % 60) + 1)],
    ["quotes that differ in their last word", "a ", (index: number) => `${"a ".repeat(40)}${index}`],
    ["quotes that are everywhere", "one two ", (index: number) => (index % 2 === 0 ? "one two" : "two one")],
    ["quotes with an ellipsis", "one two ", () => "one two … two one … nothing here"],
  ])("%s", (_name, repeated, quoteOf) => {
    const [text, quotes] = [repeated.repeat(20_000), Array.from({ length: 2_000 }, (_quote, index) => quoteOf(index))];
    const words = wordsOf(text).length + quotes.reduce((sum, quote) => sum + wordsOf(quote).length, 0);
    expect(stepsFor(text, quotes)).toBeLessThan(8 * words);
  });

  it("a file of one line, of marks or of ends of lines is read like any other", () => {
    const found = findQuotes(
      [
        `${"word ".repeat(200_000)}the end`,
        "\u0301\u0323".repeat(200_000),
        "\r\n".repeat(200_000),
        "x".repeat(1_000_000),
      ],
      ["the end"],
    );
    expect(found.places[0]).toEqual([{ text: 0, line: 1, endLine: 1 }]);
    expect(found.steps).toBeLessThan(600_000);
  });
});
