import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";

const root = path.resolve(import.meta.dirname, "..");
const pages = [
  "README.md",
  "AGENTS.md",
  ...readdirSync(path.join(root, "docs"), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".md"))
    .map((file) => path.join("docs", file)),
];

test("every link from a page to a file of the repository leads to one", () => {
  const missing = pages.flatMap((page) => {
    const text = readFileSync(path.join(root, page), "utf8");
    const targets = [...text.matchAll(/\]\(([^)\s]+)\)|(?:src|srcset)="([^"]+)"/g)].map(
      (match) => match[1] ?? match[2] ?? "",
    );
    return targets
      .filter((target) => !/^(?:https?:|#)/.test(target))
      .map((target) => target.replace(/#.*/, ""))
      .filter((target) => !existsSync(path.resolve(root, path.dirname(page), target)))
      .map((target) => `${page}: ${target}`);
  });
  expect(missing).toEqual([]);
});

test("the README is at most 150 lines", () => {
  expect(readFileSync(path.join(root, "README.md"), "utf8").split("\n").length).toBeLessThanOrEqual(150);
});

test("the messages that the troubleshooting page quotes are those of the code", () => {
  const source = readdirSync(path.join(root, "src"), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts"))
    .map((file) => readFileSync(path.join(root, "src", file), "utf8"))
    .join("\n");
  const page = readFileSync(path.join(root, "docs", "troubleshooting.md"), "utf8");
  const quoted = [...page.matchAll(/^\| (`.+?) +\| /gm)].flatMap(([, cell = ""]) =>
    [...cell.matchAll(/`([^`]+)`/g)].map(([, message = ""]) => message),
  );
  expect(quoted.length).toBeGreaterThan(30);
  // Between the places of values: `...`, NAME, N, numbers, paths.
  const pieces = quoted.flatMap((message) => message.split(/\.\.\.|[;:]|'?\b[A-Z_]+\b'?|\d[\d.]*(?: GB)?|~?\/[\w./]+/));
  const missing = pieces
    .map((piece) => piece.replaceAll(/^[\s(),']+|[\s(),']+$/g, ""))
    .filter((piece) => piece.length > 5 && !source.includes(piece));
  expect(missing).toEqual([]);
});
