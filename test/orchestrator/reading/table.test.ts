import { describe, expect, it } from "vitest";
import { tablesOf } from "../../../src/orchestrator/reading/table.ts";

function table(text: string, path = "t.csv") {
  const [found] = tablesOf([{ path, text }]);
  if (found === undefined) throw new Error("no table");
  return found;
}
const columnsOf = (text: string, path?: string) => table(text, path).columns.map(({ name, type }) => `${name} ${type}`);

describe("files of rows", () => {
  it.each([
    ["commas and CRLF", "a.csv", "name,n\r\nAnn,1\r\nBob,2\r\n"],
    ["semicolons and a byte order mark", "a.csv", "\uFEFFname;n\nAnn;1\nBob;2"],
    ["tabs", "a.tsv", "name\tn\nAnn\t1\nBob\t2\n"],
    ["old Mac line ends", "a.csv", "name,n\rAnn,1\rBob,2\r"],
    ["JSON lines", "a.jsonl", '{"name":"Ann","n":1}\n\n{"n":2,"name":"Bob"}\n'],
    ["empty lines between", "a.csv", "name,n\n\nAnn,1\n\nBob,2\n\n"],
  ])("are read with %s", (_, path, text) => {
    expect(table(text, path)).toMatchObject({
      name: "a",
      columns: [
        { name: "name", type: "TEXT" },
        { name: "n", type: "INTEGER" },
      ],
      rows: [
        ["Ann", 1],
        ["Bob", 2],
      ],
      notes: [],
    });
  });

  it("hold separators, line breaks and quotes in quoted cells, and a quote without an end is a character", () => {
    expect(table('a,b\n"x, ""y""\nz",1\n"open,2\n').rows).toEqual([
      ['x, "y"\nz', 1],
      ['"open', 2],
    ]);
  });

  it("say which rows are longer or shorter than the header", () => {
    const { rows, notes } = table("a,b\n1,2,3\n4\n5,6\n");
    expect(rows).toEqual([
      [1, 2],
      [4, null],
      [5, 6],
    ]);
    expect(notes).toEqual([
      "t.csv: 1 row has more cells than the header: the last ones are left out",
      "t.csv: 1 row has fewer cells than the header: the last ones are empty",
    ]);
  });

  it("get names that SQL takes without quotes, each once", () => {
    const text = "Order,order,Bezahlt von,2024,,Größe (cm)\nx,x,x,x,x,x\n";
    expect(columnsOf(text)).toEqual([
      "_Order TEXT",
      "_order_2 TEXT",
      "Bezahlt_von TEXT",
      "_2024 TEXT",
      "column_5 TEXT",
      "Größe_cm TEXT",
    ]);
    const names = tablesOf([
      { path: "a/sales.csv", text: "a\n1x" },
      { path: "b/sales.csv", text: "a\n2x" },
    ]).map(({ name }) => name);
    expect(names).toEqual(["sales", "sales_2"]);
  });

  it("without a header keep their first row", () => {
    const { columns, rows, notes } = table("2025-01-02,Ann,3\n2025-01-03,Bob,4\n");
    expect(columns.map(({ name }) => name)).toEqual(["column_1", "column_2", "column_3"]);
    expect(rows).toHaveLength(2);
    expect(notes).toHaveLength(1);
  });

  it.each([
    ["notes.csv", ""],
    ["notes.csv", "only,a,header\n"],
    ["notes.jsonl", "[1]\nprose\nmore prose\n"],
  ])("%s without rows is none: %j", (path, text) => {
    expect(() => tablesOf([{ path, text }])).toThrow();
  });

  it("keep lists inside JSON lines as JSON, and leave lines out that are none, with a note", () => {
    const { rows, notes } = table('{"a":[1,2],"b":true}\n{"a":null,"b":false}\ntorn {"a"\n', "t.jsonl");
    expect(rows).toEqual([
      ["[1,2]", 1],
      [null, 0],
    ]);
    expect(notes).toEqual(["t.jsonl: 1 line is no JSON object and left out"]);
  });
});

