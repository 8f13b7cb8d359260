import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { judgeQuotes, promptForQuotes } from "../../../src/orchestrator/checks/quotes.ts";

const invoice = [
  "Harbor Print Works",
  "Invoice no. HPW-2031",
  "Date: 3 March 2026",
  "Due: 2 April 2026",
  "Bill to: Lindqvist Dental Clinic, Malmö",
  "20 letterhead pads       6.50  130.00",
  "Total                          1,275.00 EUR",
  "Not paid.",
].join("\n");
const config = ["listen:", "  port: 8443", "upstream:", "  retries: 3", "logLevel: warn"].join("\r\n");
const files = [
  { path: "invoice.txt", text: invoice },
  { path: "app.yaml", text: config },
];

const judge = (prompt: string, answer: string) => judgeQuotes(answer, false, { files, question: prompt });
const counts = (prompt: string, answer: string) => {
  const { statements, problem } = judge(prompt, answer).result;
  return { found: statements.filter(({ where }) => where).length, total: statements.length, ok: problem === undefined };
};
const quotesOf = (own: { readonly path: string; readonly text: string }[], question: string, answer: string) =>
  judgeQuotes(answer, false, { files: own, question });
const due = "When is the invoice due?";

describe("the request", () => {
  it("has the instruction behind the files, before the question", () => {
    expect(promptForQuotes({ prompt: due })).toMatch(/in quotation marks\.\n\nWhen is the invoice due\?$/);
  });

  it("stays as it is with a format", () => {
    expect(promptForQuotes({ prompt: due, format: { type: "object" } })).toBe(due);
  });
});

describe("a statement is quoted, with path, line and what stands there", () => {
  it.each([
    ["by a quote behind it", 'The invoice is due on 2 April 2026. "Due: 2 April 2026"'],
    ["by a quote in parentheses", "The invoice is due on 2 April 2026 (“Due: 2 April 2026”)."],
    ["by a quote on the next line", 'The invoice is due on 2 April 2026.\n\n"Due: 2 April 2026"'],
    ["by a quote behind a bar", 'The invoice is due on 2 April 2026 | "Due: 2 April 2026"'],
    ["by a block quote", "The invoice is due on 2 April 2026.\n> Due: 2 April 2026"],
    ["by a code block", "The invoice is due on 2 April 2026:\n```\nDue: 2 April 2026\n```"],
    ["by labelled lines", 'Statement: The invoice is due on 2 April 2026.\nQuote: "Due: 2 April 2026"'],
    ["by a quote before it", 'Quote: "Due: 2 April 2026"\nStatement: The invoice is due on 2 April 2026.'],
    ["as JSON", '{"statements":[{"statement":"It is due on 2 April 2026.","quote":"Due: 2 April 2026"}]}'],
    ["as JSON in a fence", '```json\n[{"quote":"Due: 2 April 2026","statement":"It is due on 2 April 2026."}]\n```'],
    ["as a mere value", "2 April 2026"],
    ["although it says the contrary", 'The invoice is not due on 2 April 2026. "Due: 2 April 2026"'],
    ["although it has another number", 'The invoice is due on 9 April 2026. "Due: 2 April 2026"'],
  ])("%s", (_name, answer) => {
    const { text, result } = judge(due, answer);
    expect(result).toMatchObject({
      kind: "quotes",
      statements: [{ status: "quoted", where: "invoice.txt:4", line: "Due: 2 April 2026" }],
    });
    expect(result.problem).toBeUndefined();
    expect(text).toMatch(/ \[quoted, invoice\.txt:4: Due: 2 April 2026\]$/);
  });

  it("that is a line itself, which is not shown twice", () => {
    const { text, result } = judge("What is said of paying?", "Not paid");
    expect(text).toBe("Not paid [quoted, invoice.txt:8]");
    expect(result.statements).toMatchObject([{ line: "Not paid." }]);
  });

  it("by the one of several equal lines that is about it", () => {
    const equal = [
      { path: "a.txt", text: "nothing\nvalue 5551234" },
      { path: "b.txt", text: "phone 5551234" },
    ];
    const { result } = judgeQuotes("5551234", false, { files: equal, question: "Which phone number?" });
    expect(result.statements).toMatchObject([{ text: "5551234", where: "b.txt:1" }]);
  });

  it("by a line that says the contrary, which its reader sees", () => {
    const own = [{ path: "config.ini", text: "[server]\nport = 80\ncache.enabled = false\n" }];
    const said = (answer: string) => quotesOf(own, "Is the cache on?", answer).text;
    expect(said('The cache is enabled. "cache.enabled = false"')).toBe(
      "The cache is enabled. [quoted, config.ini:3: cache.enabled = false]",
    );
    expect(said("The cache is enabled.")).toBe(
      "The cache is enabled. [not judged; nearest: config.ini:3: cache.enabled = false]",
    );
  });

  it.each([
    ["one long line", `${"word ".repeat(5_000)}the gate is closed on Sunday, ${"more ".repeat(5_000)}`, 1],
    ["several lines", `first\nthe gate is\nclosed on Sunday, and so on\n${"x ".repeat(100)}`, "2-3"],
  ])("in %s, of which at most 160 characters are shown, the quote among them", (_name, text, line) => {
    const { statements } = quotesOf(
      [{ path: "a.md", text }],
      "When?",
      'It is open. "the gate is closed on Sunday"',
    ).result;
    expect(statements).toMatchObject([{ status: "quoted", where: `a.md:${line}` }]);
    expect(statements[0]?.line).toContain("the gate is closed on Sunday");
    expect(statements[0]?.line?.length).toBeLessThanOrEqual(160);
  });
});

