import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  renderFacts,
  renderTable,
  type Column,
  styled,
  cutTo,
  terminalText,
} from "../../../src/cli/terminal/terminal-text.ts";
import { oneLine } from "../../../src/orchestrator/util/control-characters.ts";
import { cellsOf } from "../../../src/orchestrator/util/columns.ts";

interface Row {
  readonly name: string;
  readonly size: string;
  readonly engine: string;
}

const columns: readonly Column<Row>[] = [
  { title: "NAME", text: ({ name }) => name },
  { title: "SIZE", text: ({ size }) => size, isNumber: true },
  { title: "ENGINE", text: ({ engine }) => engine, isExtra: 1 },
];
const rows: readonly Row[] = [
  { name: "smollm2:135m", size: "98.4 MB", engine: "llama-cpp" },
  { name: "hf.co/unsloth/Qwen2.5-Coder-7B-Instruct-GGUF:Q4_K_M", size: "4.7 GB", engine: "ollama" },
];

describe("renderTable", () => {
  it("stands in columns without a terminal, with nothing cut", () => {
    expect(renderTable(rows, columns, {})).toBe(
      [
        "NAME                                                    SIZE  ENGINE",
        "smollm2:135m                                         98.4 MB  llama-cpp",
        "hf.co/unsloth/Qwen2.5-Coder-7B-Instruct-GGUF:Q4_K_M   4.7 GB  ollama",
        "",
      ].join("\n"),
    );
  });

  it("cuts the widest text in a narrow terminal", () => {
    expect(renderTable(rows, columns, { columns: 60 })).toBe(
      [
        "NAME                                         SIZE  ENGINE",
        "smollm2:135m                              98.4 MB  llama-cpp",
        "hf.co/unsloth/Qwen2.5-Coder-7B-Instruct…   4.7 GB  ollama",
        "",
      ].join("\n"),
    );
  });

  it("leaves extra columns out before a name says nothing", () => {
    expect(renderTable(rows, columns, { columns: 30 })).toBe(
      ["NAME                      SIZE", "smollm2:135m           98.4 MB", "hf.co/unsloth/Qwen2.…   4.7 GB", ""].join(
        "\n",
      ),
    );
  });

  it("leaves out a column that says nothing of any row", () => {
    expect(renderTable([{ name: "a", size: "1 GB", engine: "" }], columns, {})).toBe("NAME  SIZE\na     1 GB\n");
  });

  it("fits any terminal of 24 columns or more, whatever the names are", () => {
    const row = fc.record({ name: fc.string({ unit: "grapheme" }), size: fc.constant("98.4 MB"), engine: fc.string() });
    fc.assert(
      fc.property(fc.array(row), fc.integer({ min: 24, max: 120 }), (some, width) => {
        for (const line of renderTable(some, columns, { columns: width }).split("\n")) {
          expect(cellsOf(line)).toBeLessThanOrEqual(width);
        }
      }),
    );
  });

  it("shows colours only where stdout shows them", () => {
    const coloured: readonly Column<Row>[] = [{ title: "NAME", text: ({ name }) => name, style: () => "green" }];
    expect(renderTable(rows.slice(0, 1), coloured, { columns: 80 })).toBe("NAME\nsmollm2:135m\n");
    expect(terminalText(renderTable(rows.slice(0, 1), coloured, { columns: 80, hasColour: true }))).toBe(
      "\u001B[2mNAME\u001B[22m\n\u001B[32msmollm2:135m\u001B[39m\n",
    );
    expect(styled("x", "red", {})).toBe("x");
  });

  it("keeps what others wrote on its line and off the cursor", () => {
    const [, line] = renderTable([{ name: "a\n\u001B[2Jb\tc", size: "", engine: "" }], columns, {}).split("\n");
    expect(line).toBe("a b c");
  });
});

describe("widthOf", () => {
  it.each([
    ["abc", 3],
    ["模型", 4],
    ["ｆｕｌｌ", 8],
    ["한글", 4],
    ["👩‍👩‍👧", 2],
    ["e\u0301", 1],
    ["\u001B[31mred\u001B[39m", 3],
    ["é…", 2],
  ])("counts the cells of %j", (text, cells) => {
    expect(cellsOf(text)).toBe(cells);
  });

  it("cuts between characters, wide ones whole", () => {
    expect(cutTo("模型模型", 6)).toBe("模型…");
    expect(cutTo("模型", 4)).toBe("模型");
    expect(cutTo("abc", 0)).toBe("");
    expect(oneLine(" a\r\n b\u0007 ")).toBe("a b");
  });
});

describe("renderFacts", () => {
  const facts = [
    ["engine", "ok; installed on demand by ollm pull", "green"],
    ["at", "home"],
    ["since", undefined],
  ] as const;

  it("breaks long values at words, below themselves", () => {
    expect(renderFacts(facts, { columns: 30 })).toBe(
      ["engine  ok; installed on", "        demand by ollm pull", "at      home", ""].join("\n"),
    );
    expect(renderFacts(facts, {})).toBe("engine  ok; installed on demand by ollm pull\nat      home\n");
  });

  it("paints the name and the words before the first semicolon", () => {
    const [first] = terminalText(renderFacts(facts, { hasColour: true })).split("\n");
    expect(first).toBe("\u001B[2mengine\u001B[22m  \u001B[32mok\u001B[39m; installed on demand by ollm pull");
  });
});
