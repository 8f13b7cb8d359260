import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

/**
 * A comparison with the kind of an engine, which lint can't express (oxlint has no `no-restricted-syntax`). Outside
 * `engines/`, what differs between engines is a fact, a method or an absent group of the port.
 */
const kinds = '"(?:ollama|llama-cpp|openai)"';
const questions = new RegExp(
  [
    String.raw`\bengines?\w*\??\.kind\s*(?:[!=]==?|[\])])`,
    String.raw`[!=]==?\s*[\w.]*engine\??\.kind\b`,
    String.raw`\bkind\s*[!=]==?\s*${kinds}`,
    String.raw`${kinds}\s*[!=]==?\s*[\w.]*kind\b`,
    String.raw`\bcase\s+${kinds}`,
    String.raw`\[\s*${kinds}[^\]]*\]\.includes\(`,
  ].join("|"),
);

it.each([
  ['if (engine.kind === "ollama") return;', true],
  ["engines.some((other) => other.kind === engine.kind)", true],
  ["return maxParallel[engine.kind];", true],
  ['engines.filter(({ kind }) => kind !== "llama-cpp")', true],
  ['switch (kind) { case "openai": }', true],
  ['["ollama", "openai"].includes(kind)', true],
  ["kind: engine.kind,", false],
  ['if (change.kind === "models") touch();', false],
  ['id === "ollama" && { isOptional }', false],
  ["engines.filter(({ isPrivate }) => isPrivate !== true)", false],
])("%s asks which engine it is: %s", (line, isAsked) => {
  expect(questions.test(line)).toBe(isAsked);
});

it("no code outside engines/ asks which engine it is", () => {
  const source = fileURLToPath(new URL("../src", import.meta.url));
  const files = readdirSync(source, { recursive: true, encoding: "utf8" }).filter(
    (file) => file.endsWith(".ts") && !file.startsWith(path.join("orchestrator", "engines")),
  );
  expect(files.length).toBeGreaterThan(100);
  const asked = files.flatMap((file) =>
    readFileSync(path.join(source, file), "utf8")
      .split("\n")
      .flatMap((line, index) => (questions.test(line) ? [`${file}:${index + 1} ${line.trim()}`] : [])),
  );
  expect(asked).toEqual([]);
});