describe("the values of a statement are found, in any notation", () => {
  it.each([
    [due, "The invoice is due on April 2nd, 2026.", "invoice.txt:4"],
    [due, "The invoice is due on 2026-04-02.", "invoice.txt:4"],
    [due, "The invoice is due on 02/04/2026.", "invoice.txt:4"],
    [due, "Die Rechnung ist am 2. April 2026 fällig.", "invoice.txt:4"],
    [due, "La factura vence el 2 de abril de 2026.", "invoice.txt:4"],
    [due, 'The invoice is due on 2 April 2026. "The due date is April"', "invoice.txt:4"],
    ["What is the total?", "The total is 1275 euros.", "invoice.txt:7"],
    ["How many retries are there for the upstream?", "There are three retries.", "app.yaml:4"],
    ["Who pays?", "It was sent to Lindqvist in Malmö.", "invoice.txt:5"],
    ["What did it cost?", "The pads cost 130 of 1,275.00 EUR.", "invoice.txt:6-7"],
  ])("%s %s", (prompt, answer, where) => {
    expect(judge(prompt, answer).result.statements).toMatchObject([{ status: "value_found", where }]);
  });

  it("in cells of a table, where no comma belongs to a number", () => {
    const own = [
      { path: "beds.csv", text: "bed,crop,sown,kg\n4,courgettes,2025-05-10,55.3\n5,garlic,2024-10-28,6.9\n" },
    ];
    expect(quotesOf(own, "How much?", "The garlic bed gave 6.9 kg, sown on 28 October 2024.").text).toContain(
      "[value found, beds.csv:3: 5,garlic,2024-10-28,6.9]",
    );
  });
});

