import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { filesNamedIn, spokenName } from "../../../src/orchestrator/util/file-name.ts";
import { createFiles } from "../../../src/server/files/files.ts";
import { renderSteps } from "../../../src/next-steps/render.ts";
import { toolSteps } from "../../../src/next-steps/tools.ts";
import type { InvalidRequest } from "../../../src/orchestrator/api/errors.ts";

let base: string;
let root: string;
beforeEach(async () => {
  base = await realpath(await mkdtemp(path.join(tmpdir(), "ollm-named-files-")));
  root = path.join(base, "home", "project");
  const texts: Readonly<Record<string, string>> = {
    "Case/notes.txt": "one\ntwo\nthree\n",
    "a.py": "a",
    "b.py": "b",
    "docs/x.md": "x",
    "docs/deep/y.md": "y",
    "docs/deep/z.txt": "z",
    "twice/1/same.txt": "1",
    "twice/2/same.txt": "2",
    ".git/only.txt": "git",
    "node_modules/pkg/readme.md": "pkg",
    "keys/server.pem": "secret",
    "keys/.env": "secret",
    "[x].txt": "literal",
    "../outside.md": "outside",
  };
  for (const [name, text] of Object.entries(texts)) {
    await mkdir(path.dirname(path.join(root, name)), { recursive: true });
    await writeFile(path.join(root, name), text);
  }
  await symlink(path.join(root, "..", "outside.md"), path.join(root, "docs", "link.md"));
});
afterEach(() => rm(base, { recursive: true }));

function files(isConfined = false) {
  return createFiles({
    roots: () => Promise.resolve({ folders: [root] }),
    limits: { maxFileBytes: 1_000, maxTotalBytes: 10_000 },
    configFile: path.join(base, "ollm", "config.yaml"),
    isConfined,
    git: { environment: {}, homeDirectory: path.join(base, "home"), signal: new AbortController().signal },
  });
}

async function read(name: string) {
  const access = files();
  const texts = await access.readText([name]);
  return { texts: Object.fromEntries(texts.map((each) => [each.path, each.text])), notes: access.notes() };
}

async function refusal(name: string, isConfined = false): Promise<string> {
  const error = await files(isConfined)
    .readText([name])
    .then(
      () => new Error("was read"),
      (each: unknown) => each as InvalidRequest,
    );
  const steps = "next" in error ? renderSteps(error.next, toolSteps) : "";
  return `${error.message}\n${steps}`.replaceAll(base, "BASE");
}

