import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { addEntry, changeEntry, readEntry, removeEntry } from "../../../src/cli/setup/document.ts";
import { tomlDocument } from "./documents.ts";

const location = { format: "toml", container: "mcp_servers", name: "ollm" } as const;
const entry = {
  command: "/usr/bin/node",
  args: ["/opt/ollm/cli.mjs", "--root", "C:\\Users\\me"],
  startup_timeout_sec: 30,
  env: { OLLM_HOME: "/data" },
};
const block = `[mcp_servers.ollm]
command = "/usr/bin/node"
args = [ "/opt/ollm/cli.mjs", "--root", "C:\\\\Users\\\\me" ]
startup_timeout_sec = 30

[mcp_servers.ollm.env]
OLLM_HOME = "/data"
`;

describe("adding to TOML", () => {
  test("a missing file becomes the tables alone", () => {
    expect(addEntry("", location, entry)).toBe(block);
  });

  test("the tables go last and everything else stays to the byte", () => {
    const text = '# mine\nmodel = "x"   # fast\n\n[mcp_servers.other]\ncommand = "y"\n';
    expect(addEntry(text, location, entry)).toBe(`${text}\n${block}`);
  });

  test("line breaks of Windows and a missing last one stay", () => {
    expect(addEntry('model = "x"\r\na = 1', location, { command: "n" })).toBe(
      'model = "x"\r\na = 1\r\n\r\n[mcp_servers.ollm]\r\ncommand = "n"',
    );
  });

  test.each([
    ['mcp_servers = { other = { command = "y" } }', /mcp_servers is written as one value/],
    ["a = ", /./],
    ["mcp_servers = 3\n", /one value/],
    ["[[mcp_servers]]\nname = 1\n", /one value/],
    ["a = 1\na = 2\n", /./],
  ])("%j is left alone", (text, message) => {
    expect(() => addEntry(text, location, entry)).toThrow(message);
    expect(() => addEntry(text, location, entry)).toThrow(
      expect.objectContaining({ position: expect.objectContaining({ line: expect.any(Number) }) }),
    );
  });

  test("a syntax error names line and column", () => {
    expect(() => addEntry('model = "x"\n[broken\n', location, entry)).toThrow(
      expect.objectContaining({ position: expect.objectContaining({ line: 2 }) }),
    );
  });
});

describe("changing TOML", () => {
  test("values of a table change where they stand; comments and the user's own stay", () => {
    const text = `[mcp_servers.ollm]
command = "/old" # pinned
args = [
  "a", # first
  "]",
]
tool_timeout_sec = 1200

[other]
x = 1
`;
    expect(
      changeEntry(text, location, {
        command: "/new",
        args: ["b"],
        env: { OLLM_HOME: "/d" },
      }),
    ).toBe(`[mcp_servers.ollm]
command = "/new" # pinned
args = [ "b" ]
tool_timeout_sec = 1200
env = { OLLM_HOME = "/d" }

[other]
x = 1
`);
  });

  test("a sub-table of the environment is replaced as one", () => {
    const text = '[mcp_servers.ollm]\ncommand = "n"\n\n[mcp_servers.ollm.env]\nA = "1"\n\n[z]\n';
    expect(changeEntry(text, location, { env: { A: "1", OLLM_HOME: "/d" } })).toBe(
      '[mcp_servers.ollm]\ncommand = "n"\n\n[mcp_servers.ollm.env]\nA = "1"\nOLLM_HOME = "/d"\n\n[z]\n',
    );
    expect(changeEntry(text, location, { env: undefined })).toBe('[mcp_servers.ollm]\ncommand = "n"\n\n[z]\n');
  });

  test.each([
    ['[mcp_servers]\nollm = { command = "a" } # c\n', '[mcp_servers]\nollm = { command = "b" } # c\n'],
    [
      '[mcp_servers]\nollm.command = "a"\nollm.x = 1\nother.command = "z"\n',
      '[mcp_servers]\nollm.command = "b"\nollm.x = 1\nother.command = "z"\n',
    ],
    [
      'mcp_servers.ollm.command = "a"\nmcp_servers.o.command = "z"\n',
      'mcp_servers.ollm.command = "b"\nmcp_servers.o.command = "z"\n',
    ],
    ['[mcp_servers."ollm"]\n"command" = "a"\n', '[mcp_servers."ollm"]\n"command" = "b"\n'],
  ])("another spelling stays one: %j", (text, after) => {
    expect(changeEntry(text, location, { command: "b" })).toBe(after);
  });

  test("a new key of an entry written as dotted keys is one, too", () => {
    const text = '[mcp_servers]\nollm.command = "a"\nother.command = "z"\n';
    expect(changeEntry(text, location, { args: ["b"] })).toBe(text.replace('"a"\n', '"a"\nollm.args = [ "b" ]\n'));
  });

  test("one value for all servers is refused, naming the line", () => {
    const text = 'a = 1\nmcp_servers = { ollm = { command = "a" } }\n';
    const change = () => changeEntry(text, location, { command: "b" });
    expect(change).toThrow(/one value/);
    expect(change).toThrow(expect.objectContaining({ position: { line: 2, column: 1 } }));
    expect(() => removeEntry(text, location, false)).toThrow(/one value/);
  });
});