describe("a statement is not found, and the nearest line is shown", () => {
  it.each([
    [
      "if its quote and its date are not there",
      due,
      'The invoice is due on 5 May 2026. "Due: 5 May 2026"',
      "Due: 2 April",
    ],
    ["if its number is part of another", "What is the total?", "The total is 275 euros.", "Total 1,275.00 EUR"],
    ["if day and month are of two dates", "When is it due?", "It is due on 3 April 2026.", "Due: 2 April 2026"],
    ["if its number is only a part of dates", "How many?", "It has 2 pages.", ""],
    ["if its year is another", due, "It is due on 02/04/2025.", "2 April 2026"],
    ["if its version is another", "Which version?", "It needs version 2.4.3.", ""],
    ["if one of its values is not there", due, "Invoice HPW-2031 is due on 9 April 2026.", ""],
    [
      "if its name is not there",
      "Who pays the bill?",
      "The bill goes to Anna Lindqvist in Malmö.",
      "Bill to: Lindqvist",
    ],
    ["if its quote is not there", "What is the port?", 'The port is open. "the port is open"', "port: 8443"],
    ["if its quote is a short word inside a line", "What is the bill?", 'The bill is high. "to"', "Bill to"],
  ])("%s", (_name, prompt, answer, line) => {
    const { text, result } = judge(prompt, answer);
    expect(result.statements).toMatchObject([{ status: "not_found" }]);
    expect(result.statements[0]?.line ?? "").toContain(line);
    expect(text).toMatch(/ \[not found(?:; nearest: [^\]]+)?\]$/);
    expect(result.problem).toMatch(/^1 not found: /);
  });

  it("and stands beside those that are, with the counts in the problem", () => {
    const answer = '- Due on 2 April 2026. "Due: 2 April 2026"\n- The clinic had 99 dogs. "99 dogs"\n';
    const { text, result } = judge(due, answer);
    expect(text.split("\n")).toEqual([
      "Due on 2 April 2026. [quoted, invoice.txt:4: Due: 2 April 2026]",
      "The clinic had 99 dogs. [not found; nearest: invoice.txt:5: Bill to: Lindqvist Dental Clinic, Malmö]",
    ]);
    expect(result.problem).toBe("1 quoted, 1 not found: The clinic had 99 dogs.");
  });
});

describe("a statement is not judged", () => {
  it.each([
    ["that has nothing to look for", "Is it paid?", "Yes."],
    ["that is an opinion", "Is it a good clinic?", "It is well worth a visit."],
    ["that says that something is absent", "What is the phone number?", "The phone number is not stated."],
    ["whose only name is that of the question", "Is the Lindqvist clinic good?", "I like Lindqvist."],
    ["whose nouns have capitals, as German has", "Was ist das?", "Das ist eine schöne Kirche mit Turm."],
  ])("%s", (_name, prompt, answer) => {
    expect(judge(prompt, answer).result.statements).toMatchObject([{ status: "not_judged" }]);
  });

  it("beside the line that is nearest, which is no problem, but none at all is", () => {
    const { statements, problem } = judge("What is the log level?", "The log level is warn.").result;
    expect(statements).toMatchObject([{ status: "not_judged", where: "app.yaml:5", line: "logLevel: warn" }]);
    expect(problem).toBeUndefined();
    expect(judge("Is it paid?", "Yes.").result.problem).toContain("nothing that could be looked for");
  });
});

describe("an answer", () => {
  it.each(["", "   \n", "```\n```", "...", "Here is the answer:"])("without statements never passes: %j", (answer) => {
    const { text, result } = judge(due, answer);
    expect(result.statements).toEqual([]);
    expect(result.problem).toContain("nothing");
    expect(text).toBe(answer);
  });

  it("that repeats a statement has it once", () => {
    expect(counts(due, "It is due on 2 April 2026. It is due on 2 April 2026.")).toMatchObject({ total: 1 });
  });

  it("is split at sentences, not at abbreviations", () => {
    expect(counts("Who?", "Dr. Smith paid invoice no. 5. He left.").total).toBe(2);
  });
});

