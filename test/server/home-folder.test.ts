import { chmod, mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { runFolder, tokenFile } from "../../src/ipc/run-folder.ts";
import { createLog } from "../../src/orchestrator/api/log.ts";
import { ensureHome } from "../../src/server/daemon/run.ts";

let folder = "";
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "ollm-home-folder-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const modeOf = async (place: string) => (await stat(place)).mode & 0o777;

describe("a home that can't be used", () => {
  it("is replaced by a temporary one, in which its settings hold", async () => {
    const home = path.join(folder, "home");
    await mkdir(home);
    await writeFile(runFolder(home), "no folder");
    await writeFile(path.join(home, "config.yaml"), "privacy: local_only\n");
    const logged: string[] = [];
    const log = createLog("warn", (line) => logged.push(line));
    const temporary = await ensureHome(home, log);
    const bare = await ensureHome(path.join(home, "run", "none"), log);
    try {
      expect(temporary).not.toBe(home);
      expect(await readFile(path.join(temporary, "config.yaml"), "utf8")).toBe("privacy: local_only\n");
      await expect(stat(path.join(bare, "config.yaml"))).rejects.toThrow("ENOENT");
      expect(logged).toHaveLength(2);
      expect(logged[0]).toContain(`${home} can't be used`);
    } finally {
      await rm(temporary, { recursive: true });
      await rm(bare, { recursive: true });
    }
  });
});

describe.skipIf(process.platform === "win32")("a home that others may read", () => {
  it("is closed to them, with its run folder and its token, which keeps its value", async () => {
    const home = path.join(folder, "home");
    const elsewhere = path.join(folder, "elsewhere");
    await mkdir(home);
    await mkdir(elsewhere);
    await symlink(elsewhere, runFolder(home));
    await writeFile(tokenFile(home), `${"a".repeat(64)}\n`);
    await chmod(tokenFile(home), 0o644);
    for (const place of [home, elsewhere]) await chmod(place, 0o777);
    const logged: string[] = [];
    expect(
      await ensureHome(
        home,
        createLog("warn", (line) => logged.push(line)),
      ),
    ).toBe(home);
    expect([await modeOf(home), await modeOf(elsewhere), await modeOf(tokenFile(home))]).toEqual([0o700, 0o700, 0o600]);
    expect(await readFile(tokenFile(home), "utf8")).toBe(`${"a".repeat(64)}\n`);
    expect(logged.join("\n")).toContain("could be read by other users");
    expect(logged.join("\n")).not.toContain("aaaa");
  });

  it("is not talked about when it is as it should be", async () => {
    const logged: string[] = [];
    const log = createLog("warn", (line) => logged.push(line));
    await ensureHome(path.join(folder, "new"), log);
    await ensureHome(path.join(folder, "new"), log);
    expect(logged).toEqual([]);
    expect(await modeOf(tokenFile(path.join(folder, "new")))).toBe(0o600);
  });
});