describe("taking out of TOML", () => {
  test("tables and sub-tables go, comments of what follows stay", () => {
    const text = `a = 1

[mcp_servers.ollm]
command = "n"
# about b
[b]

[mcp_servers.ollm.env]
X = "1"

# end
`;
    expect(removeEntry(text, location, false)).toBe("a = 1\n# about b\n[b]\n\n# end\n");
  });

  test.each([
    ['mcp_servers.ollm.command = "a"\nx = 1\n', "x = 1\n"],
    ["[mcp_servers]\nollm = { command = 'a' }\nb.command = 'x'\n", "[mcp_servers]\nb.command = 'x'\n"],
  ])("also spelled as %j", (text, rest) => {
    expect(removeEntry(text, location, false)).toBe(rest);
  });
});

describe("brackets, quotes, hashes and equals signs in values and keys", () => {
  const tricky = `a = """
[not.a.table]
\\"""" # "
b = '''
[mcp_servers.ollm]
'''
'quoted.key' = [ "]", '#', { x = "}" }, # ]
  2 ]
"k=1" = "v = # 2" # =
[ t . "u.v" ] # x
d.e = 2020-01-01
`;

  test("before the entry are kept when it is added, changed and removed", () => {
    const after = addEntry(tricky, location, entry);
    expect(after).toBe(`${tricky}\n${block}`);
    const changed = changeEntry(after, location, { command: "/new" });
    expect(changed).toBe(after.replace("/usr/bin/node", "/new"));
    expect(removeEntry(after, location, false)).toBe(tricky);
  });

  test("within the entry end where their value ends", () => {
    const text = `[ mcp_servers . "ollm" ] # x
command = "a # b" # c # d
args = [ "]", # ]
  '''
[x]
''', "#" ] # e
"x = y" = """
[z]
"""
[z]
`;
    const changed = changeEntry(text, location, {
      command: "b",
      args: ["c"],
    });
    expect(changed).toBe(text.replace('"a # b"', '"b"').replace(/args = [^]*?"#" \]/, 'args = [ "c" ]'));
    expect(removeEntry(text, location, false)).toBe("[z]\n");
  });
});

describe("any TOML document", () => {
  test("comes back byte for byte when the entry is taken out", () => {
    fc.assert(
      fc.property(tomlDocument, fc.boolean(), (text, hasEnvironment) => {
        fc.pre(text !== "");
        const { env, ...plain } = entry;
        const added = hasEnvironment ? { ...plain, env } : plain;
        const after = addEntry(text, location, added);
        expect(after.startsWith(text)).toBe(true);
        expect(readEntry(after, location)).toEqual(added);
        expect(removeEntry(after, location, false)).toBe(text);
      }),
      { numRuns: 300 },
    );
  });

  test("takes a changed value without touching another byte", () => {
    fc.assert(
      fc.property(tomlDocument, fc.string(), (text, command) => {
        const before = addEntry(text, location, entry);
        const after = changeEntry(before, location, { command: command });
        const same = changeEntry(after, location, { command: entry.command });
        expect(readEntry(after, location)).toEqual({ ...entry, command });
        expect(same).toBe(before);
      }),
      { numRuns: 200 },
    );
  });
});
