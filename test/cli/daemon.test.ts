import { appendFile, mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  daemonLogs,
  daemonRestart,
  daemonStart,
  daemonStatus,
  daemonStop,
  daemonStopAsking,
  inOrder,
} from "../../src/cli/commands/daemon.ts";
import type { CommandIo } from "../../src/cli/terminal/io.ts";
import { type DaemonHome, makeDaemonHome } from "../support/daemon-home.ts";
import { isRunning } from "../support/is-running.ts";
import { connectStdio, startRaw } from "../support/stdio-client.ts";

let fixture: DaemonHome;
beforeEach(async () => {
  fixture = await makeDaemonHome();
});
afterEach(() => fixture.close());

/** What a command printed, and its exit code. */
async function run(
  command: (options: { json?: boolean; lines?: number }, io: CommandIo) => Promise<number>,
  options = {},
) {
  const io = fixture.io();
  return { code: await command(options, io), out: io.out.join(""), err: io.err.join("") };
}

/** As people read it: the date and time of day where they are. */
const localOf = (iso: string) => new Date(iso).toLocaleString("sv");

describe("ollm daemon", () => {
  it("starts a daemon once, shows it, and stops it", async () => {
    expect(await run(daemonStatus, { json: true })).toEqual({
      code: 0,
      out: `${JSON.stringify({ running: false, home: fixture.home })}\n`,
      err: "",
    });
    expect(await run(daemonStart)).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^started: pid \d+, version /),
    });
    const { pid, socket } = fixture.claim();
    expect((await run(daemonStart)).out).toContain(`already running: pid ${pid}, `);

    const client = await connectStdio("modern", fixture.environment, []);
    await client.callTool("smart_load", { model: "smollm2:135m" });
    const { out } = await run(daemonStatus, { json: true });
    expect(JSON.parse(out)).toMatchObject({
      running: true,
      pid,
      socket,
      version: fixture.claim().version,
      home: fixture.home,
      clients: [{ client: "test-modern" }],
      loaded: [{ name: "smollm2:135m", engine: "ollama" }],
    });
    expect((await run(daemonStatus)).out).toMatch(/^clients: test-modern$[^]*^loaded: {2}smollm2:135m \(ollama, /m);
    await client.close();

    expect(await run(daemonStop)).toEqual({ code: 0, out: `stopped: pid ${pid}\n`, err: "" });
    expect(isRunning(pid)).toBe(false);
    expect(await run(daemonStop)).toEqual({ code: 0, out: `no daemon runs for ${fixture.home}\n`, err: "" });
    expect((await run(daemonStatus)).out).toBe(`no daemon runs for ${fixture.home}\n`);
  });

  it("restarts under a client that stays connected", async () => {
    const client = await connectStdio("legacy", fixture.environment, []);
    await client.callTool("system_status", {});
    const { pid } = fixture.claim();
    expect(await run(daemonRestart)).toMatchObject({ code: 0, out: expect.stringContaining(`stopped: pid ${pid}\n`) });
    expect((await client.callTool("system_status", {})).isError).not.toBe(true);
    expect(fixture.claim()).toMatchObject({ deaths: [] });
    expect(fixture.claim().pid).not.toBe(pid);
    await client.close();
  });

  it("starts one where the one before was killed, and preloads no more when it dies again and again", async () => {
    await mkdir(fixture.home, { recursive: true });
    await writeFile(path.join(fixture.home, "config.yaml"), "model: { keepAlive: { preload: [smollm2:135m] } }\n");
    for (let deaths = 0; deaths < 3; deaths += 1) {
      const { code, err } = await run(daemonStart);
      expect([code, err]).toEqual([0, ""]);
      process.kill(fixture.claim().pid, "SIGKILL");
      await fixture.until("the end", () => !isRunning(fixture.claim().pid));
    }
    expect((await run(daemonStart)).err).toContain("died 3 times within a minute");
    expect(fixture.claim().deaths).toHaveLength(3);
    await fixture.until("the log", async () =>
      (await fixture.daemonLog()).includes("safe start, not loaded: smollm2:135m"),
    );
  });

  it("says why a home can't be used", async () => {
    await mkdir(fixture.home, { recursive: true });
    await writeFile(path.join(fixture.home, "run"), "a file in the way");
    await expect(run(daemonStart)).rejects.toThrow(`${fixture.home} can't be used (`);
  });

  it("knows stop and status as commands, and hides the daemon itself", async () => {
    await run(daemonStart);
    const stop = startRaw(fixture.environment, ["daemon", "stop"]);
    expect(await stop.exited).toBe(0);
    const help = startRaw(fixture.environment, ["daemon", "--help"]);
    let text = "";
    help.process.stdout?.on("data", (chunk: Buffer) => (text += chunk.toString()));
    expect(await help.exited).toBe(0);
    expect(text).toContain("restart");
    expect(text).not.toMatch(/^ {2}run\b/m);
  });
});

