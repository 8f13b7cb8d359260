import { describe, expect, it } from "vitest";
import { ground } from "../../../src/orchestrator/checks/grounding.ts";

const statusOf = (text: string, value: unknown, name = "value") => {
  const { where, missing } = ground({ [name]: value }, undefined, [{ path: "a.txt", text }], { prompt: "?" });
  return where[`/${name}`] === undefined ? (missing.length > 0 ? "missing" : "not judged") : "stands there";
};

describe("a value stands in a text", () => {
  it.each<[text: string, value: unknown]>([
    ["the total is 1,234.50", 1234.5],
    ["la somme de 1 234,50 €", 1234.5],
    ["Betrag: 1.234,50 EUR", "€1,234.50"],
    ["12'500 CHF", 12500],
    ["a,b,c\n1,2.50,3", 2.5],
    ['x,"1,250.00",y,z', 1250],
    ["up to 3.4 million kilos", 3400000],
    ["3,4 Mio. Kilo", "3.4 million"],
    ["revenue of €1.2m", 1200000],
    ["4k users", 4000],
    ["20 mil euros", 20000],
    ["41 mal", "einundvierzig"],
    ["quatre-vingt-dix-sept visiteurs", 97],
    ["salió cuarenta y una veces", 41],
    ["ante ciento veinte personas", 120],
    ["quinientos veinte euros", 520],
    ["ventotto persone e trentuno tavoli", 28],
    ["ventotto persone e trentuno tavoli", 31],
    ["einhundert Zeilen und zweihundert Spalten", 200],
    ["insured up to two million pounds", 2000000],
    ["drei Jahre", "3 years"],
    ["eine Woche", "1 Woche"],
    ["an efficiency of 91.5 per cent", "91.5%"],
    ["91 % full", 0.91],
    ["on 17 March 2026", "2026-03-17"],
    ["17.3.26", "March 17, 2026"],
    ["le 1er avril 2026", "01/04/2026"],
    ["Zürich, den 9. Dezember 2025", "2025-12-09"],
    ["2026-02-11T06:14:02Z INFO", "11 February 2026"],
    ["filed 27-Oct-2025", "2025-10-27"],
    ["filed 27-Oct-2025", "October"],
    ["filed 27-Oct-2025", 2025],
    ["ab Oktober 2026", "2026-10"],
    ["Salamanca, 2025. El 22 de noviembre compré", "2025-11-22"],
    ["opens at 9 a.m.", "09:00"],
    ["ore 20.30", "20:30"],
    ["18 h 30", "18:30"],
    ["at 06:21:10", "06:21"],
    ["the com-\nmittee meets", "committee"],
    ["Feier 70. Geburts-\ntag", "70. Geburtstag"],
    ["Mrs\nAda Lovelace", "Mrs Ada Lovelace"],
    ["FERMÍN OYARZUN", "Fermin Oyarzun"],
    ["Straße", "STRASSE"],
    ["Lovelace, Ada", "Ada Lovelace"],
    ["sala\talto_cm\n2\t7,2", "7.2 cm"],
    ["Bestand 17 Stück", "17 pieces"],
    ["total 89.00", "89 EUR"],
    ["210 m² of floor", "210m2"],
    ["node >=18.17", ">= 18.17"],
    ["tag v2.7.3", "2.7.3"],
    ["listening on :8443", 8443],
    ["ecoute = 0.0.0.0:2049", 2049],
    ["IBAN IT60 X054 2811 1010 0000 0123 456", "IT60X0542811101000000123456"],
    ["Tel. 030 / 123 45-67", "030 1234567"],
    ["rent is GBP 86.40", "GBP"],
    ["520 € al mes", "EUR"],
    ["for 90 minutes", "minutes"],
    ["le 9 de diciembre de 2025", "diciembre de 2025"],
    ["EUR  1 384,50", "1 384,50"],
    ["consent of\nthe Committee", "of the Committee"],
    ["a (b) c++ [^$.*] \\d/e-f g{2}|?", "(b) C++ [^$.*] \\d/e-f g{2}|?"],
    ["Qu1ttung", "Quittung"],
    ["EUR 1O84,5O", 1084.5],
    ["Nr. 0 8 4 4", "0844"],
    ["東京都で会議", "東京"],
    ["temperature: -5", -5],
  ])("%j, %j", (text, value) => {
    expect(statusOf(text, value)).toBe("stands there");
  });

  it.each<[text: string, value: unknown]>([
    ["the total is 1,234.50", 1234],
    ["the total is 1,234.50", 234],
    ["build 9f31c2", 9],
    ["started 08:31:58", 31],
    ["192.168.40.17", "192.168.1.50"],
    ["temperature: -5", 5],
    ["at 12 °C", -12],
    ["27.10.2025", "2025-10-28"],
    ["27.10.2025", 27],
    ["v1.20", "v1.21"],
    ["three (3) years", "three months"],
    ["keeps 30 days", "30 weeks"],
    ["costs €50", "$50"],
    ["foo-bar", "foobarbaz"],
    ["permit", "MIT"],
    ["amount due to the bank of the town", 2],
    ["the plan of a house", 1],
    ["Anna Berger and Paul Weber", "Anna Webermann"],
    ['{"node": ', ">=14"],
    ['{"node": ', "14.17.0"],
  ])("not %j, %j", (text, value) => {
    expect(statusOf(text, value)).toBe("missing");
  });
});

