import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import type { CommandIo } from "../../src/cli/terminal/io.ts";
import { type ClaimRecord, newestClaim } from "../../src/ipc/claim-record.ts";
import { connectDaemon } from "../../src/ipc/handshake.ts";
import type { DaemonStatus, Hello, Welcome } from "../../src/ipc/protocol.ts";
import { callLogFile, daemonLogFile } from "../../src/ipc/run-folder.ts";
import { type FakeOllama, type FakeOllamaOptions, startFakeOllama } from "./fake-ollama.ts";
import { isRunning } from "./is-running.ts";
import { noteWarnings } from "./leaks.ts";
import { builtCommand, serverEnvironment } from "./stdio-client.ts";

/** A temporary home with a fake Ollama; `close` ends its daemons. */
export interface DaemonHome {
  readonly folder: string;
  readonly home: string;
  readonly ollama: FakeOllama;
  /** The environment of fronts and commands. */
  readonly environment: Record<string, string>;
  /** The claim of the newest daemon. Throws when there is none. */
  claim(): ClaimRecord;
  ask(purpose: Hello["purpose"], hello?: Partial<Hello>): Promise<Welcome>;
  status(): Promise<DaemonStatus>;
  daemonLog(): Promise<string>;
  callLog(): Promise<string>;
  /** Waits until `holds` returns true: checks every 20 ms for 20 s, then throws with `what` and the daemon's log. */
  until(what: string, holds: () => boolean | Promise<boolean>): Promise<void>;
  /** The machine as a command sees it; records what the command prints. */
  io(): CommandIo & { readonly out: string[]; readonly err: string[] };
  close(): Promise<void>;
}

const untilMs = 20_000;

export async function makeDaemonHome(
  more: Record<string, string> = {},
  engine: FakeOllamaOptions = {},
): Promise<DaemonHome> {
  const folder = await mkdtemp(path.join(tmpdir(), "ollm-daemon-"));
  const home = path.join(folder, "home");
  const ollama = await startFakeOllama({
    models: [{ name: "smollm2:135m", reply: "The sky is blue." }],
    tokensPerSecond: 0,
    ...engine,
  });
  const environment = serverEnvironment({
    HOME: folder,
    OLLM_HOME: home,
    OLLM_HOST: ollama.url,
    OLLM_PROVIDERS_LLAMA_CPP_ENABLED: "false",
    OLLM_MEMORY_AVAILABLE_BYTES: "16000000000",
    ...more,
  });
  /** All daemons seen so far, so that none outlives the test. */
  const pids = new Set<number>();

  function claim(): ClaimRecord {
    const found = newestClaim(home);
    if (found === undefined) throw new Error(`no daemon claimed ${home}`);
    pids.add(found.pid);
    return found;
  }

  async function ask(purpose: Hello["purpose"], hello: Partial<Hello> = {}): Promise<Welcome> {
    claim();
    const said = { version: "test", purpose, workingDirectory: folder, arguments: [], environment: {}, ...hello };
    const { socket, welcome } = await connectDaemon(home, said, { timeoutMs: 5_000 });
    try {
      return await welcome;
    } finally {
      socket.destroy();
    }
  }

  const read = (file: string) => readFile(file, "utf8").catch(() => "");

  return {
    folder,
    home,
    ollama,
    environment,
    claim,
    ask,
    async status() {
      const welcome = await ask("status");
      if (!welcome.ok || welcome.status === undefined) throw new Error(`no status: ${JSON.stringify(welcome)}`);
      return welcome.status;
    },
    daemonLog: () => read(daemonLogFile(home)),
    callLog: () => read(callLogFile(home)),
    async until(what, holds) {
      const deadline = Date.now() + untilMs;
      while (!(await holds())) {
        if (Date.now() > deadline)
          throw new Error(`not within ${untilMs} ms: ${what}\n${await read(daemonLogFile(home))}`);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    },
    io() {
      const out: string[] = [];
      const err: string[] = [];
      return {
        out,
        err,
        stdout: (text) => out.push(text),
        content: (text) => out.push(text),
        stderr: (text) => err.push(text),
        environment,
        workingDirectory: folder,
        userHome: folder,
        platform: process.platform,
        isTerminal: false,
        ask: () => Promise.resolve(""),
        node: process.execPath,
        script: builtCommand,
      };
    },
    async close() {
      if (newestClaim(home) !== undefined) claim();
      for (const pid of pids) if (isRunning(pid)) process.kill(pid, "SIGKILL");
      noteWarnings(await read(daemonLogFile(home)));
      await ollama.close();
      await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