describe("ollm stop", () => {
  const stopping = async (options: { yes?: boolean; json?: boolean }, answer?: string) => {
    const asked: string[] = [];
    const io = fixture.io();
    const ask = (question: string) => Promise.resolve(void asked.push(question)).then(() => answer ?? "");
    const code = await daemonStopAsking(options, { ...io, isTerminal: answer !== undefined, ask });
    return { code, asked, out: io.out.join(""), err: io.err.join("") };
  };

  it("names what it interrupts and asks; without a terminal it wants --yes", async () => {
    await run(daemonStart);
    const { pid } = fixture.claim();
    const client = await connectStdio("modern", fixture.environment, []);
    await client.callTool("smart_load", { model: "smollm2:135m" });
    fixture.ollama.misbehave({ kind: "hang" });
    const question = client.callTool("route_and_generate", { prompt: "Why?", model: "smollm2:135m" });
    const lost = question.then(
      () => "answered",
      (error: unknown) => String(error),
    );
    await fixture.until("the request", async () => ((await fixture.status()).work ?? []).length > 0);

    await expect(stopping({})).rejects.toThrow(`not a terminal, so I can't ask: Stop the daemon (pid ${pid})?`);
    await expect(stopping({}, "n")).rejects.toThrow("declined: nothing was changed");
    expect(isRunning(pid)).toBe(true);

    const stopped = await stopping({}, "y");
    expect(stopped).toEqual({
      code: 0,
      asked: [`Stop the daemon (pid ${pid})? [y/N] `],
      out: `stopped: pid ${pid}\n`,
      err:
        "interrupts  answer by smollm2:135m\n" +
        "unloads     smollm2:135m\n" +
        "clients     test-modern (their next call starts a new daemon)\n",
    });
    expect(await lost).toContain("restarted during this call");
    await client.close();
  });

  it("doesn't ask with --yes, or when no daemon runs", async () => {
    expect(await stopping({})).toMatchObject({ code: 0, asked: [], out: `no daemon runs for ${fixture.home}\n` });
    await run(daemonStart);
    const { pid } = fixture.claim();
    const { code, asked, out } = await stopping({ yes: true, json: true });
    expect({ code, asked, out: JSON.parse(out) as unknown }).toEqual({
      code: 0,
      asked: [],
      out: { running: false, pid },
    });
  });
});

describe("ollm daemon logs", () => {
  it("shows the newest lines of daemon and calls in order of time, stacks with the line before them", async () => {
    await mkdir(path.join(fixture.home, "logs"), { recursive: true });
    const daemon =
      "2026-11-21T11:00:01.000Z ollm warn: first\n    at stack\n2026-11-21T11:00:03.000Z ollm warn: third\n";
    await writeFile(path.join(fixture.home, "logs", "daemon.log"), daemon);
    await writeFile(path.join(fixture.home, "logs", "calls.log"), "2026-11-21T11:00:02.000Z client tool - 3ms ok\n");
    expect((await run(daemonLogs)).out.split("\n").map((line) => line.slice(-6).trim())).toEqual([
      "first",
      "stack",
      "3ms ok",
      "third",
      "",
    ]);
    expect(await run(daemonLogs, { lines: 0 })).toMatchObject({ out: "", err: "" });
    expect((await run(daemonLogs, { lines: 1 })).out).toBe(`${localOf("2026-11-21T11:00:03Z")} ollm warn: third\n`);
  });

  it("follows what is added, whole lines, also after a rotation", async () => {
    const file = path.join(fixture.home, "logs", "calls.log");
    await mkdir(path.dirname(file), { recursive: true });
    await writeFile(file, "2026-11-21T11:00:01.000Z old\n");
    const io = fixture.io();
    const abort = new AbortController();
    const ended = daemonLogs({ follow: true, signal: abort.signal }, io);
    await fixture.until("the old line", () => io.out.join("").includes("old"));
    await appendFile(file, "2026-11-21T11:00:02.000Z ha");
    await appendFile(file, "lf\n");
    await fixture.until("the new line", () => io.out.join("").includes("half"));
    await writeFile(file, "rotated\n");
    await fixture.until("the line after the rotation", () => io.out.join("").includes("rotated"));
    abort.abort();
    expect(await ended).toBe(0);
    expect(io.out.join("")).toBe(
      `${localOf("2026-11-21T11:00:01Z")} old\n${localOf("2026-11-21T11:00:02Z")} half\nrotated\n`,
    );
  });

  it("says where it looked when there is nothing", async () => {
    const { code, out, err } = await run(daemonLogs);
    expect([code, out]).toEqual([0, ""]);
    expect(err).toContain(path.join(fixture.home, "logs", "calls.log"));
  });

  it("keeps the order of lines of one time", () => {
    expect(inOrder(["2026-11-21T11:00:01Z a\n2026-11-21T11:00:01Z b\n", ""])).toEqual([
      "2026-11-21T11:00:01Z a",
      "2026-11-21T11:00:01Z b",
    ]);
  });
});
