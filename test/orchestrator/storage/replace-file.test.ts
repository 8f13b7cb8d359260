import { spawnSync } from "node:child_process";
import { chmod, lstat, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { replaceFile } from "../../../src/orchestrator/storage/replace-file.ts";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const isPosix = process.platform !== "win32";
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "ollm-replace-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));
const modeOf = async (file: string) => (await stat(file)).mode & 0o777;

describe("replaceFile", () => {
  it.skipIf(!isPosix)("leaves the file unchanged when the disk fills up during the write", async () => {
    const file = path.join(folder, "mcp.json");
    await writeFile(file, "theirs");
    const program = `
      import { replaceFile } from "./src/orchestrator/storage/replace-file.ts";
      const attempt = (data) => replaceFile(${JSON.stringify(file)}, data).then(() => "stored", (error) => error.code);
      console.log(await attempt("x".repeat(9_000)), await attempt(Buffer.alloc(9_000)));`;
    // A write of more than 8 kB fails in the middle, as on a full disk: it writes a part and reports it.
    const limited = `trap '' XFSZ; ulimit -f 8; exec "$0" --import tsx --input-type=module -e "$1"`;
    const { stdout, stderr } = spawnSync("bash", ["-c", limited, process.execPath, program], {
      cwd: root,
      encoding: "utf8",
      env: { ...process.env, TSX_DISABLE_CACHE: "1" },
    });
    expect([stdout.trim(), stderr]).toEqual(["EFBIG EFBIG", ""]);
    expect(await readFile(file, "utf8")).toBe("theirs");
    expect(await readdir(folder)).toEqual(["mcp.json"]);
  });

  it.skipIf(!isPosix)("keeps the file's mode, or sets the requested one, whatever the umask", async () => {
    const file = path.join(folder, "shared.yaml");
    await writeFile(file, "old");
    await chmod(file, 0o666);
    await replaceFile(file, "new");
    expect([await readFile(file, "utf8"), await modeOf(file)]).toEqual(["new", 0o666]);
    await replaceFile(file, "mine", { mode: 0o600 });
    expect([await readFile(file, "utf8"), await modeOf(file)]).toEqual(["mine", 0o600]);
    await replaceFile(path.join(folder, "young"), "", { mode: 0o600 });
    expect(await modeOf(path.join(folder, "young"))).toBe(0o600);
  });

  it.skipIf(!isPosix)("replaces the target of a link and keeps the link", async () => {
    const [target, link] = [path.join(folder, "dotfiles.json"), path.join(folder, "link.json")];
    await writeFile(target, "old");
    await symlink(target, link);
    await replaceFile(link, "new");
    expect(await readFile(target, "utf8")).toBe("new");
    expect((await lstat(link)).isSymbolicLink()).toBe(true);
    expect((await readdir(folder)).toSorted()).toEqual(["dotfiles.json", "link.json"]);
  });

  it("leaves one of the texts when many write concurrently", async () => {
    const file = path.join(folder, "a.json");
    const texts = Array.from({ length: 20 }, (_each, index) => String(index).repeat(10_000));
    await Promise.all(texts.map((text) => replaceFile(file, text)));
    expect(texts).toContain(await readFile(file, "utf8"));
    expect(await readdir(folder)).toEqual(["a.json"]);
  });

  it("fails in a missing folder and leaves nothing behind", async () => {
    await expect(replaceFile(path.join(folder, "none", "a.json"), "x")).rejects.toMatchObject({ code: "ENOENT" });
    expect(await readdir(folder)).toEqual([]);
  });
});
