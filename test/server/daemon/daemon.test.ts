import { existsSync } from "node:fs";
import { cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { claimGenerations } from "../../../src/ipc/claim-record.ts";
import { isRunning } from "../../support/is-running.ts";
import { newestClaim } from "../../../src/ipc/claim-record.ts";
import { makeDaemonHome, type DaemonHome } from "../../support/daemon-home.ts";
import {
  builtCommand,
  connectStdio,
  initialize,
  startRaw,
  type RawServer,
  type StdioClient,
} from "../../support/stdio-client.ts";

let fixture: DaemonHome;
const clients: StdioClient[] = [];
const raws: RawServer[] = [];

beforeEach(async () => {
  fixture = await makeDaemonHome();
});
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close().catch(() => undefined)));
  for (const server of raws.splice(0)) server.process.kill("SIGKILL");
  await fixture.close();
});

async function front(args: readonly string[] = [], more: Record<string, string> = {}): Promise<StdioClient> {
  const client = await connectStdio("legacy", { ...fixture.environment, ...more }, args);
  clients.push(client);
  return client;
}

function raw(args: readonly string[] = [], more: Record<string, string> = {}): RawServer {
  const server = startRaw({ ...fixture.environment, ...more }, args);
  raws.push(server);
  return server;
}

/** The built program under another version. */
async function copyAs(from: string, to: string): Promise<string> {
  const source = path.dirname(builtCommand);
  const copy = path.join(fixture.folder, "newer");
  await cp(source, copy, { recursive: true });
  for (const name of await readdir(copy, { recursive: true })) {
    const file = path.join(copy, name);
    if (!name.endsWith(".mjs")) continue;
    const text = await readFile(file, "utf8");
    if (text.includes(from)) await writeFile(file, text.replaceAll(from, to));
  }
  return path.join(copy, path.basename(builtCommand));
}

const textOf = (answer: { structuredContent?: unknown }) => (answer.structuredContent as { text?: string }).text;
const generate = { prompt: "What colour is the sky?" };

