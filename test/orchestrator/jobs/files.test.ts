import { chmod, mkdtemp, readFile, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createJobFiles } from "../../../src/orchestrator/jobs/record.ts";
import { createDocumentFiles } from "../../../src/orchestrator/storage/document-files.ts";

let home: string;
let folder: string;
beforeEach(async () => {
  home = await mkdtemp(path.join(tmpdir(), "ollm-jobs-"));
  folder = path.join(home, "jobs");
});
afterEach(() => rm(home, { recursive: true, force: true }));

describe("the folder of jobs", () => {
  it("is empty before it exists", async () => {
    expect(await createJobFiles(folder, createDocumentFiles(folder)).list()).toEqual([]);
  });

  it("returns what was written, listed by id", async () => {
    const files = createJobFiles(folder, createDocumentFiles(folder));
    await files.write("pull-3f9a2c1b", "first");
    await files.write("pull-3f9a2c1b", "second");
    expect(await files.list()).toEqual(["pull-3f9a2c1b"]);
    expect(await files.read("pull-3f9a2c1b")).toBe("second");
    await files.remove("pull-3f9a2c1b");
    await files.remove("pull-3f9a2c1b");
    expect(await files.list()).toEqual([]);
  });

  it.skipIf(process.platform === "win32")("is accessible only to its user", async () => {
    await createJobFiles(folder, createDocumentFiles(folder)).write("pull-1", "{}");
    expect((await stat(folder)).mode & 0o777).toBe(0o700);
    expect((await stat(path.join(folder, "pull-1.json"))).mode & 0o777).toBe(0o600);
    // The next write restores the mode of the file.
    await chmod(path.join(folder, "pull-1.json"), 0o644);
    await createJobFiles(folder, createDocumentFiles(folder)).write("pull-1", "{}");
    expect((await stat(path.join(folder, "pull-1.json"))).mode & 0o777).toBe(0o600);
  });

  it("keeps files that are set aside under another name", async () => {
    const files = createJobFiles(folder, createDocumentFiles(folder));
    await files.write("pull-1", "{half");
    const aside = await files.setAside("pull-1");
    expect(aside).toMatch(/pull-1\.json\.broken$/);
    expect(await readFile(aside, "utf8")).toBe("{half");
    expect(await files.list()).toEqual([]);
  });

  it("is cleared of temporary files of interrupted writes only", async () => {
    const files = createJobFiles(folder, createDocumentFiles(folder));
    await files.write("pull-1", "{}");
    await writeFile(path.join(folder, ".pull-1.json.tmp"), "half");
    await writeFile(path.join(folder, "notes.txt"), "mine");
    await files.removeLeftovers();
    expect(await files.list()).toEqual(["pull-1"]);
    expect((await readdir(folder)).toSorted()).toEqual(["notes.txt", "pull-1.json"]);
  });

  it("can be listed during a write", async () => {
    const files = createJobFiles(folder, createDocumentFiles(folder));
    await files.write("pull-1", "{}");
    await writeFile(path.join(folder, ".pull-2.json.tmp"), "half");
    expect(await files.list()).toEqual(["pull-1"]);
    expect(await readdir(folder)).toContain(".pull-2.json.tmp");
  });
});