describe("a file's name as assistants write it", () => {
  it.each([
    ["~/project/a.py", { "a.py": "a" }],
    ["@a.py", { "a.py": "a" }],
    ["./a.py", { "a.py": "a" }],
    ["docs\\deep\\y.md", { "docs/deep/y.md": "y" }],
    ["docs/../a.py", { "a.py": "a" }],
    ["Case/notes.txt:2-3", { "Case/notes.txt:2-3": "two\nthree\n" }],
    ["Case/notes.txt:2", { "Case/notes.txt:2": "two\n" }],
    ["Case/notes.txt#L1-L2", { "Case/notes.txt:1-2": "one\ntwo\n" }],
    ["@Case/notes.txt:2-30", { "Case/notes.txt:2-3": "two\nthree\n" }],
    ["[x].txt", { "[x].txt": "literal" }],
  ])("%s is read", async (name, texts) => {
    expect(await read(name)).toEqual({ texts, notes: [] });
  });

  it("may be a file: URI", async () => {
    expect((await read(pathToFileURL(path.join(root, "a.py")).href)).texts).toEqual({ "a.py": "a" });
    expect(await refusal("file:///etc/passwd")).toContain("is outside the allowed folders");
  });

  it("over HTTP has no home folder", async () => {
    expect(await refusal("~/project/a.py", true)).toContain("was not found in");
  });

  it.each([
    ["*.py", { "a.py": "a", "b.py": "b" }, "*.py: read 2 files"],
    ["docs/**/*.md", { "docs/deep/y.md": "y", "docs/x.md": "x" }, "docs/**/*.md: read 2 files"],
    ["**/y.{md,txt}", { "docs/deep/y.md": "y" }, "**/y.{md,txt}: read 1 file"],
    ["{docs/x,a}.{md,py}", { "a.py": "a", "docs/x.md": "x" }, "{docs/x,a}.{md,py}: read 2 files"],
    ["?.py", { "a.py": "a", "b.py": "b" }, "?.py: read 2 files"],
    ["~/project/docs/*", { "docs/x.md": "x" }, "~/project/docs/*: read 1 file"],
  ])("%s is a pattern, whose count is said", async (name, texts, note) => {
    expect(await read(name)).toEqual({ texts, notes: [note] });
  });

  it.each([
    ["../*.md", "is outside the allowed folders"],
    ["docs/*/../*.md", "can't have .. after its first wildcard"],
    ["/etc/*", "is outside the allowed folders"],
    [".git/*", "matches no file"],
    ["**/readme.md", "matches no file"],
    ["keys/*", "matches no file"],
    ["**/link.md", "matches no file"],
    ["{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}", "more than 32 alternatives"],
    ["*a".repeat(100), "matches no file"],
  ])("%s reads nothing outside the roots, of keys or of tools", async (name, message) => {
    expect(await refusal(name.replace(".git/*", "*/only.txt"))).toContain(message);
  });

  it("of 64 files at most", async () => {
    for (let index = 0; index < 65; index += 1) await writeFile(path.join(root, `n${index}.csv`), "x");
    expect(await refusal("*.csv")).toBe("*.csv matches 65 files; at most 64 are read\nUse a narrower pattern.");
  });

  it("in no root is found where one folder alone has it, and that is said", async () => {
    expect(await read("notes.txt")).toEqual({
      texts: { "Case/notes.txt": "one\ntwo\nthree\n" },
      notes: ["notes.txt was found as Case/notes.txt"],
    });
    expect((await read("notes.txt:1")).texts).toEqual({ "Case/notes.txt:1": "one\n" });
    expect(await refusal("same.txt")).toBe(
      "same.txt is in 2 folders\nDid you mean twice/1/same.txt or twice/2/same.txt?",
    );
  });

  it.each([
    ["note.txt", "Did you mean Case/notes.txt?"],
    ["case/Notes.txt", "Did you mean Case/notes.txt?"],
    ["only.txt", "only.txt was not found in BASE/home/project\n"],
    ["server.pem", "server.pem was not found in BASE/home/project\n"],
    ["https://example.org/a.py", "https://example.org/a.py is an address: this server fetches nothing\n"],
    ["Case/notes.txt:9", "Case/notes.txt has 3 lines, and lines 9 to 9 were named"],
  ])("%s is an error that says more", async (name, message) => {
    expect(await refusal(name)).toContain(message);
  });

  it("outside the roots names the folder, and that the user allows it by a command", async () => {
    expect(await refusal(path.join(base, "home", "outside.md"))).toBe(
      "BASE/home/outside.md is outside the allowed folders (BASE/home/project)\n" +
        "Tell the user: only they can allow it, with `ollm setup --root BASE/home` and a restart of this client.",
    );
  });

  it("works for images, too", async () => {
    await writeFile(path.join(root, "docs", "p.png"), Buffer.from([0x89, 0x50, 0x4e, 0x47]));
    for (const name of ["@docs/p.png", "docs/*.png", "p.png"]) {
      expect(await files().readImages([name])).toHaveLength(1);
    }
  });
});

describe("names of files in a prompt", () => {
  it("are those that a file inside the roots has", async () => {
    expect(await files().existing(filesNamedIn("Compare a.py, docs/x.md, c.py and ../outside.md."))).toEqual([
      "a.py",
      "docs/x.md",
    ]);
  });

  it.each(["What is 3.14 e.g. of example.com?", "Explain node.js", "see ann@a.py.org"])(
    "are not in %j",
    async (prompt) => {
      expect(await files().existing(filesNamedIn(prompt))).toEqual([]);
    },
  );

  it("cost a plain prompt nothing", () => {
    const prompt = "Why is the sky blue? ".repeat(300);
    // The best of a few tries, because other processes slow them down.
    const times = Array.from({ length: 100 }, () => {
      const start = performance.now();
      filesNamedIn(prompt);
      return performance.now() - start;
    });
    expect(Math.min(...times)).toBeLessThan(1);
    expect(filesNamedIn("a/".repeat(3_000))).toEqual([]);
  });
});

it.each([
  ["notes.txt:1-30", { name: "notes.txt", lines: { first: 1, last: 30 } }],
  ["notes.txt:30", { name: "notes.txt", lines: { first: 30, last: 30 } }],
  ["@~/x", { name: path.join("/home/ann", "x") }],
  ["~other/x", { name: "~other/x" }],
])("%s means %j", (given, meant) => {
  expect(spokenName(given, "/home/ann")).toEqual(meant);
});