describe("fronts of one home", () => {
  it("are served by one daemon, which outlives them", async () => {
    const [one, two] = [await front(), await front()];
    expect(textOf(await one.callTool("route_and_generate", generate))).toBe("The sky is blue.");
    expect(textOf(await two.callTool("route_and_generate", generate))).toBe("The sky is blue.");
    const { pid, clients: seen, loaded, isStandalone } = await fixture.status();
    expect([pid, isStandalone]).toEqual([fixture.claim().pid, false]);
    expect(seen.map(({ client }) => client)).toEqual(["test-legacy", "test-legacy"]);
    expect(loaded.map(({ name }) => name)).toEqual(["smollm2:135m"]);
    await Promise.all([one.close(), two.close()]);
    await fixture.until("no clients", async () => (await fixture.status()).clients.length === 0);
    expect((await fixture.status()).pid).toBe(pid);
  });

  it("start exactly one daemon, ten at the same instant", async () => {
    const all = await Promise.all(Array.from({ length: 10 }, () => front()));
    const answers = await Promise.all(all.map((client) => client.callTool("system_status", {})));
    expect(answers.every(({ isError }) => isError !== true)).toBe(true);
    expect((await fixture.status()).clients).toHaveLength(10);
    const holds = (await fixture.daemonLog()).match(/ holds .*pid \d+/g) ?? [];
    expect(holds).toHaveLength(1);
  });

  it("have each their own settings and roots; what is the daemon's is ignored and reported to who brought it", async () => {
    const notes = path.join(fixture.folder, "notes");
    await mkdir(notes);
    await writeFile(path.join(notes, "a.txt"), "Green.");
    const first = await front();
    const other = await front(["--root", notes], { OLLM_PRIVACY: "allow_remote", OLLM_HOST: "http://127.0.0.1:1" });
    const status = await other.callTool("system_status", {});
    expect(status.structuredContent).toMatchObject({
      privacy: "allow_remote",
      warnings: expect.arrayContaining([expect.stringContaining("OLLM_HOST is ignored: providers.ollama.host is")]),
    });
    expect((await first.callTool("system_status", {})).structuredContent).toMatchObject({ privacy: "local_only" });
    expect(JSON.stringify(await first.callTool("system_status", {}))).not.toContain("is ignored");
    const read = { ...generate, files: [path.join(notes, "a.txt")] };
    expect((await other.callTool("route_and_generate", read)).isError).not.toBe(true);
    expect((await first.callTool("route_and_generate", read)).isError).toBe(true);
  });

  it.each([
    ["an empty text", ["--root", ""], "/", "an unset variable?"],
    ["blanks", ["--root", "  "], undefined, "an unset variable?"],
    ["an empty entry of the variable", [], undefined, "an unset variable?"],
    ["the working directory where that is the whole disk", ["--root", "."], "/", "the whole disk"],
  ])("open nothing with %s for a root: calls say what is wrong", async (_what, args, workingDirectory, message) => {
    const more = args.length === 0 ? { OLLM_FILES_ROOTS: `${path.delimiter}/none` } : {};
    const client = await connectStdio("legacy", { ...fixture.environment, ...more }, args, undefined, workingDirectory);
    clients.push(client);
    const answer = await client.callTool("route_and_generate", { ...generate, files: ["/etc/passwd"] });
    expect(answer.isError).toBe(true);
    expect(JSON.stringify(answer.content)).toContain(message);
  });

  it("report on stderr what is ignored, and a root that is not a folder, but are served", async () => {
    const told = raw([], { OLLM_QUEUE_MAX_WAITING: "3" });
    told.send(initialize);
    await told.next();
    await front();
    const second = raw([], { OLLM_QUEUE_MAX_WAITING: "4" });
    second.send(initialize);
    await second.next();
    await fixture.until("the notice", () => second.stderr().includes("OLLM_QUEUE_MAX_WAITING is ignored"));
    const wrong = raw(["--root", "none-of-that-name"]);
    wrong.send(initialize);
    expect(await wrong.next()).toMatchObject({ id: 0, result: { serverInfo: { name: "ollm-mcp" } } });
    await fixture.until("the notice", () => /the root .*none-of-that-name is not a folder/.test(wrong.stderr()));
  });

  it("see an invalid setting in config.yaml in each call, and the daemon uses it once corrected", async () => {
    await mkdir(fixture.home, { recursive: true });
    const config = path.join(fixture.home, "config.yaml");
    await writeFile(config, "privacy: perhaps\n");
    const client = await front();
    const wrong = await client.callTool("system_status", {});
    expect(JSON.stringify(wrong.content)).toContain("perhaps");
    await writeFile(config, "privacy: allow_remote\n");
    await fixture.until("the mended setting", async () => {
      const answer = await client.callTool("system_status", {});
      return (answer.structuredContent as { privacy?: string } | undefined)?.privacy === "allow_remote";
    });
  });
});

describe("a front that starts its daemon", () => {
  it("determines the daemon's settings, flags before variables; later callers are told that theirs are ignored", async () => {
    const wrong = { OLLM_HOST: "http://127.0.0.1:1", OLLM_PROVIDERS_OLLAMA_HOST: "http://127.0.0.1:2" };
    const first = await front(["--host", fixture.ollama.url], wrong);
    expect(textOf(await first.callTool("route_and_generate", generate))).toBe("The sky is blue.");
    expect((await fixture.status()).fixedSettings?.["providers.ollama.host"]).toBe("--host");
    const second = raw(["--host=http://127.0.0.1:3"]);
    second.send(initialize);
    await second.next();
    await fixture.until("the notice", () => second.stderr().includes("--host is ignored: providers.ollama.host is"));
    const third = raw(["--host", fixture.ollama.url]);
    third.send(initialize);
    await third.next();
    expect(third.stderr()).not.toContain("ignored");
  });
});

