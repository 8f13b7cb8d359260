import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { QuotesCheck } from "../../../src/orchestrator/checks/quotes.ts";

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

const check = (prompt: string, more: object = {}) =>
  new QuotesCheck({ prompt, files, ...more }, { files, question: prompt });
const judge = (prompt: string, answer: string) => check(prompt).judge(answer);
const counts = (prompt: string, answer: string) => {
  const { statements, problem } = judge(prompt, answer).result;
  return { found: statements.filter(({ where }) => where).length, total: statements.length, ok: problem === undefined };
};
const due = "When is the invoice due?";

describe("the request", () => {
  it("has the instruction behind the files, before the question", () => {
    const { request } = check(due);
    expect(request.files).toBe(files);
    expect(request.prompt).toMatch(/in quotation marks\.\n\nWhen is the invoice due\?$/);
  });

  it("stays as it is with a format", () => {
    const request = { prompt: due, files, format: { type: "object" } };
    expect(new QuotesCheck(request, { files, question: due }).request).toBe(request);
  });
});

describe("a statement is supported, with path and line of its quote", () => {
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
    ["by its own words", "The invoice is due on 2 April 2026."],
    ["by its own words, if its quote is not there", 'The invoice is due on 2 April 2026. "The due date is April"'],
    ["with the date in another order", "The invoice is due on April 2nd, 2026."],
    ["with the date as ISO writes it", "The invoice is due on 2026-04-02."],
    ["as a mere value", "2 April 2026"],
    ["in bold", "**Due:** the invoice is due on **2 April 2026**."],
  ])("%s", (_name, answer) => {
    const { text, result } = judge(due, answer);
    expect(result.problem).toBeUndefined();
    expect(result.statements).toMatchObject([{ where: "invoice.txt:4", line: "Due: 2 April 2026" }]);
    expect(text).toMatch(/\[(?:quoted|value found), invoice\.txt:4: Due: 2 April 2026\]$/);
  });

  it.each([
    ["What is the total?", "The total is 1275 euros.", "invoice.txt:7"],
    ["How many retries are there for the upstream?", "There are three retries.", "app.yaml:4"],
    ["On which port does it listen?", "8443", "app.yaml:2"],
    ["What is the log level?", "The log level is warn.", "app.yaml:5"],
  ])("%s %s", (prompt, answer, place) => {
    expect(judge(prompt, answer).text).toContain(`${answer} [value found, ${place}: `);
  });

  it("by the one of several equal lines that is about it", () => {
    const equal = [
      { path: "a.txt", text: "nothing\nvalue 5551234" },
      { path: "b.txt", text: "phone 5551234" },
    ];
    const { statements } = new QuotesCheck(
      { prompt: "passages" },
      { files: equal, question: "Which phone number?" },
    ).judge("5551234").result;
    expect(statements).toMatchObject([{ text: "5551234", where: "b.txt:1" }]);
  });

  it("by a quote that the model gave, without a word of the question", () => {
    const answer = 'The clinic got letterhead pads. "20 letterhead pads"';
    expect(judge("What did it buy?", answer).text).toContain("[quoted, invoice.txt:6: 20 letterhead pads");
  });

  it("by two quotes together", () => {
    const answer = 'Invoice HPW-2031 is due on 2 April 2026. "Invoice no. HPW-2031" "Due: 2 April 2026"';
    expect(counts("Summarize it.", answer)).toEqual({ found: 1, total: 1, ok: true });
  });
});

