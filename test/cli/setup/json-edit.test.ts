import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parse } from "jsonc-parser";
import { addEntry, changeEntry, readEntry, removeEntry } from "../../../src/cli/setup/document.ts";
import { jsoncDocument } from "./documents.ts";

const location = { format: "jsonc", container: "mcpServers", name: "ollm" } as const;
const strict = { ...location, format: "json" } as const;
const entry = { command: "/usr/bin/node", args: ["/opt/ollm/cli.mjs", "--root", "/home/me/Documents"] };

describe("adding to JSON", () => {
  test("a missing file becomes a small document", () => {
    expect(addEntry("", strict, entry)).toBe(`{
  "mcpServers": {
    "ollm": {
      "command": "/usr/bin/node",
      "args": [
        "/opt/ollm/cli.mjs",
        "--root",
        "/home/me/Documents"
      ]
    }
  }
}
`);
  });

  test("the entry is added last, indented like the file, and everything else is kept byte for byte", () => {
    const text = '{\n\t"theme": "dark",\n\t"mcpServers": {\n\t\t"other": {"command":   "x"}\n\t},\n\t"last": 1\n}';
    expect(addEntry(text, strict, { command: "node" })).toBe(
      '{\n\t"theme": "dark",\n\t"mcpServers": {\n\t\t"other": {"command":   "x"},\n\t\t"ollm": {\n\t\t\t"command": "node"\n\t\t}\n\t},\n\t"last": 1\n}',
    );
  });

  test("a comment behind the last property stays beside it", () => {
    const text = '{\n  "mcpServers": {\n    "other": {} // mine\n    // below\n  }\n}\n';
    expect(addEntry(text, location, { command: "node" })).toBe(
      '{\n  "mcpServers": {\n    "other": {}, // mine\n    "ollm": {\n      "command": "node"\n    }\n    // below\n  }\n}\n',
    );
  });

  test("a trailing comma stays the style", () => {
    const text = '{\n  "mcpServers": {\n    "other": {},\n  },\n}\n';
    expect(addEntry(text, location, { command: "node" })).toBe(
      '{\n  "mcpServers": {\n    "other": {},\n    "ollm": {\n      "command": "node"\n    },\n  },\n}\n',
    );
  });

  test("line breaks of Windows stay", () => {
    const text = '{\r\n  "mcpServers": {\r\n    "other": {}\r\n  }\r\n}\r\n';
    const after = addEntry(text, strict, entry);
    expect(after.replaceAll("\r\n", "")).not.toMatch(/[\r\n]/);
    expect(after.startsWith('{\r\n  "mcpServers": {\r\n    "other": {},\r\n    "ollm": {\r\n')).toBe(true);
  });

  test("a document on one line stays on one line", () => {
    expect(addEntry('{"mcpServers":{"a":{}}}', strict, { command: "node", args: ["x"] })).toBe(
      '{"mcpServers":{"a":{}, "ollm": { "command": "node", "args": ["x"] }}}',
    );
  });

  test("a document of comments alone keeps them", () => {
    expect(addEntry("// my servers\n", location, { command: "node" })).toBe(
      '// my servers\n{\n  "mcpServers": {\n    "ollm": {\n      "command": "node"\n    }\n  }\n}\n',
    );
  });

  test("an empty object with a comment keeps it", () => {
    const after = addEntry('{\n  "mcpServers": {\n    // none yet\n  }\n}\n', location, { command: "node" });
    expect(after).toBe(
      '{\n  "mcpServers": {\n    // none yet\n    "ollm": {\n      "command": "node"\n    }\n  }\n}\n',
    );
  });

  test.each([
    ["{ broken", /invalid symbol/, 1],
    ['{\n  "a": 1,\n  // comment\n}', /invalid comment token/, 3],
    ["[]", /the document is not an object/, 1],
    ['{"mcpServers": []}', /"mcpServers" is not an object/, 1],
    ['{"mcpServers": {}, "mcpServers": {}}', /duplicate key "mcpServers"/, 1],
  ])("%j is left alone", (text, message, line) => {
    expect(() => addEntry(text, strict, entry)).toThrow(message);
    expect(() => addEntry(text, strict, entry)).toThrow(
      expect.objectContaining({ position: expect.objectContaining({ line }) }),
    );
  });
});

