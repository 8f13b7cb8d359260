import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { useBundled } from "../../support/bundled.ts";
import { rememberedValue } from "../../support/remembered-value.ts";
import { callerIn, openMemories } from "./open-memories.ts";

const program = useBundled(new URL("../../support/remember-process.ts", import.meta.url));
const writes = 1_000;
const rounds = 12;

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "ollm-killed-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** Writes entries from `first` on, until it is killed after `killAfter` acknowledgements. Returns the acknowledged keys. */
async function rememberUntilKilled(first: number, killAfter: number): Promise<number[]> {
  const child = spawn(process.execPath, [program(), folder, String(first), String(writes - first)], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stderr = "";
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const exited = once(child, "exit");
  const acknowledged: number[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    acknowledged.push(Number(line));
    if (acknowledged.length === killAfter) child.kill("SIGKILL");
  }
  await exited;
  expect(stderr).toBe("");
  return acknowledged;
}

describe("a daemon that is killed while it saves entries", () => {
  it(
    `keeps every acknowledged entry, whole, over ${rounds} deaths in ${writes} writes`,
    { timeout: 120_000 },
    async () => {
      const acknowledged = new Set<number>();
      for (let round = 0; round < rounds; round += 1) {
        const first = acknowledged.size === 0 ? 0 : Math.max(...acknowledged) + 1;
        // The last process ends normally.
        const killAfter = round === rounds - 1 ? writes : 1 + Math.floor((Math.random() * 2 * writes) / rounds);
        for (const index of await rememberUntilKilled(first, killAfter)) acknowledged.add(index);

        const { memories, warnings } = openMemories(folder);
        const { entries } = await memories.recall(callerIn(), {});
        const values = new Map(entries.map(({ key, value }) => [key, value]));
        for (const index of acknowledged) expect(values.get(`entry ${index}`)).toBe(rememberedValue(index));
        // An entry that was being written may exist, too, but only completely.
        for (const [key, value] of values) expect(value).toBe(rememberedValue(Number(key.split(" ")[1])));
        expect(warnings).toEqual([]);
        expect(memories.problems()).toEqual([]);
        // Not closed, so that the next process finds the files as they are.
      }
      expect(acknowledged.size).toBeGreaterThan(writes - 8 * rounds);
      expect((await readdir(folder)).filter((name) => name.includes("broken"))).toEqual([]);
      expect(JSON.parse(await readFile(path.join(folder, "memory.json"), "utf8"))).toHaveProperty("sequence");
    },
  );
});