describe("a statement is not supported", () => {
  it.each([
    ["by a quote that is not in the files", due, 'The invoice is due on 5 May 2026. "Due: 5 May 2026"'],
    ["by a quote that lacks its number", due, 'The invoice is due on 9 April 2026. "Due: 2 April 2026"'],
    ["by a quote that lacks its name", "Who sent it?", 'It was sent by Anna Schmidt. "Harbor Print Works"'],
    ["by a quote that lacks its identifier", "Which invoice?", 'Invoice XPW_2 of Works. "Harbor Print Works"'],
    ["by own words without a word of the question", "What did the clinic buy?", "20 letterhead pads"],
    ["by own words that add more than they have", due, "It is due on 2 April 2026, a sunny Monday in spring."],
    ["by a day and a month that are not one date", "When?", 'On 4 March. "Date: 3 March 2026 Due: 2 April 2026 Bill"'],
    ["by a line about something else", due, "The invoice is due on 3 March 2026."],
    ["by words of the question", "What is the port?", 'The port is open. "the port"'],
    ["by our instruction", due, 'It is due in quotation marks. "in quotation marks"'],
    ["by a word", "What is the level?", 'The level is high. "to"'],
    ["without anything that could be looked for", "Is it paid?", "Yes."],
    ["by a number that is part of another", "What is the total?", "The total is 275 euros."],
    ["if it denies what its quote says", due, 'The invoice is not due on 2 April 2026. "Due: 2 April 2026"'],
    ["if it says that something is absent", "What is the phone number?", "The phone number is not stated."],
  ])("%s", (_name, prompt, answer) => {
    const { text, result } = judge(prompt, answer);
    expect(result.statements).toMatchObject([{ status: "not_found" }]);
    expect(text).toMatch(/ \[not found\]$/);
  });

  it("and is marked beside those that are, with the problem in one sentence", () => {
    const answer = '- Due on 2 April 2026. "Due: 2 April 2026"\n- The clinic paid 99 euros in advance. "Total 99"';
    const { text, result } = judge(due, answer);
    expect(text.split("\n")).toEqual([
      "Due on 2 April 2026. [quoted, invoice.txt:4: Due: 2 April 2026]",
      "The clinic paid 99 euros in advance. [not found]",
    ]);
    expect(result.problem).toBe("1 quoted, 1 not found: The clinic paid 99 euros in advance.");
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
  const format = { type: "object" };
  const values = (answer: unknown, prompt = "Extract the fields.") =>
    check(prompt, { format }).judge(typeof answer === "string" ? answer : JSON.stringify(answer));

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
    ["a value that is not there", { number: "HPW-9999" }],
    ["a short value in a line about something else", { discount: 3 }],
    ["a boolean, which can't be quoted", { paid: true }],
  ])("and %s is not supported", (_name, answer) => {
    expect(values(answer).result.statements).toMatchObject([{ status: "not_found" }]);
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
        const { result } = check(due, isJson ? { format: "json" } : {}).judge(pieces.join(""));
        for (const { where, line } of result.statements) {
          const [path, number] = where?.split(":") ?? [];
          const text = files.find((file) => file.path === path)?.text.split(/\r?\n/);
          expect(where === undefined || text?.[Number(number) - 1]?.includes(line?.split(" ", 1)[0] ?? "?")).toBe(true);
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

it("no denial in the files proves that they don't say something", () => {
  const own = [{ path: "a.md", text: "The port is not stated in this file." }];
  const prompt = "Which host?";
  const denial = new QuotesCheck({ prompt, files: own }, { files: own, question: prompt });
  const { result } = denial.judge('The files do not state the host. "The port is not stated in this file."');
  expect(result.statements).toMatchObject([{ status: "not_found" }]);
});

it("a denial in the files proves nothing else", () => {
  const own = [
    { path: "proxy.txt", text: "The proxy does not listen on port 80.\nInvoice no. 81 is for the proxy.\n" },
  ];
  const question = "On which port does the proxy listen?";
  const quoted = (answer: string) =>
    new QuotesCheck({ prompt: question, files: own }, { files: own, question }).judge(answer);
  const quote = '"The proxy does not listen on port 80."';
  expect(quoted(`The proxy listens on port 80. ${quote}`).result.problem).toBeDefined();
  expect(quoted(`The proxy doesn't listen on port 80. ${quote}`).result.problem).toBeUndefined();
  // A number is no negation.
  expect(quoted('The proxy has invoice 81. "Invoice no. 81 is for the proxy."').result.problem).toBeUndefined();
});