describe("changing JSON", () => {
  test("only the named values change; the user's own and comments stay", () => {
    const text = `{
  "mcpServers": {
    "ollm": {
      // pinned
      "command": "/old/node",
      "args": ["/old/cli.mjs"],
      "disabled": false,
    },
  },
}
`;
    expect(
      changeEntry(text, location, {
        command: "/new/node",
        args: ["/new/cli.mjs", "--root", "/a"],
        env: { OLLM_HOME: "/data" },
      }),
    ).toBe(`{
  "mcpServers": {
    "ollm": {
      // pinned
      "command": "/new/node",
      "args": ["/new/cli.mjs", "--root", "/a"],
      "disabled": false,
      "env": {
        "OLLM_HOME": "/data"
      },
    },
  },
}
`);
  });

  test("a value taken out leaves the rest", () => {
    const text = '{\n  "mcpServers": {\n    "ollm": {\n      "command": "n",\n      "env": {}\n    }\n  }\n}';
    expect(changeEntry(text, strict, { env: undefined })).toBe(
      '{\n  "mcpServers": {\n    "ollm": {\n      "command": "n"\n    }\n  }\n}',
    );
  });
});

describe("taking out of JSON", () => {
  test.each([
    ['{"mcpServers":{"ollm":{},"b":1}}', '{"mcpServers":{"b":1}}'],
    ['{"mcpServers":{"a":1, "ollm":{}, "b":1}}', '{"mcpServers":{"a":1, "b":1}}'],
    ['{"mcpServers":{"a":1, "ollm":{}}}', '{"mcpServers":{"a":1}}'],
    ['{\n"mcpServers":{"a":1, // one\n"ollm":{} }}', '{\n"mcpServers":{"a":1 // one\n }}'],
    ['{\n"mcpServers":{"a":"http://b",\n"ollm":{} }}', '{\n"mcpServers":{"a":"http://b" }}'],
  ])("%j", (text, rest) => {
    expect(removeEntry(text, location, false)).toBe(rest);
  });

  test.each([
    [
      "comments before, inside and behind it",
      '{\n  "mcpServers": {\n    "a": 1, // of a\n    // before\n    "ollm": { /* inside */ "x": 1 }, // behind\n    "b": 2\n  }\n}\n',
      '{\n  "mcpServers": {\n    "a": 1, // of a\n    // before\n     // behind\n    "b": 2\n  }\n}\n',
    ],
    [
      "comments around the last one, a trailing comma, tabs, no final line break",
      '{\n\t"mcpServers": {\n\t\t"a": 1, /* of a */\n\t\t"ollm": {}, // behind\n\t},\n}',
      '{\n\t"mcpServers": {\n\t\t"a": 1, /* of a */ // behind\n\t},\n}',
    ],
    [
      "comments around the first one, line breaks of Windows",
      '{\r\n  "mcpServers": { // servers\r\n    "ollm": {}, // behind\r\n    // of b\r\n    "b": 2\r\n  }\r\n}\r\n',
      '{\r\n  "mcpServers": { // servers\r\n     // behind\r\n    // of b\r\n    "b": 2\r\n  }\r\n}\r\n',
    ],
  ])("keeps %s", (_what, text, rest) => {
    expect(removeEntry(text, location, false)).toBe(rest);
  });

  test("the object that setup created for it is removed, too, if it is empty", () => {
    const text = '{\n  "theme": 1\n}\n';
    expect(removeEntry(addEntry(text, strict, entry), strict, true)).toBe(text);
    const shared = '{\n  "mcpServers": {\n    "a": 1\n  }\n}\n';
    expect(removeEntry(addEntry(shared, strict, entry), strict, true)).toBe(shared);
  });
});

describe("any JSONC document", () => {
  test("gets the entry, and nothing else about it changes", () => {
    fc.assert(
      fc.property(jsoncDocument, (text) => {
        const after = addEntry(text, location, entry);
        expect(readEntry(after, location)).toEqual(entry);
        // Every line that was there is there, in order: what was added are lines and at most one comma.
        expect(isSubsequence(text, after)).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  test("comes back byte for byte when the entry is taken out, if it had servers", () => {
    fc.assert(
      fc.property(jsoncDocument, (text) => {
        const { mcpServers } = parse(text) as { mcpServers?: object };
        fc.pre(mcpServers !== undefined && Object.keys(mcpServers).length > 0);
        expect(removeEntry(addEntry(text, location, entry), location, false)).toBe(text);
      }),
      { numRuns: 300 },
    );
  });
});

function isSubsequence(part: string, whole: string): boolean {
  let at = 0;
  for (const character of part) {
    // White space inside an object that was empty may be replaced.
    if (/\s/.test(character)) continue;
    at = whole.indexOf(character, at) + 1;
    if (at === 0) return false;
  }
  return true;
}
