import { describe, expect, test } from "vitest";
import { budgets } from "../scripts/house/budgets.ts";
import { arrowsOf, countHouse, filesSeen, ringsOf } from "../scripts/house/count.ts";
import { readSource, readSources } from "../scripts/house/sources.ts";

const files = readSources();
const counts = countHouse(files);
/** What to look at when a number rose; the other numbers are `npm run house`. */
const details: Partial<Record<keyof typeof budgets.house, () => unknown>> = {
  rings: () => ringsOf(files),
  roomsInRings: () => ringsOf(files),
  "arrows orchestrator": () => arrowsOf(files)["orchestrator"],
  "arrows server": () => arrowsOf(files)["server"],
  "arrows cli": () => arrowsOf(files)["cli"],
};

test.each(Object.entries(budgets.house) as [keyof typeof budgets.house, { budget: number }][])(
  "%s: not above the budget",
  (name, { budget }) => {
    const detail = details[name]?.() ?? "npm run house";
    expect(counts[name], `budget ${budget}: ${JSON.stringify(detail, null, 2)}`).toBeLessThanOrEqual(budget);
  },
);

test("only catalog and residency ask engines what is in memory", () => {
  const asks = /\bResidentModel\b|\binventory\.(?:resident|lastResident|residentOf|isLoaded|isUnresponsive)\b/;
  const rooms = new Set(files.filter(({ text }) => asks.test(text)).map(({ room }) => room));
  const others = [...rooms].filter((room) => !room.startsWith("orchestrator/engines"));
  expect(others).toEqual(["orchestrator/catalog", "orchestrator/residency"]);
});

describe("what is read of a file", () => {
  const source = `
    import { a } from "./a.ts";
    import type { B } from "../b/b.ts";
    export { c } from "../c/c.ts";
    export type * from "../d/d.ts";
    import "./e.css";
    import zod from "zod";
    // import { no } from "./comment.ts";
    const text = 'import "./text.ts"';
    export const lazy = async (): Promise<typeof import("../f/f.ts")> => await import("../g/g.ts");
  `;

  test("each way to import a file of the sources, and nothing else", () => {
    expect(readSource("x/x.ts", source).imports).toEqual([
      "b/b.ts",
      "c/c.ts",
      "d/d.ts",
      "f/f.ts",
      "g/g.ts",
      "x/a.ts",
      "x/e.css",
    ]);
  });

  test("names of types, exports and lines of code", () => {
    const file = readSource(
      "x/x.tsx",
      [
        "/** A",
        " * B */",
        "export interface A {}",
        "type B = A; // code with a comment",
        "export class C {}",
        "enum D { E }",
        "",
        "// nothing",
        "export const [f, g] = [",
        "  () => <p>{/* nothing */}</p>,",
        "  1,",
        "];",
        "export { B };",
      ].join("\n"),
    );
    expect(file).toMatchObject({ types: ["A", "B", "C", "D"], exports: 5, codeLines: 9 });
  });
});

describe("rooms", () => {
  const house = (imports: Readonly<Record<string, readonly string[]>>) =>
    Object.entries(imports).map(([path, names]) =>
      readSource(path, names.map((name) => `import "${name}";`).join("\n")),
    );
  const built = house({
    "a/1.ts": ["../b/1.ts", "./2.ts"],
    "a/2.ts": [],
    "b/1.ts": ["../c/1.ts"],
    "c/1.ts": ["../a/2.ts"],
    "d/1.ts": ["../a/2.ts"],
  });

  test("a ring is found over a third room; who only imports it is outside", () => {
    expect(ringsOf(built)).toEqual([["a", "b", "c"]]);
  });

  test("an arrow upward is one to a room of the same or a higher level", () => {
    const group = house({
      "g/low/1.ts": ["../high/1.ts", "../beside/1.ts"],
      "g/high/1.ts": ["../low/1.ts"],
      "g/beside/1.ts": [],
    });
    expect(arrowsOf(group, { g: [["g/low", "g/beside"], ["g/high"]] })).toEqual({
      g: ["g/low → g/beside", "g/low → g/high"],
    });
    expect(() => arrowsOf(group, { g: [["g/low", "g/high"]] })).toThrow("src/g/beside has no level yet");
  });

  test("a file is seen when a file of another room imports it", () => {
    expect(filesSeen(built)).toEqual(["a/2.ts", "b/1.ts", "c/1.ts"]);
  });
});