describe("columns", () => {
  it.each([
    ["1.234,50;12,00;-3,5", [1234.5, 12, -3.5]],
    ["1.234;2.500;12,5", [1234, 2500, 12.5]],
    ["55,06;7;12,79 €", [55.06, 7, 12.79]],
    ['"1,234.50";"2.5";"-1"', [1234.5, 2.5, -1]],
    ["$12.00;€3.50;7 %", [12, 3.5, 7]],
    ["1e3;2;n/a", [1000, 2, null]],
    ["−5;1'000;12", [-5, 1000, 12]],
  ])("of numbers written as %s are %j", (cells, values) => {
    expect(table(`x\n${cells.split(";").join("\n")}`, "t.tsv").rows.map(([value]) => value)).toEqual(values);
  });

  it.each([
    ["01067;80331", ["01067", "80331"]],
    ["1234567890123456;1", ["1234567890123456", "1"]],
    ["1-2;3", ["1-2", "3"]],
    ["A1;2", ["A1", "2"]],
  ])("that only look like numbers stay text: %s", (cells, values) => {
    expect(table(`x\n${cells.split(";").join("\n")}`).rows.map(([value]) => value)).toEqual(values);
  });

  it("read a lone zero before three digits as a fraction, whatever separates the cells", () => {
    const rates = table("name;rate\na;0.125\nb;12.250");
    expect(rates.rows.map(([, rate]) => rate)).toEqual([0.125, 12.25]);
    expect(rates.notes).toEqual([]);
    expect(table("name\trate\na\t0,125\nb\t2,250", "t.tsv").rows.map(([, rate]) => rate)).toEqual([0.125, 2.25]);
  });

  it("read 1.234 by the rest of the file, and say so where it may be either", () => {
    expect(table("a;b\n1.234;12,5\n2.500;3,0\n")).toMatchObject({
      rows: [
        [1234, 12.5],
        [2500, 3],
      ],
    });
    const open = table("a,b\n1.234,x\n2.500,y\n");
    expect(open.rows[0]).toEqual([1.234, "x"]);
    expect(open.notes).toEqual(["t.csv: a: 1.234 is read as 1.234"]);
    // The cell that it is about, not the first.
    expect(table("a,b\n5 kr,x\n1.000 kr,y\n").notes).toEqual(["t.csv: a: 1.000 kr is read as 1"]);
  });

  it.each([
    ["03.01.2025", "2025-01-03"],
    ["31/12/2025", "2025-12-31"],
    ["12/31/2025", "2025-12-31"],
    ["2025/1/3", "2025-01-03"],
    ["2025-01-03T10:00:00Z", "2025-01-03T10:00:00Z"],
    ["3.1.2025 9:05", "2025-01-03 09:05"],
  ])("of dates compare by their order: %s is %s", (cell, value) => {
    expect(table(`x\n${cell}\n`)).toMatchObject({ columns: [{ type: "DATE" }], rows: [[value]], notes: [] });
  });

  it("of dates that may begin with the day or the month say how they are read", () => {
    expect(table("x\n03/04/2025\n").notes).toEqual(["t.csv: x: 03/04/2025 is read as day/month/year"]);
  });

  it("say how many cells hold no number", () => {
    const { columns, rows, notes } = table(`x\n${"5\n".repeat(30)}soon\n`);
    expect(columns[0]?.type).toBe("INTEGER");
    expect(rows.at(-1)).toEqual([null]);
    expect(notes).toEqual(["t.csv: 1 of 31 cells of x hold no number and count as empty"]);
  });
});

