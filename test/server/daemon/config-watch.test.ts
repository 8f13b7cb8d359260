import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { createLog } from "../../../src/orchestrator/api/log.ts";
import { watchConfig } from "../../../src/server/daemon/lazy-orchestrator.ts";

let home: string;
let watching: ReturnType<typeof watchConfig> | undefined;
let looks = 0;
beforeEach(async () => {
  home = await mkdtemp(path.join(tmpdir(), "ollm-watch-"));
  looks = 0;
});
afterEach(async () => {
  watching?.stop();
  vi.useRealTimers();
  await rm(home, { recursive: true, force: true });
});

function start(file: string, isNeeded = () => false): void {
  watching = watchConfig({
    file,
    look: () => {
      looks += 1;
      return Promise.resolve();
    },
    isNeeded,
    log: createLog("silent", () => undefined),
  });
}

describe("a watched file", () => {
  it("is looked at once after several writes, also when another takes its place; its neighbours are not", async () => {
    const file = path.join(home, "config.yaml");
    start(file);
    await writeFile(path.join(home, "memory.journal"), "x");
    await writeFile(file, "a: 1");
    await writeFile(file, "a: 2");
    await expect.poll(() => looks).toBe(1);
    await writeFile(path.join(home, ".config.yaml.swp"), "a: 3");
    await rename(path.join(home, ".config.yaml.swp"), file);
    await expect.poll(() => looks).toBe(2);
    await rm(file);
    await expect.poll(() => looks).toBe(3);
  });

  it("is checked every two seconds while it is needed, where the system reports no changes", () => {
    vi.useFakeTimers();
    let isNeeded = false;
    start(path.join(home, "no such folder", "config.yaml"), () => isNeeded);
    vi.advanceTimersByTime(10_000);
    expect(looks).toBe(0);
    isNeeded = true;
    vi.advanceTimersByTime(4_000);
    expect(looks).toBe(2);
    watching?.stop();
    vi.advanceTimersByTime(10_000);
    expect(looks).toBe(2);
  });
});
