import { execFile } from "node:child_process";
import { readFile, readdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";
import { afterEach, expect, it } from "vitest";
import { makeDaemonHome, type DaemonHome } from "../support/daemon-home.ts";
import { builtCommand } from "../support/stdio-client.ts";

let daemon: DaemonHome;
afterEach(() => daemon.close());

function ollm(...words: readonly string[]): Promise<{ readonly stdout: string; readonly stderr: string }> {
  const { environment, folder } = daemon;
  const run = promisify(execFile)(process.execPath, [builtCommand, ...words], { env: environment, cwd: folder });
  run.child.stdin?.end();
  return run;
}

it("asks about each file while its daemon is killed twice, and writes each answer once", async () => {
  daemon = await makeDaemonHome({}, { models: [{ name: "small:1b", reply: "Yes." }], tokensPerSecond: 20 });
  const notes = Array.from({ length: 40 }, (_, at) => `note-${at}.txt`);
  for (const name of notes) await writeFile(path.join(daemon.folder, name), `This is ${name}.`);
  await ollm("ps");
  const asked = ollm("run", "--for-each", "note-*.txt", "Is it?", "-o", "all.jsonl");
  const jobs = path.join(daemon.home, "jobs");
  const answers = async (): Promise<number> => {
    const names = (await readdir(jobs).catch(() => [])).filter((name) => name.includes(".work."));
    const texts = await Promise.all(names.map((name) => readFile(path.join(jobs, name), "utf8").catch(() => "")));
    return texts.join("").split('"state":"done"').length - 1;
  };
  for (const least of [3, 10]) {
    await expect.poll(answers, { timeout: 20_000 }).toBeGreaterThanOrEqual(least);
    process.kill(daemon.claim().pid, "SIGKILL");
  }
  const { stderr } = await asked;
  expect(stderr).toMatch(/40 of 40 answered by small:1b/);
  const kept = (await readFile(path.join(daemon.folder, "all.jsonl"), "utf8")).trimEnd().split("\n");
  expect(kept.map((line) => (JSON.parse(line) as { item: string }).item).toSorted()).toEqual(notes.toSorted());
  const { stdout } = await ollm("run", "--for-each", "note-1.txt", "note-2.txt", "Is it?");
  expect(stdout).toBe("note-1.txt\nYes.\n\nnote-2.txt\nYes.\n");
});