describe("exports as programs write them", () => {
  const bank = [
    "Umsatzanzeige;Datei erstellt am: 03.02.2026 14:11",
    "",
    "IBAN;DE02 1203 0000 0000 2020 51",
    "Zeitraum;01.01.2025 - 31.12.2025",
    "Saldo;1.234,56;EUR",
    "",
    "Buchung;Wertstellung;Empfänger;Betrag;Währung",
    "02.01.2025;02.01.2025;REWE;-12,50;EUR",
    "03.01.2025;03.01.2025;Gehalt;2.345,67;EUR",
    "04.01.2025;05.01.2025;Miete;-800,00;EUR",
    "",
  ];

  it("have their account and the time of the export above the header, which are no rows", () => {
    for (const lineEnd of ["\n", "\r\n"]) {
      const { columns, rows, notes } = table(bank.join(lineEnd));
      expect(columns.map(({ name, type }) => `${name} ${type}`)).toEqual([
        "Buchung DATE",
        "Wertstellung DATE",
        "Empfänger TEXT",
        "Betrag REAL",
        "Währung TEXT",
      ]);
      expect(rows).toHaveLength(3);
      expect(rows[1]).toEqual(["2025-01-03", "2025-01-03", "Gehalt", 2345.67, "EUR"]);
      expect(notes).toEqual(["t.csv: left out as no rows: 4 lines above the header (Umsatzanzeige)"]);
    }
  });

  it.each([
    [
      "three cells above three columns",
      "Stand;01.02.2026;EUR\nDatum;Text;Betrag\n02.01.2025;a;1,50\n03.01.2025;b;2,50\n",
    ],
    ["empty cells to the full width", "Konto;;\n;;\nDatum;Text;Betrag\n02.01.2025;a;1,50\n03.01.2025;b;2,50\n"],
    [
      "comments",
      "# device 7, 2 probes\n# exported: 2026-02-10\nDatum,Text,Betrag\n2025-01-02,a,1.5\n2025-01-03,b,2.5\n",
    ],
    ["the separator in a line of its own", "sep=;\r\nDatum;Text;Betrag\r\n02.01.2025;a;1,50\r\n03.01.2025;b;2,50\r\n"],
    ["a separator at the end of each line", "Datum;Text;Betrag;\n02.01.2025;a;1,50;\n03.01.2025;b;2,50;\n"],
    [
      "a first row that lacks a number",
      "Datum;Text;Betrag\n02.01.2025;a;1,50\n03.01.2025;b;2,50\n".replace("1,50", "?"),
    ],
  ])("are read with %s", (_, text) => {
    const { columns, rows } = table(text);
    expect(columns.map(({ name, type }) => `${name} ${type}`)).toEqual(["Datum DATE", "Text TEXT", "Betrag REAL"]);
    expect(rows.map(([date]) => date)).toEqual(["2025-01-02", "2025-01-03"]);
    expect(rows[1]).toEqual(["2025-01-03", "b", 2.5]);
  });

  const body = "2025-01-02,Ann,3,5\n2025-01-03,Bob,4,6\n2025-01-04,Cem,5,7\n";
  it.each([
    ["Total", "date,who,n,m\n", "Total,,12,18\n"],
    ["a sum without a word", "date,who,n,m\n", ",,12,18\n"],
    ["a sum and a note", "date,who,n,m\n", "\nSumme,,12,\nGenerated by X\n"],
    ["Gesamtsumme behind empty cells", "date,who,n,m\n", ",Gesamtsumme:,12,18\n"],
  ])("end with sums, which are no rows: %s", (_, header, end) => {
    const { rows, notes } = table(header + body + end);
    expect(rows.map(([, who]) => who)).toEqual(["Ann", "Bob", "Cem"]);
    expect(notes).toEqual([expect.stringContaining("of totals")]);
  });

  it("keep a payee of the name Total, and a last row that looks like the others", () => {
    const { rows, notes } = table("date,who,n\n2025-01-02,Total,3\n2025-01-03,Bob,4\n2025-01-04,Total,7\n");
    expect(rows).toHaveLength(3);
    expect(notes).toEqual([]);
    expect(table("who,n\nAnn,3\nBob,4\nCem,7\n").rows).toHaveLength(3);
  });

  it("keep a last row with a name that has the sum by chance", () => {
    const { rows, notes } = table("id,name,n,note\n1,Pen,1,a\n2,Ink,1,b\n3,Cup,1,c\n4,Mug,3,\n");
    expect(rows).toHaveLength(4);
    expect(notes).toEqual([]);
  });

  it("have neither the totals of groups nor the header of each page among them", () => {
    const page = "date,who,n\n2025-01-02,Ann,3\n2025-01-03,Ann,4\nAnn Total,,7\n";
    const { rows, notes } = table(page + page.replaceAll("Ann", "Bob"));
    expect(rows.map(([, who]) => who)).toEqual(["Ann", "Ann", "Bob", "Bob"]);
    expect(notes).toEqual(["t.csv: left out as no rows: the header again in 1 line, 2 rows of totals (Ann Total)"]);
  });

  it("with a full row of totals lose it where its number is the sum", () => {
    expect(table("who,n\nAnn,3\nBob,4\nCem,5\nTotal,12\n").rows).toHaveLength(3);
    expect(table("who,n\nAnn,3\nBob,4\nCem,5\nTotal,11\n").rows).toHaveLength(4);
  });

  it.each([
    ["years", "site,2022,2023,2024", "Linz,10,20,30"],
    ["days", "site,01.01.2025,02.01.2025,03.01.2025", "Linz,10,20,30"],
    ["small numbers", "site,1,2,3", "Linz,10,20,30"],
    ["a year beside names", "site,region,note,2024", "Linz,North,x,30"],
  ])("have %s for a header", (_, header, row) => {
    const { columns, rows, notes } = table(`${header}\n${row}\n${row}\n`);
    expect(columns.map(({ title }) => title)).toEqual(header.split(","));
    expect(rows).toHaveLength(2);
    expect(notes).toEqual([]);
  });
});

