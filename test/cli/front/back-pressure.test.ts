import type { Socket } from "node:net";
import { PassThrough, Writable } from "node:stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { runFront, type FrontOptions } from "../../../src/cli/front/front.ts";
import { rescue } from "../../../src/cli/front/rescue.ts";
import { claimHome, type Claim } from "../../../src/ipc/claim.ts";
import type { Welcome } from "../../../src/ipc/protocol.ts";
import { introducingServer, temporaryHome } from "../../support/ipc-home.ts";

/** Generous, for a machine under load. */
const patience = { timeout: 10_000, interval: 10 };

let fixture: ReturnType<typeof temporaryHome>;
let claim: Claim;
let daemons: Socket[];
let purposes: string[];

async function hold(welcomed: Welcome = { ok: true }): Promise<void> {
  const server = introducingServer(fixture.home, ({ hello, welcome }, socket) => {
    purposes.push(hello.purpose);
    daemons.push(socket);
    welcome(welcomed);
  });
  claim = await claimHome({ home: fixture.home, version: "1.0.0+a", isStandalone: false, server, checkMs: 60_000 });
}

beforeEach(() => {
  fixture = temporaryHome();
  daemons = [];
  purposes = [];
});
afterEach(() => {
  claim.release();
  for (const socket of daemons) socket.destroy();
  fixture.remove();
});

/** A front in this process, between streams of the test. It may start nothing. */
async function start(more: Partial<FrontOptions> = {}) {
  const input = new PassThrough();
  const said: string[] = [];
  const written: Buffer[] = [];
  let release: (() => void) | undefined;
  let isReading = false;
  const output = new Writable({
    highWaterMark: 16_384,
    write(chunk: Buffer, _encoding, done) {
      written.push(chunk);
      if (isReading) done();
      else release = done;
    },
  });
  let exitCode: number | undefined;
  await runFront({
    home: fixture.home,
    program: { folder: "/nowhere", version: "1.0.0+a" },
    node: process.execPath,
    environment: { OLLM_A: "b", SECRET: "c" },
    words: [],
    workingDirectory: "/",
    say: (text) => void said.push(text),
    loadRescue: () => Promise.reject(new Error("nothing may be started")),
    serveStandalone: () => Promise.reject(new Error("a daemon is there")),
    openStreams: () => ({ input, output }),
    exit: (code) => (exitCode = code),
    ...more,
  });
  return {
    input,
    output,
    said,
    exitCode: () => exitCode,
    text: () => Buffer.concat(written).toString(),
    writtenBytes: () => written.reduce((sum, { length }) => sum + length, 0),
    read(): void {
      isReading = true;
      release?.();
    },
  };
}

const answer = (id: number, filler: string) => `${JSON.stringify({ jsonrpc: "2.0", id, result: { filler } })}\n`;

describe("a front of the shell", () => {
  it("gives up a daemon that accepted it and answers nothing, when the shell ends", async () => {
    await hold();
    const shell = new AbortController();
    const { exitCode } = await start({ isForShell: true, signal: shell.signal });
    await expect.poll(() => daemons, patience).toHaveLength(1);
    const closed = new Promise((resolve) => daemons[0]?.once("close", resolve).resume());
    shell.abort();
    await closed;
    expect(exitCode()).toBe(130);
  });
});

