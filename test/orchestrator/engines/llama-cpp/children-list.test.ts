import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createLog } from "../../../../src/orchestrator/api/log.ts";
import { createChildrenList } from "../../../../src/orchestrator/engines/llama-cpp/child/children-list.ts";
import { processStartTime } from "../../../../src/orchestrator/storage/process-alive.ts";
import { isRunning, listedChildren } from "./engine-under-test.ts";

let folder: string;
let warnings: string[];
const spawned: ChildProcess[] = [];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ollm-children-"));
  warnings = [];
});
afterEach(async () => {
  for (const child of spawned.splice(0)) child.kill("SIGKILL");
  await rm(folder, { recursive: true, force: true });
});

const listIn = () =>
  createChildrenList(
    folder,
    createLog("warn", (line) => warnings.push(line)),
  );

async function startIdle(): Promise<number> {
  const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"], { stdio: "ignore" });
  spawned.push(child);
  await once(child, "spawn");
  return child.pid ?? 0;
}

async function writeList(pid: number, startTime: string, daemon: { pid: number; startTime: string }): Promise<void> {
  const text = JSON.stringify({ schemaVersion: 1, children: [{ pid, startTime, daemon }] });
  await writeFile(join(folder, "children.json"), text);
}

const deadDaemon = { pid: 2 ** 22 + 7, startTime: "1" };
const startTimeOf = async (pid: number) => (await processStartTime(pid)) ?? "";

describe("children.json", () => {
  it("lists a child with its start time and its daemon, until it is removed", async () => {
    const list = listIn();
    const pid = await startIdle();
    await list.add(pid);
    const { children } = JSON.parse(await readFile(join(folder, "children.json"), "utf8")) as { children: unknown };
    const daemon = { pid: process.pid, startTime: await startTimeOf(process.pid) };
    expect(children).toEqual([{ pid, startTime: await startTimeOf(pid), daemon }]);
    await list.remove(pid);
    expect(await listedChildren(folder)).toEqual([]);
  });
  it("keeps every child when several are added concurrently", async () => {
    const list = listIn();
    const pids = await Promise.all([startIdle(), startIdle(), startIdle()]);
    await Promise.all(pids.map((pid) => list.add(pid)));
    expect(new Set(await listedChildren(folder))).toEqual(new Set(pids));
  });
  it("an orphan is ended", async () => {
    const pid = await startIdle();
    await writeList(pid, await startTimeOf(pid), deadDaemon);
    expect(await listIn().reapOrphans()).toBe(1);
    await expect.poll(() => isRunning(pid)).toBe(false);
    expect(await listedChildren(folder)).toEqual([]);
    expect(warnings.join()).toContain(String(pid));
  });
  it("a process that reuses an orphan's pid is not ended", async () => {
    const pid = await startIdle();
    await writeList(pid, "12345", deadDaemon);
    expect(await listIn().reapOrphans()).toBe(0);
    expect(isRunning(pid)).toBe(true);
    expect(await listedChildren(folder)).toEqual([]);
  });
  it("a child of a running daemon is not ended and stays listed", async () => {
    const pid = await startIdle();
    await writeList(pid, await startTimeOf(pid), { pid: process.pid, startTime: await startTimeOf(process.pid) });
    expect(await listIn().reapOrphans()).toBe(0);
    expect(isRunning(pid)).toBe(true);
    expect(await listedChildren(folder)).toEqual([pid]);
  });
  it("a daemon whose pid was reused counts as ended", async () => {
    const pid = await startIdle();
    await writeList(pid, await startTimeOf(pid), { pid: process.pid, startTime: "12345" });
    expect(await listIn().reapOrphans()).toBe(1);
  });
  it("an invalid file is renamed, not overwritten", async () => {
    await writeFile(join(folder, "children.json"), "{ half");
    expect(await listIn().reapOrphans()).toBe(0);
    expect(await readFile(join(folder, "children.json.broken"), "utf8")).toBe("{ half");
    expect(warnings).toHaveLength(1);
  });
});