describe("cells as programs write them", () => {
  it.each([
    ["£1,234.50;-£5.00;(£7.25)", [1234.5, -5, -7.25]],
    ["12,50-;3,00;1.000,00-", [-12.5, 3, -1000]],
    ["12,50- €;3,00 €;1.000,00 €", [-12.5, 3, 1000]],
    ["¥1,234.50;¥5;R$ 3", [1234.5, 5, 3]],
    ["1 234,50 zł;5,00 zł;3 zł", [1234.5, 5, 3]],
    ["CHF 1'234.50;CHF 5;+3", [1234.5, 5, 3]],
  ])("are numbers: %s", (cells, values) => {
    expect(table(`x\n${cells.split(";").join("\n")}`, "t.tsv").rows.map(([value]) => value)).toEqual(values);
  });

  it.each([
    ["03 Jan 2025", "2025-01-03"],
    ["3. März 2025", "2025-03-03"],
    ["Jan 3, 2025", "2025-01-03"],
    ["3 de enero de 2025", "2025-01-03"],
    ["31.12.25", "2025-12-31"],
    ["12/31/25", "2025-12-31"],
    ["2025年3月1日", "2025-03-01"],
    ["12/31/2025 2:05:22 PM", "2025-12-31 14:05:22"],
    ["2025-01-01 00:30:00 +0100", "2025-01-01 00:30:00"],
    ["2025-01-01T00:30:00+01:00", "2025-01-01 00:30:00"],
  ])("are dates, on the day that is written: %s is %s", (cell, value) => {
    expect(table(`x\n${cell}\n`, "t.tsv")).toMatchObject({ columns: [{ type: "DATE" }], rows: [[value]] });
  });

  it.each(["1.10.12;2.3.15", "1-2-03;4-5-06"])("that are versions or codes stay text: %s", (cells) => {
    expect(columnsOf(`x\n${cells.split(";").join("\n")}`)).toEqual(["x TEXT"]);
  });

  it("with several currencies have these in a column of their own", () => {
    const { columns, rows } = table("what,price\na,5.00 EUR\nb,7.00 USD\n");
    expect(columns.map(({ name }) => name)).toEqual(["what", "price", "price_currency"]);
    expect(rows).toEqual([
      ["a", 5, "EUR"],
      ["b", 7, "USD"],
    ]);
  });
});

describe("JSON", () => {
  it("keeps identifiers of 64 bits to the last digit, and numbers in texts and fractions as they are", () => {
    const text =
      '{"id":9007199254740993,"n":0.1234567890123457,"t":"9007199254740993 \\" 1"}\n{"id":12,"n":1,"t":"x"}\n';
    expect(table(text, "t.jsonl").rows).toEqual([
      ["9007199254740993", 0.1234567890123457, '9007199254740993 " 1'],
      ["12", 1, "x"],
    ]);
  });

  it("has columns for what stands in objects inside", () => {
    const text = '{"user":{"id":1,"at":{"city":"Linz"}},"tags":["a"]}\n{"user":{"id":2}}\n';
    expect(table(text, "t.jsonl")).toMatchObject({
      columns: [{ name: "user_id" }, { name: "user_at_city", title: "user.at.city" }, { name: "tags" }],
      rows: [
        [1, "Linz", '["a"]'],
        [2, null, null],
      ],
    });
  });

  it.each(['[{"a":1},{"a":2}]', '{"total":2,"items":[{"a":1},{"a":2}]}'])("lists of objects are rows: %s", (text) => {
    expect(table(text, "t.json").rows).toEqual([[1], [2]]);
  });

  it.each(['{"a":1}', "[1,2]", '{"a":[{"b":1}],"c":[{"d":1}]}', "[]", "{"])("without one is no table: %s", (text) => {
    expect(() => table(text, "t.json")).toThrow();
  });
});
