import { parse } from "yaml";
import { describe, expect, test } from "vitest";
import { addEntry, changeEntry, readEntry, removeEntry } from "../../../src/cli/setup/document.ts";

const location = { format: "yaml", container: "extensions", name: "ollm" } as const;
const entry = { type: "stdio", cmd: "/usr/bin/node", args: ["/o/cli.mjs", "--root", "/a b"], timeout: 600 };
const added = `  ollm:
    type: "stdio"
    cmd: "/usr/bin/node"
    args:
      - "/o/cli.mjs"
      - "--root"
      - "/a b"
    timeout: 600
`;

describe("a new entry", () => {
  test.each([
    ["an empty file", "", `extensions:\n${added}`],
    ["comments only", "# mine\n", `# mine\nextensions:\n${added}`],
    ["a document without extensions", "a: 1 # one\n", `a: 1 # one\nextensions:\n${added}`],
    ["no line break at the end", "a: 1", `a: 1\nextensions:\n${added.trimEnd()}`],
    ["extensions without a value", "extensions:\nb: 2\n", `extensions:\n${added}b: 2\n`],
    ["empty braces", "extensions: {} # none\nb: 2\n", `extensions: # none\n${added}b: 2\n`],
    [
      "others, with comments, before another key",
      "extensions:\n  # first\n  dev:\n    args:\n    - x # y\n\n# the next\nb: |\n  text\n",
      `extensions:\n  # first\n  dev:\n    args:\n    - x # y\n${added}\n# the next\nb: |\n  text\n`,
    ],
    [
      "a deeper indent",
      "extensions:\n    dev: {a: 1}\n",
      `extensions:\n    dev: {a: 1}\n${added.replaceAll(/^/gm, "  ").trimEnd()}\n`,
    ],
    ["CRLF", "a: 1\r\n", `a: 1\r\nextensions:\r\n${added.replaceAll("\n", "\r\n")}`],
  ])("goes into %s", (_, before, after) => {
    const text = addEntry(before, location, entry);
    expect(text).toBe(after);
    expect(readEntry(text, location)).toEqual(entry);
  });

  test("goes out again", () => {
    const others = "extensions:\n  dev:\n    args:\n    - x # y\n\n# the next\nb: 2\n";
    expect(removeEntry(addEntry(others, location, entry), location, false)).toBe(others);
    expect(removeEntry(addEntry("a: 1\n", location, entry), location, true)).toBe("a: 1\n");
    expect(removeEntry(addEntry("a: 1", location, entry), location, true)).toBe("a: 1");
    expect(removeEntry(addEntry("extensions: {}\n", location, entry), location, false)).toBe("extensions: {}\n");
  });
});

test("an entry that goose has written is changed where it is", () => {
  const before =
    "extensions:\n  ollm:\n    enabled: false\n    cmd: node\n    args:\n    - /old/cli.mjs\n    - --root\n    - /a\n    envs:\n      MINE: '1'\nz: 1\n";
  const changes = {
    cmd: "/new node",
    args: ["/new/cli.mjs"],
    envs: undefined,
  };
  expect(changeEntry(before, location, changes)).toBe(
    'extensions:\n  ollm:\n    enabled: false\n    cmd: "/new node"\n    args:\n      - "/new/cli.mjs"\nz: 1\n',
  );
});

test.each([
  ["{extensions: {dev: {a: 1}}}\n", /the document is written in braces/],
  ["extensions: {dev: {a: 1}}\n", /extensions is written in braces/],
  ["extensions: [a]\n", /"extensions" is not an object/],
  ["- a\n", /the document is not an object/],
  ["a: [1\n", /Flow sequence/],
  ["a: 1\na: 2\n", /unique/],
  ["a: *b\n", /alias/],
  ["---\na: 1\n---\nb: 2\n", /multiple documents/],
])("%j is refused", (text, reason) => {
  expect(() => addEntry(text, location, entry)).toThrow(reason);
});

test("texts that YAML 1.1 takes for something else stay texts", () => {
  const odd = { cmd: "yes", args: ["0o7", "1e3", "2026-11-25", "a: b # c", "~"] };
  const text = addEntry("", location, odd);
  expect(parse(text, { version: "1.1" })).toEqual({ extensions: { ollm: odd } });
});
