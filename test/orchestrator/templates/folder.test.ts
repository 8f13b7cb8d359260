import { mkdir, mkdtemp, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execFileSync } from "node:child_process";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createTemplateFolder } from "../../../src/orchestrator/templates/folder.ts";
import { maxTemplateBytes } from "../../../src/orchestrator/templates/parse-file.ts";

let base = "";
let folder = "";
beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), "templates-"));
  folder = join(base, "templates");
  await mkdir(folder);
});
afterEach(() => rm(base, { recursive: true, force: true }));

const put = (name: string, text: string | Buffer) => writeFile(join(folder, name), text);

/** Names of templates and problems, without the folder's path. */
async function read(inside = folder): Promise<string[]> {
  const { entries } = await createTemplateFolder(folder, inside).read();
  return entries.map((entry) =>
    "template" in entry ? entry.template.name : entry.problem.replaceAll(folder, "").replace(/^[/\\]/, ""),
  );
}

describe("a folder of templates", () => {
  it("contains only YAML files, and nothing when it is missing", async () => {
    await put("b.yml", "template: x");
    await put("a.yaml", "template: x");
    await put(".hidden.yaml", "template: x");
    await put("notes.txt", "template: x");
    await put("a.yaml~", "template: x");
    expect(await read()).toEqual(["a", "b"]);
    await rm(folder, { recursive: true });
    expect(await read()).toEqual([]);
  });

  it("reports file, line and remedy of each invalid file; the others work", async () => {
    await put("good.yaml", "template: x");
    await put("broken.yaml", "template: x\nzzz: 1\n");
    await put("empty.yaml", "");
    await put("latin.yaml", Buffer.from([0x74, 0x3a, 0x20, 0xe4, 0x0a]));
    await put("large.yaml", `template: ${"x".repeat(maxTemplateBytes)}`);
    await put("twin.yaml", "name: GOOD\ntemplate: y");
    await mkdir(join(folder, "folder.yaml"));
    expect(await read()).toEqual([
      expect.stringMatching(/^broken\.yaml:2: unknown field zzz, allowed: name,/),
      "empty.yaml is empty: add a template or remove the file",
      "folder.yaml is not a regular file: remove it",
      "good",
      "large.yaml is larger than 256 KiB: shorten it",
      "latin.yaml is not UTF-8: save it as UTF-8",
      "twin.yaml: the name GOOD is already used by good.yaml: choose another",
    ]);
  });

  it.skipIf(process.platform === "win32")("follows links within itself and none that leave it", async () => {
    await put("real.yaml", "template: x");
    await writeFile(join(base, "secret.yaml"), "template: secret");
    await symlink("real.yaml", join(folder, "link.yaml"));
    await symlink(join(base, "secret.yaml"), join(folder, "out.yaml"));
    await symlink("nowhere.yaml", join(folder, "dangling.yaml"));
    await symlink("circle.yaml", join(folder, "circle.yaml"));
    expect(await read()).toEqual([
      "circle.yaml is a link to itself: remove it",
      "dangling.yaml is a link to a missing file: remove or correct it",
      "link",
      "out.yaml is a link out of its folder: replace it with a copy",
      "real",
    ]);
  });

  it.skipIf(process.platform === "win32")("is not read when it is a link out of its project", async () => {
    const project = join(base, "project");
    await mkdir(project);
    await symlink(folder, join(project, "templates"));
    await put("a.yaml", "template: x");
    const { entries } = await createTemplateFolder(join(project, "templates"), project).read();
    expect(entries).toEqual([
      { file: join(project, "templates"), problem: expect.stringContaining("is a link out of") },
    ]);
  });

  it.skipIf(process.platform === "win32")("doesn't wait for a pipe without a writer", async () => {
    execFileSync("mkfifo", [join(folder, "pipe.yaml")]);
    expect(await read()).toEqual(["pipe.yaml is not a regular file: remove it"]);
  });

  it("that is a file is reported", async () => {
    await rm(folder, { recursive: true });
    await writeFile(folder, "");
    expect(await read()).toEqual([expect.stringContaining("make it a folder")]);
  });

  it("contains at most 500", async () => {
    await Promise.all(Array.from({ length: 501 }, (_unused, index) => put(`t${index}.yaml`, "template: x")));
    const entries = await read();
    expect(entries).toHaveLength(501);
    expect(entries.at(-1)).toContain("contains 501 files; only the first 500 are used");
  });

  it("is never stale, and reports whether anything has changed since the last read", async () => {
    const templates = createTemplateFolder(folder);
    const names = async () => {
      const { entries, isChanged } = await templates.read();
      return [isChanged, ...entries.map((entry) => ("template" in entry ? entry.template.template : "broken"))];
    };
    await put("a.yaml", "template: one");
    expect(await names()).toEqual([false, "one"]);
    expect(await names()).toEqual([false, "one"]);
    await put("a.yaml", "template: two");
    expect(await names()).toEqual([true, "two"]);
    await put("b.yaml", "templat: three");
    expect(await names()).toEqual([true, "two", "broken"]);
    expect(await names()).toEqual([false, "two", "broken"]);
    const longAgo = new Date("2026-01-01");
    await utimes(join(folder, "a.yaml"), longAgo, longAgo);
    expect(await names()).toEqual([false, "two", "broken"]);
    await put("a.yaml", "template: six");
    await utimes(join(folder, "a.yaml"), longAgo, longAgo);
    expect(await names()).toEqual([true, "six", "broken"]);
    await rm(join(folder, "a.yaml"));
    expect(await names()).toEqual([true, "broken"]);
    await rm(folder, { recursive: true });
    expect(await names()).toEqual([true]);
  });
});
