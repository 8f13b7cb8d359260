import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { type Server, createServer } from "node:net";
import path from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type ClaimRecord, claimFile, newestClaim } from "../../src/ipc/claim-record.ts";
import { type Claim, claimHome } from "../../src/ipc/claim.ts";
import { connectDaemon } from "../../src/ipc/handshake.ts";
import { runFolder, tokenFile } from "../../src/ipc/run-folder.ts";
import { ensureToken } from "../../src/ipc/token.ts";
import { useBundled } from "../support/bundled.ts";
import { introducingServer, temporaryHome } from "../support/ipc-home.ts";

const program = useBundled(new URL("../support/claim-process.ts", import.meta.url));
const hello = { version: "1.0.0+a", purpose: "status", workingDirectory: "/", arguments: [], environment: {} } as const;

/** Generous, for a machine under load. */
const patience = { timeout: 10_000, interval: 10 };

let fixture: ReturnType<typeof temporaryHome>;
let claims: Claim[];
let children: ChildProcess[];
beforeEach(() => {
  fixture = temporaryHome();
  claims = [];
  children = [];
});
afterEach(async () => {
  for (const held of claims) held.release();
  await Promise.all(children.map((child) => ended(child)));
  fixture.remove();
});

function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    child.once("exit", () => resolve());
    child.kill("SIGKILL");
  });
}

async function claim(home = fixture.home, more: { isStandalone?: boolean; checkMs?: number; server?: Server } = {}) {
  const made = await claimHome({
    home,
    version: "1.0.0+a",
    isStandalone: false,
    server: introducingServer(home),
    checkMs: 60_000,
    ...more,
  });
  claims.push(made);
  return made;
}