describe("what a daemon was started with, where it is wrong", () => {
  it("is reported with a next step, and the daemon is replaced", async () => {
    const wrong = await front([], { OLLM_HOST: "ftp://box" });
    const { pid } = fixture.claim();
    const told = JSON.stringify(await wrong.callTool("system_status", {}));
    expect(told).toContain("OLLM_HOST: providers.ollama.host");
    expect(told).toContain("ollm daemon restart");
    await wrong.close();
    await fixture.until("its end", () => !isRunning(pid));
    const right = await front();
    expect(textOf(await right.callTool("route_and_generate", generate))).toBe("The sky is blue.");
  });

  it("affects no other caller when it is one caller's own setting", async () => {
    const wrong = await front([], { OLLM_TEMPERATURE: "warm" });
    expect(JSON.stringify(await wrong.callTool("system_status", {}))).toContain(
      "OLLM_TEMPERATURE: options.temperature",
    );
    const right = await front();
    expect(textOf(await right.callTool("route_and_generate", generate))).toBe("The sky is blue.");
  });
});

describe("a front", () => {
  it("continues with the next daemon when its daemon is killed in the middle of three calls", async () => {
    fixture.ollama.misbehave({ kind: "hang", afterLines: 1, times: 3 });
    const all = [await front(), await front(), await front()];
    const calls = all.map((client) => client.callTool("route_and_generate", generate));
    await fixture.until("calls under way", async () =>
      fixture.ollama.requests.some(({ path: at }) => at === "/api/chat"),
    );
    const { pid } = fixture.claim();
    process.kill(pid, "SIGKILL");
    for (const answer of await Promise.allSettled(calls)) {
      if (answer.status === "rejected") expect(String(answer.reason)).toMatch(/again|retr/i);
      else expect(JSON.stringify(answer.value)).toMatch(/again|The sky is blue/i);
    }
    const after = await Promise.all(all.map((client) => client.callTool("system_status", {})));
    expect(after.every(({ isError }) => isError !== true)).toBe(true);
    expect(fixture.claim().pid).not.toBe(pid);
    expect(fixture.claim().deaths).toHaveLength(1);
  });

  it("finds its daemon again after the socket's file was deleted", async () => {
    const first = await front();
    const { socket, pid } = fixture.claim();
    await rm(socket);
    // For a moment there is no claim.
    const isElsewhere = (found = newestClaim(fixture.home)): boolean =>
      found !== undefined && found.socket !== socket && existsSync(found.socket);
    await fixture.until("another socket", () => isElsewhere());
    const second = await front();
    for (const client of [first, second]) {
      expect((await client.callTool("system_status", {})).isError).not.toBe(true);
    }
    expect((await fixture.status()).pid).toBe(pid);
  });

  it("takes over from a claim that a dead daemon left behind, whatever process has its pid now", async () => {
    await front();
    const { pid, generation } = fixture.claim();
    process.kill(pid, "SIGKILL");
    await fixture.until("the end", () => !isRunning(pid));
    const late = await front();
    expect((await late.callTool("system_status", {})).isError).not.toBe(true);
    expect(fixture.claim().generation).toBeGreaterThan(generation);
    expect(claimGenerations(fixture.home)).toEqual([fixture.claim().generation]);
  });
});

