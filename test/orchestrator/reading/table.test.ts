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