/** Starts a process that claims the home; resolves with the line it prints. */
function claimElsewhere(): { readonly child: ChildProcess; readonly outcome: Promise<string> } {
  const child = spawn(process.execPath, [program(), fixture.home], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  children.push(child);
  const lines = createInterface({ input: child.stdout });
  return { child, outcome: new Promise((resolve) => lines.once("line", resolve)) };
}

function pretend(record: Partial<ClaimRecord>): ClaimRecord {
  ensureToken(fixture.home);
  const whole: ClaimRecord = {
    generation: 1,
    socket: `${runFolder(fixture.home)}/gone.sock`,
    pid: process.pid,
    version: "1.0.0+a",
    home: fixture.home,
    startedAt: new Date().toISOString(),
    isStandalone: false,
    deaths: [],
    failedStarts: [],
    ...record,
  };
  writeFileSync(claimFile(fixture.home, whole.generation), JSON.stringify(whole));
  return whole;
}

describe("claimHome", () => {
  it("lets exactly one of ten simultaneous processes hold the home", async () => {
    const outcomes = await Promise.all(Array.from({ length: 10 }, () => claimElsewhere().outcome));
    expect(outcomes.filter((line) => line.startsWith("held"))).toHaveLength(1);
    expect(outcomes.filter((line) => / is held by a daemon of version .* \(pid \d+/.test(line))).toHaveLength(9);
  }, 60_000);

  it("lets exactly one of ten take over from a daemon that was killed, and counts the death", async () => {
    const first = claimElsewhere();
    expect(await first.outcome).toBe("held 1");
    await ended(first.child);
    const outcomes = await Promise.all(Array.from({ length: 10 }, () => claimElsewhere().outcome));
    expect(outcomes.filter((line) => line.startsWith("held"))).toHaveLength(1);
    expect(newestClaim(fixture.home)?.deaths).toHaveLength(1);
  }, 60_000);

  it("names the holder, including a standalone server", async () => {
    const { record } = await claim(fixture.home, { isStandalone: true });
    await expect(claim()).rejects.toThrow(
      `${fixture.home} is held by a standalone server of version 1.0.0+a (pid ${process.pid}, ${record.socket})`,
    );
  });

  it("takes a home at once if the pid in its claim belongs to another process: pids are reused", async () => {
    const server = createServer();
    const socket = `${runFolder(fixture.home)}/old.sock`;
    ensureToken(fixture.home);
    await new Promise<void>((resolve) => server.listen(socket, resolve));
    // Node removes the file of a socket that it closes; a killed process leaves it. So does a plain file.
    await new Promise((resolve) => server.close(resolve));
    writeFileSync(socket, "");
    pretend({ socket, pid: process.ppid });
    const { record } = await claim();
    expect(record).toMatchObject({ generation: 2, deaths: [expect.any(String)] });
    expect(existsSync(socket)).toBe(false);
  });

  it("waits for a daemon whose socket was deleted, and takes over when it doesn't heal", async () => {
    pretend({});
    const started = Date.now();
    expect((await claim()).record.generation).toBe(2);
    expect(Date.now() - started).toBeGreaterThanOrEqual(2_900);
  }, 20_000);

  it("counts no death of a daemon that ended in order, and forgets deaths after a minute or when the clock was set back", async () => {
    const old = new Date(Date.now() - 61_000).toISOString();
    const recent = new Date(Date.now() - 30_000).toISOString();
    const future = new Date(Date.now() + 3_600_000).toISOString();
    pretend({ ended: true, deaths: [old, recent, future] });
    expect((await claim()).record.deaths).toEqual([recent]);
  });

  it("uses no number twice: a released claim is kept, older ones are removed", async () => {
    (await claim()).release();
    (await claim()).release();
    expect(newestClaim(fixture.home)).toMatchObject({ generation: 2, ended: true });
    expect(readdirSync(runFolder(fixture.home)).toSorted()).toEqual(["daemon.2.json", "token"]);
  });

  it("takes a home whose newest claim file contains no claim", async () => {
    ensureToken(fixture.home);
    writeFileSync(claimFile(fixture.home, 7), "{");
    expect((await claim()).record.generation).toBe(8);
  }, 20_000);

  it.skipIf(process.platform === "win32").each<[string, (file: string) => void]>([
    ["a FIFO", (file) => expect(spawnSync("mkfifo", [file]).status).toBe(0)],
    ["a folder", (file) => mkdirSync(file)],
    ["a link to nowhere", (file) => symlinkSync("/nowhere", file)],
  ])("moves %s with a claim's name aside at once, below and above a valid claim", async (_what, plant) => {
    ensureToken(fixture.home);
    plant(claimFile(fixture.home, 7));
    const started = performance.now();
    const held = await claim();
    expect(held.record.generation).toBe(8);
    plant(claimFile(fixture.home, 9));
    await expect(claim()).rejects.toThrow("is held by a daemon");
    expect(newestClaim(fixture.home)?.generation).toBe(8);
    held.release();
    expect((await claim()).record.generation).toBe(10);
    expect(performance.now() - started).toBeLessThan(2_900);
    const names = readdirSync(runFolder(fixture.home)).filter((name) => name.startsWith("daemon."));
    expect(names.toSorted()).toEqual([
      "daemon.10.json",
      expect.stringMatching(/^daemon\.7\.json\.[0-9a-f]+\.aside$/),
      expect.stringMatching(/^daemon\.9\.json\.[0-9a-f]+\.aside$/),
    ]);
  });

  it.each(["1000000001", "99999999999", "999999999999999", "9007199254740993", "9".repeat(200), "007"])(
    "is neither held up nor outnumbered by a file with the number %s",
    async (digits) => {
      ensureToken(fixture.home);
      const file = path.join(runFolder(fixture.home), `daemon.${digits}.json`);
      for (const content of ["", "{}", JSON.stringify({ ...pretend({ ended: true }), generation: Number(digits) })]) {
        writeFileSync(file, content);
        const held = await claim();
        expect(held.record.generation).toBeLessThan(10);
        writeFileSync(file, "{");
        await expect(claim()).rejects.toThrow("is held by a daemon");
        expect(newestClaim(fixture.home)?.pid).toBe(process.pid);
        held.release();
      }
    },
    20_000,
  );

  it("checks the claim below an unreadable one", async () => {
    const held = await claim();
    writeFileSync(claimFile(fixture.home, held.record.generation + 1), "{");
    await expect(claim()).rejects.toThrow("is held by a daemon");
  }, 20_000);

  it("delays a start after daemons that died before they answered, not after those that had", async () => {
    const recent = new Date(Date.now() - 1_000).toISOString();
    pretend({ deaths: [recent, recent], failedStarts: [recent] });
    const first = await claim();
    expect(first.record).toMatchObject({ deaths: { length: 3 }, failedStarts: { length: 2 } });
    first.markAnswered();
    expect(newestClaim(fixture.home)).toMatchObject({ generation: first.record.generation, hasAnswered: true });
    pretend({ generation: first.record.generation + 1, deaths: [recent], failedStarts: [recent], hasAnswered: true });
    first.release();
    expect((await claim()).record).toMatchObject({ deaths: { length: 2 }, failedStarts: [] });
  }, 20_000);

  it("keeps two homes apart", async () => {
    const [one, two] = await Promise.all([claim(), claim(`${fixture.home}-two`)]);
    expect(one.record.socket).not.toBe(two.record.socket);
    const { introduction, socket } = await connectDaemon(`${fixture.home}-two`, hello, { timeoutMs: 10_000 });
    expect(introduction.home).toBe(`${fixture.home}-two`);
    socket.destroy();
  });

  it("holds a home whose path is too long for a socket", async () => {
    const home = `${fixture.home}/${"long/".repeat(30)}`.slice(0, -1);
    const { record } = await claim(home);
    expect(Buffer.byteLength(record.socket)).toBeLessThanOrEqual(100);
    const { socket } = await connectDaemon(home, hello, { timeoutMs: 10_000 });
    socket.destroy();
  });
});

describe("a claim in use", () => {
  it.each([
    ["socket", (record: ClaimRecord) => record.socket],
    ["claim file", ({ home, generation }: ClaimRecord) => claimFile(home, generation)],
  ])("heals when its %s is deleted: the next generation, connections kept", async (_what, fileOf) => {
    const held = await claim(fixture.home, { checkMs: 20 });
    const before = held.record;
    const { socket } = await connectDaemon(fixture.home, hello, { timeoutMs: 10_000 });
    rmSync(fileOf(before));
    await expect.poll(() => held.record.generation, patience).toBe(before.generation + 1);
    expect(held.record.deaths).toEqual([]);
    const again = await connectDaemon(fixture.home, hello, { timeoutMs: 10_000 });
    expect(await again.welcome).toEqual({ ok: true });
    expect(socket.destroyed).toBe(false);
    again.socket.destroy();
    socket.destroy();
  });

  it("recreates a deleted token", async () => {
    await claim(fixture.home, { checkMs: 20 });
    rmSync(tokenFile(fixture.home));
    await expect.poll(() => existsSync(tokenFile(fixture.home)), patience).toBe(true);
    const { socket } = await connectDaemon(fixture.home, hello, { timeoutMs: 10_000 });
    socket.destroy();
  });

  it("is lost, and reports it once, when a newer daemon holds the home", async () => {
    const held = await claim(fixture.home, { checkMs: 20 });
    const said: string[] = [];
    held.onLost((reason, how) => void said.push(`${how}: ${reason}`));
    pretend({ generation: held.record.generation + 5, pid: 77 });
    await expect
      .poll(() => said, patience)
      .toEqual([`newer: ${fixture.home} has a newer daemon (pid 77, version 1.0.0+a)`]);
    held.release();
    expect(newestClaim(fixture.home)?.ended).toBeUndefined();
  });

  it("gets a number above a file that isn't a claim, and is kept", async () => {
    const held = await claim(fixture.home, { checkMs: 20 });
    const said: string[] = [];
    held.onLost((reason) => void said.push(reason));
    held.markAnswered();
    writeFileSync(claimFile(fixture.home, held.record.generation + 3), "{");
    await expect.poll(() => held.record.generation, patience).toBe(5);
    expect(newestClaim(fixture.home)).toMatchObject({ generation: 5, hasAnswered: true });
    expect(said).toEqual([]);
  });

  it("is lost when the home is gone", async () => {
    const held = await claim(fixture.home, { checkMs: 20 });
    const said: string[] = [];
    held.onLost((reason, how) => void said.push(`${how}: ${reason}`));
    rmSync(fixture.home, { recursive: true });
    await expect.poll(() => said, patience).toEqual([`gone: ${fixture.home} is gone`]);
    expect(existsSync(fixture.home)).toBe(false);
  });

  it.skipIf(process.platform === "win32")(
    "listens outside a home whose file system doesn't support sockets",
    async () => {
      const server = introducingServer(fixture.home);
      const listen = server.listen.bind(server);
      Object.assign(server, {
        listen(socket: string) {
          if (!socket.startsWith(fixture.home)) return listen(socket);
          process.nextTick(() => server.emit("error", new Error("listen EOPNOTSUPP")));
          return server;
        },
      });
      const { record } = await claim(fixture.home, { server });
      expect(record.socket).toMatch(/^\/tmp\/ollm-\d+\//);
      const { socket } = await connectDaemon(fixture.home, hello, { timeoutMs: 10_000 });
      socket.destroy();
    },
  );

  it("makes folder, token and claim accessible for its user only", async () => {
    const { record } = await claim();
    const modes = [
      fixture.home,
      runFolder(fixture.home),
      tokenFile(fixture.home),
      claimFile(fixture.home, 1),
      record.socket,
    ];
    expect(modes.map((file) => (statSync(file).mode & 0o077).toString(8))).toEqual(["0", "0", "0", "0", "0"]);
    expect(readFileSync(tokenFile(fixture.home), "utf8")).toMatch(/^[0-9a-f]{64}\n$/);
  });
});
