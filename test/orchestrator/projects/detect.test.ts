import { mkdir, mkdtemp, realpath, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { detect, listFolder } from "../../../src/orchestrator/projects/folder-state.ts";
import { writeFiles } from "../../support/project-client.ts";

const kindOf = (files: readonly string[], folders: readonly string[] = [], hasWorkspaces = false) =>
  detect({ files: new Set(files), folders: new Set(folders), hasWorkspaces });

describe("the kind of a project", () => {
  it.each([
    ["typescript", ["tsconfig.json", "package.json"], []],
    ["typescript", ["deno.json"], []],
    ["typescript-monorepo", ["package.json", "pnpm-workspace.yaml", "tsconfig.json"], []],
    ["typescript-monorepo", ["lerna.json"], []],
    ["typescript-monorepo", ["turbo.json"], []],
    ["typescript-monorepo", ["nx.json"], []],
    ["python", ["pyproject.toml"], []],
    ["python", ["setup.py"], []],
    ["python", ["requirements.txt"], ["docs"]],
    ["rust", ["Cargo.toml", "package.json"], []],
    ["go", ["go.mod"], ["docs"]],
    ["documentation", ["mkdocs.yml", "package.json"], []],
    ["documentation", ["docusaurus.config.js", "package.json"], []],
    ["documentation", ["conf.py"], []],
    ["documentation", ["README.md"], ["docs"]],
  ] as const)("is %s for %j and folders %j", (kind, files, folders) => {
    expect(kindOf(files, folders)?.kind).toBe(kind);
  });

  it("is undefined without a sign", () => {
    expect(kindOf(["README.md", "constructor"], ["src"])).toBeUndefined();
  });

  it.each([
    [undefined, {}],
    [{ kind: "typescript", evidence: ["typescript in package.json"] }, { dependsOnTypeScript: true }],
    [{ kind: "typescript", evidence: ["main.ts"] }, { sources: ["main.ts", "view.tsx"] }],
    [{ kind: "python", evidence: ["app.py"] }, { sources: ["app.py"] }],
    [{ kind: "python", evidence: ["app.py"] }, { sources: ["app.py", "tool.py", "vite.config.ts"] }],
    // A declaration describes JavaScript.
    [undefined, { sources: ["index.d.ts"] }],
    [undefined, { sources: ["a.py", "b.ts"] }],
  ] as const)("needs more than a package.json for TypeScript: %j with %j", (detected, more) => {
    const files = new Set(["package.json"]);
    expect(detect({ files, folders: new Set(["docs"]), hasWorkspaces: false, ...more })).toEqual(detected);
  });

  it("comes with its evidence, strongest first", () => {
    expect(kindOf(["package.json", "pnpm-workspace.yaml", "tsconfig.json", "Cargo.toml"], [], true)).toEqual({
      kind: "typescript-monorepo",
      evidence: ["workspaces in package.json", "pnpm-workspace.yaml", "tsconfig.json"],
    });
  });
});

describe("listFolder", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await realpath(await mkdtemp(path.join(tmpdir(), "ollm-look-")));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  it.each([
    ['{"workspaces": ["packages/*"]}', true],
    ['{"workspaces": {"packages": ["a"]}}', true],
    ['{"workspaces": []}', false],
    ["{}", false],
    ["not json", false],
    ["[]", false],
    [`{"workspaces": ["a"], "x": "${"x".repeat(1024 ** 2)}"}`, false],
  ])("finds workspaces in package.json: %.40s", async (text, expected) => {
    await writeFiles(folder, { "package.json": text });
    expect((await listFolder(folder)).hasWorkspaces).toBe(expected);
  });

  it("reads no package.json through a link out of the folder", async () => {
    const outside = await realpath(await mkdtemp(path.join(tmpdir(), "ollm-outside-")));
    await writeFiles(outside, { "package.json": '{"workspaces": ["a"]}' });
    await symlink(path.join(outside, "package.json"), path.join(folder, "package.json"));
    expect((await listFolder(folder)).hasWorkspaces).toBe(false);
    await rm(outside, { recursive: true });
  });

  it("finds Python beside a bare package.json, and TypeScript by its dependency or the files in src", async () => {
    const kinds = async () => detect(await listFolder(folder))?.kind;
    await writeFiles(folder, { "package.json": '{"devDependencies": {"prettier": "3"}}' });
    expect(await kinds()).toBeUndefined();
    await writeFiles(folder, { "app.py": "" });
    expect(await kinds()).toBe("python");
    await writeFiles(folder, { "src/a.ts": "", "src/b.mts": "" });
    expect(await kinds()).toBe("typescript");
    await rm(path.join(folder, "src"), { recursive: true });
    await writeFiles(folder, { "package.json": '{"devDependencies": {"typescript": "5"}}' });
    expect(await kinds()).toBe("typescript");
  });

  it("finds a sign among many files", async () => {
    const names = Array.from({ length: 6_000 }, (_each, index) => `data-${index}`);
    await writeFiles(folder, Object.fromEntries([...names, "pyproject.toml"].map((name) => [name, ""])));
    expect(detect(await listFolder(folder))).toEqual({ kind: "python", evidence: ["pyproject.toml"] });
  });

  it("ignores a folder that has the name of a file", async () => {
    await mkdir(path.join(folder, "Cargo.toml"));
    expect(detect(await listFolder(folder))).toBeUndefined();
  });
});
