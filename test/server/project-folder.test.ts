import { mkdir, mkdtemp, realpath, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { findProjectFolder } from "../../src/server/files/allowed-paths.ts";
import { writeFiles } from "../support/project-client.ts";

let base: string;
let homeDirectory: string;

beforeEach(async () => {
  base = await realpath(await mkdtemp(path.join(tmpdir(), "ollm-folder-")));
  homeDirectory = path.join(base, "me");
  await mkdir(homeDirectory);
});
afterEach(() => rm(base, { recursive: true, force: true }));

const find = (workingDirectory: string, roots: readonly string[] = [], ollmHome = path.join(homeDirectory, ".ollm")) =>
  findProjectFolder({ workingDirectory, homeDirectory }, ollmHome, () =>
    Promise.resolve(roots.map((folder) => pathToFileURL(folder).href)),
  );
const make = (name: string, files: Readonly<Record<string, string>>) =>
  writeFiles(path.join(homeDirectory, name), files);

describe("the folder of a caller's project", () => {
  it("is the nearest parent with a project file or templates, before a mark of its own", async () => {
    const outer = await make("a", { ".ollm/project.yaml": "", "b/.ollm/templates/t.yaml": "", "b/c/package.json": "" });
    expect(await find(path.join(outer, "b", "c"))).toBe(path.join(outer, "b"));
    await rm(path.join(outer, "b", ".ollm"), { recursive: true });
    expect(await find(path.join(outer, "b", "c"))).toBe(outer);
    await rm(path.join(outer, ".ollm"), { recursive: true });
    expect(await find(path.join(outer, "b", "c"))).toBe(path.join(outer, "b", "c"));
  });

  it("is never a home folder, a folder above it, or a drive's root", async () => {
    await make("", { ".ollm/project.yaml": "", ".git/HEAD": "" });
    await writeFiles(base, { ".ollm/project.yaml": "" });
    for (const folder of [homeDirectory, base, path.parse(base).root]) expect(await find(folder)).toBeUndefined();
    const plain = await make("plain", {});
    await mkdir(plain, { recursive: true });
    expect(await find(plain)).toBeUndefined();
  });

  it("is not the one in which OLLM_HOME lies", async () => {
    const outer = await make("srv", { ".ollm/templates/t.yaml": "", "work/a.txt": "" });
    expect(await find(path.join(outer, "work"), [], path.join(outer, ".ollm"))).toBeUndefined();
    expect(await find(path.join(outer, "work"))).toBe(outer);
  });

  it("is that of the first root which is one, where the working directory is none", async () => {
    const [plain, one, two] = [
      await make("plain", { "a.txt": "" }),
      await make("one", { "go.mod": "" }),
      await make("two", { ".ollm/project.yaml": "" }),
    ];
    expect(await find("/", [plain, one, two])).toBe(one);
    expect(await find(two, [one])).toBe(two);
    expect(await find("/", [plain])).toBeUndefined();
    expect(await find("/", [path.join(base, "gone"), two])).toBe(two);
  });

  it("is resolved", async () => {
    const one = await make("one", { "go.mod": "" });
    await symlink(one, path.join(homeDirectory, "link"));
    expect(await find(path.join(homeDirectory, "link"))).toBe(one);
  });
});
