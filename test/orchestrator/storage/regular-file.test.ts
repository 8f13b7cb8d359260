import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { InvalidConfig } from "../../../src/orchestrator/api/errors.ts";
import { loadSettings } from "../../../src/orchestrator/config/load.ts";
import { readSmall } from "../../../src/orchestrator/projects/ollm-folder.ts";
import { createDocumentFiles } from "../../../src/orchestrator/storage/document-files.ts";
import { openRegularToAppend, readRegularText } from "../../../src/orchestrator/storage/replace-file.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ollm-regular-file-"));
});
afterEach(() => rm(folder, { recursive: true }));

function pipe(name: string): string {
  const file = join(folder, name);
  execFileSync("mkfifo", [file]);
  return file;
}

// Opening a pipe waits for its writer for ever: each of these would run into the test's time limit.
describe.skipIf(process.platform === "win32")("a pipe in place of a file", () => {
  it("is an error that names it, for reading and appending", async () => {
    const file = pipe("a");
    await expect(readRegularText(file)).rejects.toThrow(`${file} is not a regular file (a pipe, socket or device)`);
    await expect(openRegularToAppend(file, 0o600)).rejects.toThrow(/not a regular file|ENXIO/);
  });

  it("as config.yaml is an error with a next step", async () => {
    const file = pipe("config.yaml");
    const error: unknown = await loadSettings({ home: folder, environment: {}, flags: {} }).catch(
      (each: unknown) => each,
    );
    expect(error).toBeInstanceOf(InvalidConfig);
    expect((error as InvalidConfig).message).toBe(`${file} is not a regular file (a pipe, socket or device)`);
    expect((error as InvalidConfig).next).toEqual([
      { step: "advice", text: "move the file away to start with the defaults" },
    ]);
  });

  it("as memory.json or its journal is an error", async () => {
    pipe("memory.json");
    pipe("memory.journal");
    const files = createDocumentFiles(folder);
    await expect(files.read("memory.json")).rejects.toThrow("not a regular file");
    await expect(files.append("memory.journal", "x")).rejects.toThrow(/not a regular file|ENXIO/);
  });

  it("as project.yaml is not read", async () => {
    expect(await readSmall(pipe("project.yaml"), folder, 100)).toEqual({ problem: "is not a regular file" });
  });
});

it("a regular file is read, and created for appending", async () => {
  await writeFile(join(folder, "a"), "text");
  expect(await readRegularText(join(folder, "a"))).toBe("text");
  const handle = await openRegularToAppend(join(folder, "b"), 0o600);
  await handle.writeFile("one");
  await handle.close();
  expect(await readFile(join(folder, "b"), "utf8")).toBe("one");
});