describe("with a format each value is looked for", () => {
  const values = (answer: unknown, question = "Extract the fields.") =>
    judgeQuotes(typeof answer === "string" ? answer : JSON.stringify(answer), true, { files, question });

  it("and the answer stays as it is", () => {
    const answer = { number: "HPW-2031", due: "2026-04-02", total: 1275, phone: null, note: "" };
    const { text, result } = values(answer);
    expect(text).toBe(JSON.stringify(answer));
    expect(result.problem).toBeUndefined();
    expect(result.statements.map(({ text: value, where }) => [value, where])).toEqual([
      ["number: HPW-2031", "invoice.txt:2"],
      ["due: 2026-04-02", "invoice.txt:4"],
      ["total: 1275", "invoice.txt:7"],
    ]);
  });

  it("in nested lists, by what stands beside it", () => {
    const { result } = values({ items: [{ text: "letterhead pads", price: 6.5, sum: 130 }] });
    expect(result.statements.map(({ status }) => status)).toEqual(Array(3).fill("value_found"));
  });

  it.each([
    ["a value that is not there", { number: "HPW-9999" }, { status: "not_found", where: "invoice.txt:2" }],
    ["a wrong value, beside the nearest line", { total: 1280 }, { status: "not_found", where: "invoice.txt:7" }],
    ["a boolean, which can't be looked for", { paid: true }, { status: "not_judged" }],
  ])("and %s is not found", (_name, answer, expected) => {
    expect(values(answer).result.statements[0]).toMatchObject(expected);
  });

  it.each(["{}", "[]", "null", '{"a":null}', "not JSON", '{"a":', "[".repeat(100_000)])(
    "%j states nothing",
    (answer) => {
      expect(values(answer.slice(0, 100_000)).result.statements).toEqual([]);
    },
  );
});

describe("hostile answers", () => {
  it.each([
    ["quotation marks", '"'.repeat(100_000)],
    ["opening marks", "“„«(".repeat(30_000)],
    ["spaces in a label", `quote${" ".repeat(100_000)}x`],
    ["leading marks", `${"(".repeat(100_000)}x "y"`],
    ["zeros", `It is 0.${"0".repeat(100_000)}1.`],
    ["absences", "not ".repeat(50_000)],
    ["full stops", "a. ".repeat(30_000)],
    ["short lines", "a\n".repeat(50_000)],
    ["JSON", `[${"[],".repeat(50_000)}{}]`],
    ["ellipses", "a b … ".repeat(20_000)],
    ["combining marks", "e\u0301\u0323".repeat(50_000)],
  ])(
    "of %s are judged",
    (_name, answer) => {
      expect(judge(due, answer).result.problem).toBeDefined();
    },
    10_000,
  );

  it("of any form are judged, and never verify more than they state", () => {
    const piece = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.constantFrom('"', "“", "`", "```\n", "\n", "> ", "Quote:", "{", "[", "…", "2 April 2026", "Due", "- ", ". "),
    );
    fc.assert(
      fc.property(fc.array(piece), fc.boolean(), (pieces, isJson) => {
        const { result } = judgeQuotes(pieces.join(""), isJson, { files, question: due });
        for (const { where, line } of result.statements) {
          const [path, number] = where?.split(/[:,-]/) ?? [];
          const text = files.find((file) => file.path === path)?.text.split(/\r?\n/);
          const [first = "?"] = line?.replace("…", "").split(" ") ?? [];
          expect(where === undefined || text?.[Number(number) - 1]?.includes(first)).toBe(true);
          expect((line ?? "").length).toBeLessThanOrEqual(160);
        }
      }),
      { numRuns: 300 },
    );
  });
});

it("questions that an answer repeats state nothing, unless a quote follows", () => {
  expect(counts(due, `${due}\nThe invoice is due on 2 April 2026.`)).toEqual({ found: 1, total: 1, ok: true });
  expect(counts(due, `**${due}**\n> Due: 2 April 2026`)).toEqual({ found: 1, total: 1, ok: true });
  expect(counts(due, due)).toEqual({ found: 0, total: 0, ok: false });
});
