import { mkdtemp, realpath, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createFiles } from "../../../src/server/files/files.ts";

let root = "";

beforeEach(async () => {
  root = await realpath(await mkdtemp(path.join(tmpdir(), "ollm-files-")));
});

afterEach(() => rm(root, { recursive: true, force: true }));

test("files that change after they were read are named once each: written, replaced by another file, or removed; what is as it was, and git, are not", async () => {
  const names = ["same.txt", "written.txt", "replaced.txt", "removed.txt", "touched.txt"];
  for (const name of names) await writeFile(path.join(root, name), "before");
  const files = () =>
    createFiles({
      roots: async () => ({ folders: [root] }),
      limits: { maxFileBytes: 1000, maxTotalBytes: 2500 },
      configFile: "/home/ann/.ollm/config.yaml",
      git: { environment: process.env, homeDirectory: root, signal: new AbortController().signal },
    });
  const access = files();
  await access.readText([...names, "written.txt"]);
  expect(await access.changes()).toEqual([]);
  await writeFile(path.join(root, "written.txt"), "longer than before");
  await writeFile(path.join(root, "new.txt"), "before");
  // The size and the time of the file that it replaces.
  const { atime, mtime } = await stat(path.join(root, "replaced.txt"));
  await utimes(path.join(root, "new.txt"), atime, mtime);
  await rename(path.join(root, "new.txt"), path.join(root, "replaced.txt"));
  await rm(path.join(root, "removed.txt"));
  await utimes(path.join(root, "touched.txt"), 0, 0);
  expect(await access.changes()).toEqual([
    { path: "written.txt", isGone: false },
    { path: "replaced.txt", isGone: false },
    { path: "removed.txt", isGone: true },
    { path: "touched.txt", isGone: false },
  ]);
  expect(await files().changes()).toEqual([]);
});
