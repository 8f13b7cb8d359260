import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { tools } from "../src/tools/index.ts";

const root = path.resolve(import.meta.dirname, "..");

/** Names with an underscore only: `compare`, `job` and `recall` are words, too. */
const toolNames = tools.map(({ name }) => name).filter((name) => name.includes("_"));
const argumentNames = [
  "comparison_id",
  "context_tokens",
  "continue_id",
  "dry_run",
  "keep_alive",
  "max_tokens",
  "output_path",
];
const commandWords = [
  "chat",
  "compare",
  "config",
  "daemon",
  "doctor",
  "import",
  "load",
  "memory",
  "models",
  "pin",
  "project",
];

/** String literals and templates of a source, without comments and imports. */
function literalsIn(text: string): readonly string[] {
  const code = text.replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$|^import .*$/gm, "");
  return code.match(/"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`/g) ?? [];
}

function sourcesBelow(...folders: readonly string[]) {
  return folders.flatMap((folder) =>
    readdirSync(path.join(root, folder), { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith(".ts"))
      .map((file) => path.join(folder, file)),
  );
}

function literalsWith(files: readonly string[], pattern: RegExp): readonly string[] {
  return files.flatMap((file) =>
    literalsIn(readFileSync(path.join(root, file), "utf8"))
      .filter((literal) => pattern.test(literal))
      .map((literal) => `${file}: ${literal}`),
  );
}

/** Names of tools as data: a project's file switches them on and off. */
const areData = new Set(["src/orchestrator/api/facade-projects.ts", "src/orchestrator/projects/projects.ts"]);

describe("a surface's own words", () => {
  test("are in no text of the orchestrator: neither tools nor their arguments", () => {
    const files = sourcesBelow("src/orchestrator").filter((file) => !areData.has(file));
    const pattern = new RegExp(String.raw`\b(?:${[...toolNames, ...argumentNames].join("|")})\b`);
    // A literal that is nothing but the name is data (the tool of a job, a key of a file).
    expect(literalsWith(files, pattern).filter((found) => !/: (["'`])[a-z_]+\1$/.test(found))).toEqual([]);
  });

  test("are in no text of the orchestrator: no commands", () => {
    const files = sourcesBelow("src/orchestrator");
    expect(literalsWith(files, new RegExp(String.raw`\bollm (?:${commandWords.join("|")})\b`))).toEqual([]);
  });

  test("are in no text of the shell, if they are an assistant's", () => {
    const files = sourcesBelow("src/cli/commands", "src/cli/terminal", "src/cli/setup");
    const pattern = new RegExp(String.raw`\b(?:call|with) (?:${toolNames.join("|")})\b`, "i");
    expect(literalsWith(files, pattern)).toEqual([]);
  });

  test("are searched for in string literals", () => {
    expect(literalsIn('throw new InvalidRequest("no model", { next: advice("call pull_model") });')).toEqual([
      '"no model"',
      '"call pull_model"',
    ]);
  });
});
