import { spawnSync } from "node:child_process";
import { lstat, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createDocumentFiles } from "../../../src/orchestrator/storage/document-files.ts";

const root = fileURLToPath(new URL("../../../", import.meta.url));
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "ollm-files-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** Runs a program that may write at most 8 kB to one file: a longer write fails in the middle, as on a full disk. */
function runWithSmallFiles(program: string): string {
  const script = `
    import { createDocumentFiles } from "./src/orchestrator/storage/document-files.ts";
    const files = createDocumentFiles(${JSON.stringify(folder)});
    const text = (letter, size) => letter.repeat(size - 1) + "\\n";
    const attempt = (work) => work.then(() => "stored", (error) => error.code);
    ${program}`;
  const limited = `trap '' XFSZ; ulimit -f 8; exec "$0" --import tsx --input-type=module -e "$1"`;
  const { stdout, stderr } = spawnSync("bash", ["-c", limited, process.execPath, script], {
    cwd: root,
    encoding: "utf8",
    env: { ...process.env, TSX_DISABLE_CACHE: "1" },
  });
  return stdout === "" ? stderr : stdout;
}

describe("files of documents", () => {
  it.skipIf(process.platform === "win32")("are unchanged after a write that a full disk cut off", async () => {
    const output = runWithSmallFiles(`
      console.log(await attempt(files.append("a.journal", text("1", 6000))));
      console.log(await attempt(files.append("a.journal", text("2", 6000))));
      console.log(await attempt(files.append("a.journal", text("3", 1000))));
      await files.release("a.journal");
      console.log(await attempt(files.replace("a.json", text("4", 1000))));
      console.log(await attempt(files.replace("a.json", text("5", 9000))));
    `);
    expect(output.trim().split("\n")).toEqual(["stored", "EFBIG", "stored", "stored", "EFBIG"]);
    const journal = await readFile(path.join(folder, "a.journal"), "utf8");
    expect(journal).toBe(`${"1".repeat(5_999)}\n${"3".repeat(999)}\n`);
    expect(await readFile(path.join(folder, "a.json"), "utf8")).toBe(`${"4".repeat(999)}\n`);
    expect((await readdir(folder)).toSorted()).toEqual(["a.journal", "a.json"]);
  });

  it("fail where no folder can be created, and work once it can", async () => {
    const home = path.join(folder, "home");
    await writeFile(home, "a file stands where the home should be");
    const files = createDocumentFiles(home);
    await expect(files.append("a.journal", "1\n")).rejects.toThrow(/EEXIST|ENOTDIR/);
    await expect(files.replace("a.json", "1\n")).rejects.toThrow(/EEXIST|ENOTDIR/);
    await rm(home);
    await files.append("a.journal", "1\n");
    await files.release("a.journal");
    expect(await files.read("a.journal")).toBe("1\n");
  });

  it("continue after a replacement or removal in between", async () => {
    const files = createDocumentFiles(folder);
    await files.append("a.journal", "1\n");
    await files.replace("a.journal", "2\n");
    await files.append("a.journal", "3\n");
    expect(await files.read("a.journal")).toBe("2\n3\n");
    await files.remove("a.journal");
    await files.remove("a.journal");
    expect(await files.read("a.journal")).toBeUndefined();
    await files.append("a.journal", "4\n");
    expect(await files.read("a.journal")).toBe("4\n");
    const aside = await files.setAside("a.journal");
    expect(await readFile(aside, "utf8")).toBe("4\n");
    expect(path.dirname(aside)).toBe(folder);
    expect(await files.read("a.journal")).toBeUndefined();
  });

  it.skipIf(process.platform === "win32")("are replaced at the target of a link, which is kept", async () => {
    const elsewhere = await mkdtemp(path.join(tmpdir(), "ollm-elsewhere-"));
    try {
      await writeFile(path.join(elsewhere, "memory.json"), "old");
      await symlink(path.join(elsewhere, "memory.json"), path.join(folder, "a.json"));
      await createDocumentFiles(folder).replace("a.json", "new");
      expect(await readFile(path.join(elsewhere, "memory.json"), "utf8")).toBe("new");
      expect((await lstat(path.join(folder, "a.json"))).isSymbolicLink()).toBe(true);
    } finally {
      await rm(elsewhere, { recursive: true, force: true });
    }
  });

  it("overwrite the temporary file of a killed process", async () => {
    await writeFile(path.join(folder, ".a.json.tmp"), "half of someth");
    await createDocumentFiles(folder).replace("a.json", "whole");
    expect(await readdir(folder)).toEqual(["a.json"]);
  });
});
