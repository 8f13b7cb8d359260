import { expect, test } from "vitest";
import { colourDiff, showDiff } from "../../../src/cli/setup/config-file.ts";
import { terminalText } from "../../../src/cli/terminal/terminal-text.ts";

test("shows lines with three around them, without carriage returns", () => {
  const before = "1\r\n2\r\n3\r\n4\r\n5\r\n6\r\n";
  expect(showDiff("/f", before, before.replace("5\r\n", "5\r\nx\r\n"))).toBe(
    "--- /f\n+++ /f\n@@ -3,4 +3,5 @@\n 3\n 4\n 5\n+x\n 6\n",
  );
});

test.each(["\n", ""])("a long line, ending in %j, is shown where it differs", (last) => {
  const [start, end] = ["a".repeat(5_000), "b".repeat(5_000)];
  const lines = showDiff("/f", `${start}${end}${last}`, `${start}-NEW-${end}${last}`).split("\n");
  expect(lines[3]).toBe(`-…${"a".repeat(60)}${"b".repeat(60)}…`);
  expect(lines[4]).toBe(`+…${"a".repeat(60)}-NEW-${"b".repeat(60)}…`);
});

test("a long line beside the change is cut", () => {
  const lines = showDiff("/f", `${"a".repeat(900)}\nx\n`, `${"a".repeat(900)}\ny\n`).split("\n");
  expect(lines[3]).toHaveLength(201);
});

test.each([
  ['  "API_KEY": "sk-1"', '"API_KEY": "…"'],
  ["      API_KEY: sk-1 # mine", "API_KEY: …"],
  ["github_token = 'ghp_1'", "github_token = '…'"],
  ['"Authorization": "Bearer x",', '"Authorization": "…",'],
  ['{"env":{"MY_SECRET":"s","PATH":"/bin"}}', '{"env":{"MY_SECRET":"…","PATH":"/bin"}}'],
])("the secret of %s stays hidden", (line, shown) => {
  expect(showDiff("/f", `${line}\nx\n`, `${line}\ny\n`)).toContain(shown);
  expect(showDiff("/f", `${line}\n`, `${line} \n`)).toContain(shown);
});

test("colours what goes and what comes", () => {
  const lines = terminalText(colourDiff(showDiff("/f", "1\n-- x\n", "1\n++ y\n"), { hasColour: true })).split("\n");
  const painted = (code: string, text: string, off = "39") => `\u001B[${code}m${text}\u001B[${off}m`;
  expect(lines.slice(0, 6)).toEqual([
    painted("1", "--- /f", "22"),
    painted("1", "+++ /f", "22"),
    painted("36", "@@ -1,2 +1,2 @@"),
    " 1",
    painted("31", "--- x"),
    painted("32", "+++ y"),
  ]);
});
