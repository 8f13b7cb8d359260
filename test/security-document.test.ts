import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const root = new URL("../", import.meta.url);
const text = await readFile(new URL("docs/security.md", root), "utf8");
/** Cells of each row of the table: threat, what stands against it, tests. */
const rows = text
  .split("\n")
  .filter((line) => line.startsWith("| "))
  .map((line) => line.split(" | ").map((cell) => cell.replace(/^\| |\s+\|?$/g, "").trim()))
  .filter(([threat]) => threat !== "threat" && threat?.startsWith("--") !== true);

describe("the threat model", () => {
  it("has a table that this test can read", () => {
    expect(rows.length).toBeGreaterThan(15);
    expect(rows.filter((row) => row.length !== 3)).toEqual([]);
  });

  it.each(rows)("%s: every test that it names is there", async (_threat, _defence, tests = "") => {
    const named = [...tests.matchAll(/`(test\/[^`]+)`: "([^"]+)"/g)].map(([, file = "", name = ""]) => ({
      file,
      name,
    }));
    expect(named.map(({ file, name }) => `\`${file}\`: "${name}"`).join("; ")).toBe(tests);
    expect(named.length).toBeGreaterThan(0);
    const missing = [];
    for (const { file, name } of named) {
      const source = await readFile(fileURLToPath(new URL(file, root)), "utf8").catch(() => "");
      if (!source.includes(`"${name}"`)) missing.push({ file, name });
    }
    expect(missing).toEqual([]);
  });
});
