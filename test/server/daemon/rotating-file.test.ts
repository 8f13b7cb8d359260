import { appendFile, mkdtemp, readFile, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createRotatingFile, rotateByCopy } from "../../../src/server/daemon/call-log.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "ollm-rotation-"));
});
afterEach(() => rm(folder, { recursive: true }));

const fail = (error: unknown): void => {
  throw error;
};

describe("createRotatingFile", () => {
  it("keeps the order, creates the folder, and is readable only by its user", async () => {
    const file = path.join(folder, "logs", "calls.log");
    const log = createRotatingFile(file, fail);
    for (let line = 0; line < 100; line += 1) log.append(() => `line ${line}`);
    await log.idle();
    const lines = (await readFile(file, "utf8")).trimEnd().split("\n");
    expect(lines).toEqual(Array.from({ length: 100 }, (_, line) => `line ${line}`));
    if (process.platform !== "win32") expect((await stat(file)).mode & 0o777).toBe(0o600);
  });

  it("starts a new file at the limit, continues after a restart, and keeps the newest old files", async () => {
    const file = path.join(folder, "calls.log");
    for (let line = 0; line < 10; line += 1) {
      const log = createRotatingFile(file, fail, { maxBytes: 20, keep: 2 });
      log.append(() => `line ${line}`);
      await log.idle();
    }
    expect((await readdir(folder)).toSorted()).toEqual(["calls.1.log", "calls.2.log", "calls.log"]);
    expect(await readFile(path.join(folder, "calls.1.log"), "utf8")).toBe("line 6\nline 7\n");
    expect(await readFile(file, "utf8")).toBe("line 8\nline 9\n");
  });

  it("reports a failed write once, and continues when it can write again", async () => {
    const file = path.join(folder, "logs", "calls.log");
    await writeFile(path.join(folder, "logs"), "in the way");
    const failures: unknown[] = [];
    const log = createRotatingFile(file, (error) => failures.push(error));
    log.append(() => "lost");
    await log.idle();
    log.append(() => "lost");
    await log.idle();
    expect(failures).toHaveLength(1);
    await rm(path.join(folder, "logs"));
    log.append(() => "kept");
    await log.idle();
    expect(await readFile(file, "utf8")).toBe("kept\n");
  });
});

describe("rotateByCopy", () => {
  it("truncates a file that a process appends to, and only beyond the limit", async () => {
    const file = path.join(folder, "daemon.log");
    await appendFile(file, "0123456789");
    await rotateByCopy(file, { maxBytes: 10, keep: 3 });
    expect(await readdir(folder)).toEqual(["daemon.log"]);
    await appendFile(file, "+");
    await rotateByCopy(file, { maxBytes: 10, keep: 3 });
    await appendFile(file, "new");
    expect(await readFile(file, "utf8")).toBe("new");
    expect(await readFile(path.join(folder, "daemon.1.log"), "utf8")).toBe("0123456789+");
  });

  it("has nothing to do without a file", async () => {
    await rotateByCopy(path.join(folder, "none.log"));
    expect(await readdir(folder)).toEqual([]);
  });
});