describe("a daemon", () => {
  it("ends when it was idle for daemon.idleTimeout, with its claim ended and its models unloaded", async () => {
    fixture.environment["OLLM_DAEMON_IDLE_TIMEOUT"] = "1";
    const client = await front();
    await client.callTool("route_and_generate", generate);
    const { pid } = fixture.claim();
    expect((await fixture.status()).loaded).toHaveLength(1);
    await client.close();
    await fixture.until("the end", () => !isRunning(pid));
    expect(fixture.claim()).toMatchObject({ pid, ended: true });
    expect(existsSync(fixture.claim().socket)).toBe(false);
    const unloads = fixture.ollama.requests.filter(({ body }) => JSON.stringify(body ?? "").includes('"keep_alive":0'));
    expect(unloads).toHaveLength(1);
  });

  it("stays while a client is there, however idle", async () => {
    fixture.environment["OLLM_DAEMON_IDLE_TIMEOUT"] = "1";
    const client = await front();
    const { pid } = fixture.claim();
    const startedAt = Date.now();
    await fixture.until("three times the idle timeout", () => Date.now() - startedAt > 3_000);
    expect((await client.callTool("system_status", {})).isError).not.toBe(true);
    expect(fixture.claim().pid).toBe(pid);
  });

  it("goes within three seconds of being stopped in the middle of a generation, and lets go of the engine", async () => {
    fixture.ollama.misbehave({ kind: "hang", afterLines: 1 });
    const client = await front();
    const call = client.callTool("route_and_generate", generate).catch((error: unknown) => error);
    const request = await fixture.ollama.request("/api/chat");
    const { pid } = fixture.claim();
    const startMs = performance.now();
    expect(await fixture.ask("stop")).toEqual({ ok: true });
    await fixture.until("the end", () => !isRunning(pid));
    expect(performance.now() - startMs).toBeLessThan(3_000);
    await request.closed;
    expect(request.wasCutByClient).toBe(true);
    expect(JSON.stringify(await call) + String(await call)).toMatch(/again|retr/i);
    expect((await client.callTool("system_status", {})).isError).not.toBe(true);
    expect(fixture.claim().deaths).toEqual([]);
  });

  it("hands over at the first moment without work: what runs is answered by it, what comes by the next", async () => {
    const client = await front();
    await client.callTool("system_status", {});
    const { pid } = fixture.claim();
    fixture.ollama.misbehave({ kind: "slow", delayMs: 100 });
    const running = client.callTool("route_and_generate", generate);
    await fixture.ollama.request("/api/chat");
    expect(await fixture.ask("handover")).toEqual({ ok: true });
    expect(textOf(await running)).toBe("The sky is blue.");
    await fixture.until("the end", () => !isRunning(pid));
    expect((await client.callTool("system_status", {})).isError).not.toBe(true);
    expect(fixture.claim()).toMatchObject({ deaths: [], generation: 2 });
  });

  it("hands over under load, and no client sees an error: what it has not read, the next one answers", async () => {
    fixture.ollama.misbehave({ kind: "slow", delayMs: 5 });
    const all = await Promise.all(Array.from({ length: 4 }, () => front()));
    await all[0]?.callTool("system_status", {});
    const seen = new Set<number>();
    const over = new AbortController();
    const busy = all.map(async (client) => {
      const texts: unknown[] = [];
      while (!over.signal.aborted) {
        texts.push(textOf(await client.callTool("route_and_generate", generate)));
        seen.add(fixture.claim().generation);
      }
      return texts;
    });
    for (let generation = 2; generation <= 3; generation += 1) {
      expect(await fixture.ask("handover")).toEqual({ ok: true });
      await fixture.until("the end", () => fixture.claim().ended === true);
      // Fronts that have not asked for it wait some seconds for the one that did to start the next.
      await (await front()).close();
      await fixture.until("the next daemon's answers", () => seen.has(generation));
    }
    over.abort();
    for (const texts of await Promise.all(busy)) expect(new Set(texts)).toEqual(new Set(["The sky is blue."]));
    expect(fixture.claim().deaths).toEqual([]);
  });

  it("of an older version hands over to a newer front, and serves its old ones until then", async () => {
    const old = await front();
    await old.callTool("system_status", {});
    const before = fixture.claim();
    const [, version = "", hash = ""] = /^(\d+\.\d+\.\d+)\+(\w+)$/.exec(before.version) ?? [];
    const newer = await copyAs(`${version}+${hash}`, `9.0.0+${hash}`);
    const client = await connectStdio("legacy", fixture.environment, [], newer);
    clients.push(client);
    await fixture.until("the newer daemon", () => fixture.claim().version === `9.0.0+${hash}`);
    for (const served of [old, client]) {
      expect((await served.callTool("system_status", {})).isError).not.toBe(true);
    }
    await fixture.until("both clients", async () => (await fixture.status()).clients.length === 2);
    expect(fixture.claim()).toMatchObject({ version: `9.0.0+${hash}`, deaths: [] });
    expect(isRunning(before.pid)).toBe(false);
  });

  it("refuses a purpose that it doesn't know, with what to do", async () => {
    await front();
    const welcome = await fixture.ask("nonsense" as "status");
    expect(welcome).toMatchObject({ ok: false, next: [{ step: "restartDaemon" }] });
  });

  it("writes a line per call, and nothing of what was asked or answered", async () => {
    const client = await front();
    await client.callTool("route_and_generate", generate);
    await client.callTool("pull_model", { model: "" });
    await fixture.until("two lines", async () => (await fixture.callLog()).split("\n").length === 3);
    const [first, second] = (await fixture.callLog()).split("\n");
    expect(first).toMatch(/^\S+Z test-legacy route_and_generate smollm2:135m \d+ms ok$/);
    expect(second).toMatch(/^\S+Z test-legacy pull_model - \d+ms error InvalidRequest$/);
    expect(await fixture.callLog()).not.toContain("sky");
    expect(await fixture.daemonLog()).not.toContain("sky");
  });

  it("writes what was asked and answered where log.prompts asks for it", async () => {
    const client = await front([], { OLLM_LOG_PROMPTS: "true" });
    await client.callTool("route_and_generate", generate);
    await fixture.until("a line", async () => (await fixture.callLog()).includes("\n"));
    const [, trace] = / trace=(\w{32}) prompt="W.*\?" answer="T.*\."\n$/.exec(await fixture.callLog()) ?? [];
    expect(JSON.stringify(await client.readResource("ollm://requests"))).toContain(`\\"trace\\":\\"${trace}\\"`);
  });
});

