import { spawn, spawnSync } from "node:child_process";
import { cp, mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { type Socket, createServer } from "node:net";
import path from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { daemonStart } from "../../../src/cli/commands/daemon.ts";
import { claimHome } from "../../../src/ipc/claim.ts";
import { claimFile, newestClaim } from "../../../src/ipc/claim-record.ts";
import { runFolder, tokenFile } from "../../../src/ipc/run-folder.ts";
import { type DaemonHome, makeDaemonHome } from "../../support/daemon-home.ts";
import { type RawServer, builtCommand, initialize, startRaw } from "../../support/stdio-client.ts";

let fixture: DaemonHome;
let fronts: RawServer[];
beforeEach(async () => {
  fixture = await makeDaemonHome();
  fronts = [];
});
afterEach(async () => {
  for (const { process } of fronts) process.kill("SIGKILL");
  await Promise.all(fronts.map(({ exited }) => exited));
  await fixture.close();
});

function front(args: readonly string[] = [], more: Record<string, string> = {}): RawServer {
  const server = startRaw({ ...fixture.environment, ...more }, args);
  fronts.push(server);
  return server;
}

async function opened(args: readonly string[] = []): Promise<RawServer> {
  const server = front(args);
  server.send(initialize);
  expect(await server.next()).toMatchObject({ id: 0, result: { serverInfo: { name: "ollm-mcp" } } });
  server.send({ jsonrpc: "2.0", method: "notifications/initialized" });
  return server;
}

const request = (id: number, method: string, params = {}) => ({ jsonrpc: "2.0", id, method, params });
const generate = (id: number) =>
  request(id, "tools/call", { name: "route_and_generate", arguments: { prompt: "What colour is the sky?" } });

/** The answer to one request; skips notifications before it. */
async function answerTo(server: RawServer, id: number): Promise<Record<string, unknown>> {
  for (;;) {
    const message = await server.next();
    if (message["id"] === id) return message;
  }
}

describe("a front", () => {
  it("continues with a new daemon when the old one is killed during calls of three clients", async () => {
    await fixture.close();
    fixture = await makeDaemonHome(
      {},
      { tokensPerSecond: 0.5, models: [{ name: "smollm2:135m", reply: "one two three four" }] },
    );
    const servers = [await opened(), await opened(), await opened()];
    const { pid } = fixture.claim();
    for (const server of servers) server.send(generate(1));
    await fixture.until("calls reach the engine", () =>
      fixture.ollama.requests.some((seen) => JSON.stringify(seen).includes("/api/")),
    );
    process.kill(pid, "SIGKILL");
    for (const server of servers) {
      expect(await answerTo(server, 1)).toEqual({
        jsonrpc: "2.0",
        id: 1,
        error: {
          code: -32000,
          message:
            "the ollm daemon was restarted during this call; its answer is lost. Call again, or do the task yourself.",
          data: { retryable: true },
        },
      });
      // No new initialize: the client has noticed nothing.
      server.send(request(2, "tools/list"));
      expect(await answerTo(server, 2)).toMatchObject({ result: { tools: expect.any(Array) } });
    }
    expect(fixture.claim()).toMatchObject({ generation: 2, deaths: [expect.any(String)] });
    expect(fixture.claim().pid).not.toBe(pid);
  }, 60_000);

  it("delays the next start after a daemon that was killed before it answered, not after one that had", async () => {
    const server = await opened();
    for (const id of [1, 2]) {
      server.send(request(id, "tools/list"));
      expect(await answerTo(server, id)).toMatchObject({ result: { tools: expect.any(Array) } });
      expect(fixture.claim()).toMatchObject({ hasAnswered: true, deaths: { length: id - 1 }, failedStarts: [] });
      process.kill(fixture.claim().pid, "SIGKILL");
    }
    await fixture.until("the third holds the home", () => newestClaim(fixture.home)?.generation === 3);
    expect(fixture.claim().hasAnswered).toBeUndefined();
    process.kill(fixture.claim().pid, "SIGKILL");
    server.send(request(4, "tools/list"));
    expect(await answerTo(server, 4)).toMatchObject({ result: { tools: expect.any(Array) } });
    expect(fixture.claim()).toMatchObject({ deaths: { length: 3 }, failedStarts: { length: 1 } });
  }, 60_000);

  it("finds the next daemon at once even if its number is lower, after a false claim with a far number", async () => {
    await mkdir(runFolder(fixture.home), { recursive: true, mode: 0o700 });
    await writeFile(claimFile(fixture.home, 1_000_000_000), "{}");
    const server = await opened();
    server.send(request(1, "tools/list"));
    expect(await answerTo(server, 1)).toMatchObject({ result: { tools: expect.any(Array) } });
    expect(fixture.claim().generation).toBe(1_000_000_001);
    process.kill(fixture.claim().pid, "SIGKILL");
    const killedAt = performance.now();
    server.send(request(2, "tools/list"));
    expect(await answerTo(server, 2)).toMatchObject({ result: { tools: expect.any(Array) } });
    // Without this rule, the daemon is found only when the wait for a higher number times out, after 20 s.
    expect(performance.now() - killedAt).toBeLessThan(15_000);
  }, 60_000);

  it("answers with an error that names the log when no daemon can be started, and retries with the next request", async () => {
    // A program of its own, because the daemon runs from a copy that is the same as the program.
    const program = path.join(fixture.folder, "dist");
    await cp(path.dirname(builtCommand), program, { recursive: true });
    const first = startRaw(fixture.environment, [], path.join(program, "cli.mjs"));
    fronts.push(first);
    const entry = path.join(program, "commands.mjs");
    const whole = await readFile(entry, "utf8");
    await writeFile(entry, 'console.error("broken on purpose"); process.exit(3);');
    first.send(request(1, "tools/list"));
    expect(await answerTo(first, 1)).toMatchObject({
      error: {
        code: -32000,
        message: expect.stringMatching(
          /the daemon of .* could not be started: it ended with code 3.*Read .*daemon\.log for the reason/,
        ),
        data: { retryable: true },
      },
    });
    await writeFile(entry, whole);
    first.send(request(2, "tools/list"));
    expect(await answerTo(first, 2)).toMatchObject({ result: { tools: expect.any(Array) } });
  }, 60_000);

  it.each([
    ["stays silent: the request is answered after two seconds", undefined],
    ["answers garbage: the next daemon serves", "220 mail.example ESMTP\r\n"],
  ])("does not wait for a process on the daemon's socket that %s", async (_what, text) => {
    const open = new Set<Socket>();
    const server = createServer((socket) => {
      open.add(socket.on("error", () => undefined));
      if (text !== undefined) socket.write(text);
    });
    await mkdir(fixture.home, { mode: 0o700 });
    const version = "1.0.0+a";
    const claim = await claimHome({ home: fixture.home, version, isStandalone: false, server, checkMs: 60_000 });
    const file = claimFile(fixture.home, claim.record.generation);
    // The fixture ends the processes that claims name: not this one.
    const { pid } = spawnSync(process.execPath, ["-e", ""]);
    await writeFile(file, `${JSON.stringify({ ...claim.record, pid })}\n`);
    try {
      const client = front();
      const from = performance.now();
      client.send(initialize);
      const answer = await client.next();
      // The program has to start, too; it took 20 to 29 seconds.
      expect(performance.now() - from).toBeLessThan(8_000);
      if (text !== undefined) return expect(answer).toMatchObject({ id: 0, result: {} });
      expect(answer).toMatchObject({
        error: {
          message: expect.stringMatching(/pid \d+\) did not answer.*[Ee]nd process \d+ if that goes on/) as string,
        },
      });
      await expect(daemonStart({}, fixture.io())).rejects.toThrow("did not answer");
      expect(newestClaim(fixture.home)?.generation).toBe(claim.record.generation);
    } finally {
      await rm(file, { force: true });
      claim.release();
      for (const socket of open) socket.destroy();
    }
  });

  it("runs standalone, with a warning, if the home can't be written", async () => {
    const file = path.join(fixture.folder, "file");
    await writeFile(file, "");
    const server = front([], { OLLM_HOME: path.join(file, "home") });
    server.send(initialize);
    expect(await server.next()).toMatchObject({ id: 0, result: {} });
    server.send(request(1, "tools/call", { name: "system_status", arguments: {} }));
    expect(await answerTo(server, 1)).toMatchObject({ result: { structuredContent: expect.any(Object) } });
    expect(server.stderr()).toContain("running standalone");
    server.process.stdin?.end();
    expect(await server.exited).toBe(0);
  }, 30_000);

  it("runs standalone, with a warning, if the token can't be read", async () => {
    await mkdir(tokenFile(fixture.home), { recursive: true });
    const server = front();
    server.send(initialize);
    expect(await server.next()).toMatchObject({ id: 0, result: {} });
    expect(server.stderr()).toMatch(/running standalone[^]* until this process exits\. Set OLLM_HOME/);
  }, 30_000);

  // Windows can't delete a folder that is in use.
  it.skipIf(process.platform === "win32")(
    "serves a client whose folder was deleted",
    async () => {
      const deleted = path.join(fixture.folder, "deleted");
      await mkdir(deleted);
      const child = spawn("/bin/sh", ["-c", 'rmdir "$PWD" && exec "$0" "$1"', process.execPath, builtCommand], {
        cwd: deleted,
        env: fixture.environment,
        stdio: ["pipe", "pipe", "ignore"],
      });
      child.stdin.write(`${JSON.stringify(initialize)}\n`);
      for await (const line of createInterface({ input: child.stdout })) {
        expect(JSON.parse(line)).toMatchObject({ id: 0, result: { serverInfo: { name: "ollm-mcp" } } });
        child.stdin.end();
      }
      expect.assertions(1);
    },
    30_000,
  );

  it("survives lines that are not messages, and refuses one of 5 MiB by its id", async () => {
    const server = await opened();
    server.process.stdin?.write('garbage\n{"jsonrpc":"2.0","id":\n\0\n[]\n');
    server.process.stdin?.write(
      `{"jsonrpc":"2.0","id":5,"method":"x","params":{"a":"${"y".repeat(5 * 1024 * 1024)}"}}\n`,
    );
    expect(await answerTo(server, 5)).toMatchObject({
      error: { code: -32600, message: expect.stringContaining("limit of 4 MiB") },
    });
    server.send(request(6, "ping"));
    expect(await answerTo(server, 6)).toMatchObject({ result: {} });
  }, 30_000);

  it("answers a script that pipes its requests in and closes its end, then ends with 0", async () => {
    await opened();
    const server = front();
    server.send(request(1, "ping"));
    server.process.stdin?.end('{"jsonrpc":"2.0","id":2,"meth');
    expect(await server.next()).toMatchObject({ id: 1, result: {} });
    expect(await server.exited).toBe(0);
  }, 30_000);

  it.each([
    ["SIGTERM", 143],
    ["SIGINT", 130],
  ] as const)(
    "ends on %s with %i",
    async (signal, code) => {
      const server = await opened();
      server.process.kill(signal);
      expect(await server.exited).toBe(code);
    },
    30_000,
  );

  it("leaves no incomplete copies of the program", async () => {
    await opened();
    const names = await readdir(runFolder(fixture.home));
    expect(names.filter((name) => name.endsWith(".new"))).toEqual([]);
  }, 30_000);
});