describe("a front between a fast and a slow side", () => {
  it("leaves answers that its client doesn't read in the daemon", async () => {
    await hold();
    const { output, read, writtenBytes } = await start();
    await expect.poll(() => daemons, patience).toHaveLength(1);
    const filler = "x".repeat(10_000);
    for (let id = 0; id < 3_000; id++) daemons[0]?.write(answer(id, filler));
    await expect.poll(() => output.writableNeedDrain, patience).toBe(true);
    // What the kernel's buffers and one read hold, of 30 MB.
    expect(output.writableLength).toBeLessThan(1024 * 1024);
    expect(daemons[0]?.writableLength).toBeGreaterThan(20 * 1024 * 1024);
    read();
    await expect
      .poll(writtenBytes, patience)
      .toBe(Array.from({ length: 3_000 }, (_, id) => answer(id, filler).length).reduce((sum, length) => sum + length));
  }, 20_000);

  it("reads no more from its client than its daemon accepts", async () => {
    await hold();
    const { input } = await start();
    await expect.poll(() => daemons, patience).toHaveLength(1);
    const line = `${JSON.stringify({ jsonrpc: "2.0", method: "notifications/x", params: { filler: "x".repeat(100_000) } })}\n`;
    let sent = 0;
    while (sent < 200 && input.write(line)) {
      sent += 1;
      await new Promise((resolve) => setImmediate(resolve));
    }
    await expect.poll(() => input.isPaused(), patience).toBe(true);
    let bytes = 0;
    daemons[0]?.on("data", (data) => (bytes += data.length));
    await expect.poll(() => input.isPaused(), patience).toBe(false);
    await expect.poll(() => bytes, patience).toBeGreaterThanOrEqual(sent * line.length);
  }, 20_000);
});

describe("a front whose script has closed its end, and reads slowly", () => {
  /** Its only answer is too short for a `drain` event. */
  async function answered() {
    await hold();
    const front = await start();
    front.input.end('{"jsonrpc":"2.0","id":1,"method":"tools/list"}\n');
    await expect.poll(() => daemons, patience).toHaveLength(1);
    daemons[0]?.write(answer(1, "short"));
    await expect.poll(() => front.output.writableLength, patience).toBeGreaterThan(0);
    expect(front.exitCode()).toBeUndefined();
    return front;
  }

  it("ends when the last byte is read", async () => {
    const { exitCode, read, text } = await answered();
    read();
    await expect.poll(exitCode, patience).toBe(0);
    expect(text()).toBe(answer(1, "short"));
  });

  it("ends when its output is closed", async () => {
    const { exitCode, output } = await answered();
    output.destroy(new Error("EPIPE"));
    await expect.poll(exitCode, patience).toBe(0);
  });

  it("ends at the first signal", async () => {
    const { exitCode } = await answered();
    process.emit("SIGHUP");
    expect(exitCode()).toBe(129);
  });
});

describe("a front and its daemon", () => {
  it("shows the daemon's notices, one line each", async () => {
    await hold({ ok: true, notices: ["one", "two"] });
    const { said } = await start();
    await expect.poll(() => said, patience).toEqual(["one", "two"]);
  });

  it("answers requests with the daemon's refusal, and ends with 2 if its arguments are invalid", async () => {
    await hold({ ok: false, message: "not now", next: [{ step: "retry" }], isUsage: true });
    const { input, exitCode, text, read, said } = await start({ loadRescue: () => Promise.resolve(rescue) });
    read();
    input.write('{"jsonrpc":"2.0","id":1,"method":"tools/list"}\n');
    await expect.poll(exitCode, patience).toBe(2);
    expect(said).toEqual(["not now\n  Try again."]);
    expect(text() === "" || text().includes("not now. Call again.")).toBe(true);
  });

  it("ends with 2 even if a script has closed its end by then", async () => {
    await hold({ ok: false, message: "not now", isUsage: true });
    const { input, exitCode, read } = await start();
    read();
    input.end('{"jsonrpc":"2.0","id":1,"method":"tools/list"}\n');
    await expect.poll(exitCode, patience).toBe(2);
  });

  it("asks an older daemon once to hand over, and continues to use it", async () => {
    await hold();
    const { input } = await start({ program: { folder: "/nowhere", version: "1.1.0+b" } });
    await expect.poll(() => purposes.toSorted(), patience).toEqual(["handover", "mcp"]);
    const served = new Promise((resolve) => daemons[0]?.on("data", (data) => resolve(data.toString())));
    input.write('{"jsonrpc":"2.0","id":1,"method":"tools/list"}\n');
    expect(await served).toBe('{"jsonrpc":"2.0","id":1,"method":"tools/list"}\n');
  });

  it("uses a newer daemon", async () => {
    await hold();
    await start({ program: { folder: "/nowhere", version: "0.9.0+z" } });
    await expect.poll(() => purposes, patience).toEqual(["mcp"]);
  });
});