it("a pull that was running when its daemon was stopped continues with the next daemon", async () => {
  const pulling = await makeDaemonHome(
    {},
    { registry: [{ name: "qwen3:4b", sizeBytes: 40_000 }], pullBytesPerSecond: 10_000 },
  );
  try {
    const client = await connectStdio("legacy", pulling.environment, []);
    clients.push(client);
    const started = new Promise<void>((resolve) => {
      client.callTool("pull_model", { model: "qwen3:4b" }, () => resolve()).catch(() => undefined);
    });
    await started;
    expect(await pulling.ask("stop")).toEqual({ ok: true });
    await pulling.until("the end", () => pulling.claim().ended === true);
    // The front has found the next daemon, which nobody asked for the model.
    expect((await client.callTool("system_status", {})).isError).not.toBe(true);
    const ends = () =>
      pulling.ollama.requests.filter(({ path: at }) => at === "/api/pull").map((pull) => pull.wasCutByClient);
    await pulling.until("the rest of the model", () => ends().at(-1) === false);
    expect(ends()).toEqual([true, false]);
    expect(pulling.claim().generation).toBe(2);
  } finally {
    await pulling.close();
  }
});

it("two homes at once don't disturb each other", async () => {
  const other = await makeDaemonHome();
  try {
    const here = await front();
    const there = await connectStdio("legacy", other.environment, []);
    clients.push(there);
    await there.callTool("route_and_generate", generate);
    expect((await fixture.status()).home).toBe(fixture.home);
    expect((await other.status()).home).toBe(other.home);
    expect(await other.ask("stop")).toEqual({ ok: true });
    await other.until("the end", () => other.claim().ended === true);
    expect((await here.callTool("system_status", {})).isError).not.toBe(true);
    expect((await fixture.status()).clients).toHaveLength(1);
  } finally {
    await other.close();
  }
});
