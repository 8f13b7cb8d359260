import { spawnSync } from "node:child_process";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type Claim, claimFile } from "../../../src/orchestrator/storage/replace-file.ts";

type ClaimOptions = NonNullable<Parameters<typeof claimFile>[1]>;

let folder = "";
let file = "";
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ollm-claim-"));
  file = join(folder, "new", "x.lock");
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const claim = (options: Partial<ClaimOptions> = {}): Promise<Claim> =>
  claimFile(file, { signal: new AbortController().signal, pollMs: 5, ...options });

/** The file of another process. */
async function foreign(holder: { pid?: number; host?: string }, ageSeconds = 0): Promise<void> {
  await (await claim()).release();
  await writeFile(file, JSON.stringify({ token: "01234567", pid: process.pid, host: hostname(), ...holder }));
  await age(ageSeconds);
}

async function age(seconds: number): Promise<void> {
  const then = Date.now() / 1_000 - seconds;
  await utimes(file, then, then);
}

/** Whether a claim is refused for as many looks as a stale one would need twice over. */
async function isWaitedFor(atLook: (look: number) => Promise<void> = () => Promise.resolve()): Promise<boolean> {
  const giveUp = new AbortController();
  let looks = 0;
  const claimed = claim({
    signal: giveUp.signal,
    async onWait() {
      looks += 1;
      await atLook(looks);
      if (looks === 20) giveUp.abort();
    },
  });
  return claimed.then(
    async (held) => {
      await held.release();
      return false;
    },
    () => true,
  );
}

test("of many attempts one gets the claim, the others wait for its release, and no file is left", async () => {
  let holders = 0;
  const most: number[] = [];
  const work = async (): Promise<void> => {
    const held = await claim();
    holders += 1;
    most.push(holders);
    await new Promise((resolve) => setImmediate(resolve));
    holders -= 1;
    await held.release();
    await held.release();
  };
  await Promise.all(Array.from({ length: 12 }, work));
  expect(most).toEqual(Array.from({ length: 12 }, () => 1));
  expect(await readdir(join(folder, "new"))).toEqual([]);
});

test("an aborted wait ends at once", async () => {
  await foreign({});
  const caller = new AbortController();
  await expect(claim({ signal: caller.signal, pollMs: 600_000, onWait: () => caller.abort() })).rejects.toMatchObject({
    name: "AbortError",
  });
});

describe("the claim of another process", () => {
  test("that runs is waited for", async () => {
    await foreign({});
    expect(await isWaitedFor()).toBe(true);
  });

  test("that has ended is removed at the first look", async () => {
    await foreign({ pid: spawnSync(process.execPath, ["-e", ""]).pid });
    await (await claim({ pollMs: 600_000 })).release();
    expect(await readdir(join(folder, "new"))).toEqual([]);
  });

  test("whose process id is in use by another process is removed when it is not touched", async () => {
    await foreign({}, 60);
    expect(await isWaitedFor()).toBe(false);
  });

  test("on another machine is waited for while it is touched, whatever its process id means here", async () => {
    const { pid } = spawnSync(process.execPath, ["-e", ""]);
    await foreign({ pid, host: `not-${hostname()}` });
    expect(await isWaitedFor()).toBe(true);
    await age(60);
    expect(await isWaitedFor()).toBe(false);
  });

  test("that was suspended with this one is not removed before it could touch its file", async () => {
    await foreign({}, 3_600);
    expect(await isWaitedFor((look) => (look === 5 ? age(0) : Promise.resolve()))).toBe(true);
  });

  test("that ended before it wrote its name is removed when it is old", async () => {
    await foreign({});
    await writeFile(file, "");
    expect(await isWaitedFor()).toBe(true);
    await age(60);
    expect(await isWaitedFor()).toBe(false);
  });
});

test("of many that find an abandoned claim one gets it", async () => {
  await foreign({ pid: spawnSync(process.execPath, ["-e", ""]).pid });
  const giveUp = new AbortController();
  let won = 0;
  const attempts = Array.from({ length: 12 }, () =>
    claim({ signal: AbortSignal.any([giveUp.signal]) }).then(
      () => (won += 1),
      () => undefined,
    ),
  );
  await Promise.race(attempts);
  await isWaitedFor();
  giveUp.abort();
  await Promise.all(attempts);
  expect(won).toBe(1);
});

test("the claim of a process that removed an abandoned one first is kept, at whichever step it came", async () => {
  const { pid } = spawnSync(process.execPath, ["-e", ""]);
  let replaced = 0;
  for (let steps = 0; steps < 60; steps += 1) {
    await foreign({ pid });
    const giveUp = new AbortController();
    const claimed = claim({ signal: giveUp.signal, onWait: () => giveUp.abort() }).catch(() => undefined);
    for (let step = 0; step < steps % 20; step += 1) await stat(folder);
    try {
      renameSync(file, `${file}.old`);
      const isAbandoned = readFileSync(`${file}.old`, "utf8").includes(`"pid":${pid}`);
      const successor = { token: "89abcdef", pid: process.pid, host: hostname() };
      if (isAbandoned) writeFileSync(file, JSON.stringify(successor), { flag: "wx" });
      else renameSync(`${file}.old`, file);
      replaced += isAbandoned ? 1 : 0;
      const held = await claimed;
      if (isAbandoned)
        expect([held, await readFile(file, "utf8").catch(() => "")]).toEqual([undefined, JSON.stringify(successor)]);
      await held?.release();
    } catch (error) {
      // The other process was faster.
      if (!/ENOENT|EEXIST/.test((error as NodeJS.ErrnoException).code ?? "")) throw error;
      await (await claimed)?.release();
    }
    await rm(file, { force: true });
  }
  expect(replaced).toBeGreaterThan(0);
});

test("a holder whose claim was taken over learns it, and does not remove its successor's", async () => {
  const old = await claim();
  expect(old.isLost()).toBe(false);
  await rm(file);
  const successor = await claim();
  await vi.waitFor(() => expect(old.isLost()).toBe(true), { timeout: 5_000, interval: 20 });
  await old.release();
  expect(await readFile(file, "utf8")).toContain(successor.token);
  await successor.release();
});

test("a folder that is a file is an error instead of a wait", async () => {
  await writeFile(join(folder, "new"), "");
  await expect(claim()).rejects.toMatchObject({ code: expect.stringMatching(/EEXIST|ENOTDIR/) });
});
