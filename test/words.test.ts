import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";

const root = path.resolve(import.meta.dirname, "..");

/** Files whose text people or assistants read, or that developers do. */
const files = [
  ...["src", "docs", "schemas"].flatMap((folder) =>
    readdirSync(path.join(root, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => path.relative(root, path.join(entry.parentPath, entry.name))),
  ),
  "AGENTS.md",
  "CHANGELOG.md",
  "README.md",
  "config.example.yaml",
].map((file) => ({ file, text: readFileSync(path.join(root, file), "utf8") }));

/** Words of a name: `camelCase`, `kebab-case`, `snake_case`. */
function wordsOf(name: string): readonly string[] {
  return (name.match(/[A-Z]?[a-z]+|[A-Z]+(?![a-z])/g) ?? []).map((word) => word.toLowerCase());
}

/** No name of a file, a type, a function, a variable or a member has one of these words. */
const retired = new Set(
  "alone brain brains duties duty ghost ghosts keeping silence silences stays telling unasked".split(" "),
);

/** Two words that are retired together. */
const retiredPairs = ["let go", "own load", "own loads"];

/** Names in code: what is declared, and the members of objects and types. */
const declared =
  /\b(?:class|const|enum|function|interface|let|type)\s+(\w+)|^\s*(?:readonly\s+)?(\w+)\??(?::\s|\()|^\s*(?:async\s+)?(\w+)\(/gm;

function namesIn(text: string): readonly string[] {
  return [...text.matchAll(declared)].map((match) => match[1] ?? match[2] ?? match[3] ?? "");
}

function isRetired(name: string): boolean {
  const words = wordsOf(name);
  const joined = ` ${words.join(" ")} `;
  return words.some((word) => retired.has(word)) || retiredPairs.some((pair) => joined.includes(` ${pair} `));
}

describe("words", () => {
  test.each(["whoever", "nobody", "somebody"])("no text says %s", (word) => {
    const pattern = new RegExp(String.raw`\b${word}\b`, "i");
    const lines = files.flatMap(({ file, text }) =>
      text.split("\n").flatMap((line, index) => (pattern.test(line) ? [`${file}:${index + 1}: ${line.trim()}`] : [])),
    );
    expect(lines).toEqual([]);
  });

  test("no comment or description of code begins with Of", () => {
    const pattern = /\/\*\*[\s*]*Of\b|\bdescribe\(\s*"Of\b/;
    expect(
      files.filter(({ file, text }) => file.endsWith(".ts") && pattern.test(text)).map(({ file }) => file),
    ).toEqual([]);
  });

  test("no file has a retired name", () => {
    expect(files.map(({ file }) => file).filter((file) => isRetired(file))).toEqual([]);
  });

  test("no type, function, variable or member has a retired name", () => {
    const found = files
      .filter(({ file }) => file.endsWith(".ts"))
      .flatMap(({ file, text }) => namesIn(text).flatMap((name) => (isRetired(name) ? [`${file}: ${name}`] : [])));
    expect(found).toEqual([]);
  });

  test("no text calls the core a brain or a shadow cache a ghost", () => {
    const pattern = /\b(?:brains?|ghosts?)\b/i;
    expect(files.filter(({ text }) => pattern.test(text)).map(({ file }) => file)).toEqual([]);
  });

  test.each([
    ["letGo", true],
    ["own-loads.ts", true],
    ["isAlone", true],
    ["downloads", false],
    ["standalone", false],
  ])("%s is retired: %s", (name, expected) => {
    expect(isRetired(name)).toBe(expected);
  });
});