describe("what is not judged", () => {
  const text = "The pump failed at 4 bar.";
  it.each<[name: string, value: unknown, schema: object]>([
    ["a boolean", true, { type: "boolean" }],
    ["an enumeration", "high", { enum: ["low", "high"] }],
    [
      "a long text of the model's own",
      "It broke because nobody had looked after the valves in all of the years before",
      {},
    ],
    ["what its description says is to be made", "a broken pump", { description: "A summary in one line" }],
    ["a boolean as a word", "yes", { type: "string" }],
  ])("%s", (_name, value, schema) => {
    const format = { type: "object", properties: { x: schema } };
    const { notJudged, missing } = ground({ x: value }, format, [{ path: "a", text }], { prompt: "?" });
    expect({ notJudged, missing }).toEqual({ notJudged: ["/x"], missing: [] });
  });

  it("by its name: a summary, a count, a category", () => {
    const answer = { summary: "a leak", failureCount: 3, category: "plumbing", pressure: 7 };
    const { notJudged, missing } = ground(answer, undefined, [{ path: "a", text }], { prompt: "?" });
    expect({ notJudged, missing }).toEqual({
      notJudged: ["/summary", "/failureCount", "/category"],
      missing: ["/pressure"],
    });
  });

  it("words of the request, but no numbers of it", () => {
    const question = { prompt: "Is it a defect or an accident? Is it 5 bar or 6?" };
    const { notJudged, missing } = ground({ what: "defect", bar: 5 }, undefined, [{ path: "a", text }], question);
    expect({ notJudged, missing }).toEqual({ notJudged: ["/what"], missing: ["/bar"] });
  });

  it("words of a text that is to be changed", () => {
    const question = { prompt: "Translate it", isMade: true };
    const { notJudged, missing } = ground(
      { de: "Die Pumpe", bar: "5 bar" },
      undefined,
      [{ path: "a", text }],
      question,
    );
    expect({ notJudged, missing }).toEqual({ notJudged: ["/de"], missing: ["/bar"] });
  });

  it("an empty or blank string and null state nothing", () => {
    const found = ground({ a: "", b: "  ", c: null }, undefined, [{ path: "a", text }], { prompt: "?" });
    expect(found).toEqual({ where: {}, notJudged: [], missing: [] });
  });
});

it("a place is the file and the line, by pointer, also of elements", () => {
  const texts = [
    { path: "a.txt", text: "one\nAda" },
    { path: "b.txt", text: "x\r\ny\r\nport 80" },
  ];
  const { where } = ground({ people: [{ "na/me": "Ada" }], port: 80 }, undefined, texts, { prompt: "?" });
  expect(where).toEqual({ "/people/0/na~1me": "a.txt:2", "/port": "b.txt:3" });
});

it("hostile texts are read in time", () => {
  const bits = ["1", "1,", "a-\n", "l1", "1 ", "€", "a", "a1", "one ", "1.", '"', "may "];
  const long = bits.map((bit) => bit.repeat(40_000 / bit.length));
  for (const text of long) {
    const startedAt = performance.now();
    ground({ a: "Ada Lovelace", b: 77, c: "12345678" }, undefined, [{ path: "a", text }], { prompt: "?" });
    expect(performance.now() - startedAt, JSON.stringify(text.slice(0, 8))).toBeLessThan(5_000);
  }
});
