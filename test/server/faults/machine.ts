import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { daemonLogFile } from "../../../src/ipc/run-folder.ts";
import { type FakeOllama, type FakeOllamaOptions, startFakeOllama } from "../../support/fake-ollama.ts";
import { noteWarnings } from "../../support/leaks.ts";
import { type RawServer, builtCommand, initialize, serverEnvironment, startRaw } from "../../support/stdio-client.ts";

/** A machine with one Ollama, one home and any number of clients, all of them real processes. */
export interface Machine {
  readonly folder: string;
  readonly home: string;
  readonly ollama: FakeOllama;
  readonly environment: Readonly<Record<string, string>>;
  /** A client that has introduced itself to the built command. */
  client(args?: readonly string[], environment?: Readonly<Record<string, string>>): Promise<RawServer>;
  /** Runs the command to its end. */
  command(
    ...args: string[]
  ): Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }>;
  /** Ends clients, daemon and engine, and removes the home. */
  close(): Promise<void>;
}

export async function startMachine(options: FakeOllamaOptions = {}): Promise<Machine> {
  const folder = await mkdtemp(path.join(tmpdir(), "ollm-machine-"));
  const home = path.join(folder, "home");
  const ollama = await startFakeOllama({ models: [{ name: "smollm2:135m", reply: "The sky is blue." }], ...options });
  const environment = serverEnvironment({
    HOME: folder,
    USERPROFILE: folder,
    OLLM_HOME: home,
    OLLM_HOST: ollama.url,
    OLLM_PROVIDERS_LLAMA_CPP_ENABLED: "false",
    OLLM_MEMORY_AVAILABLE_BYTES: "16000000000",
  });
  const clients: RawServer[] = [];

  async function command(...args: string[]) {
    const child = spawn(process.execPath, [builtCommand, ...args], {
      env: environment,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let [stdout, stderr] = ["", ""];
    child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
    const [code] = (await once(child, "close")) as [number | null];
    return { code, stdout, stderr };
  }

  return {
    folder,
    home,
    ollama,
    environment,
    async client(args = [], own = {}) {
      const client = startRaw({ ...environment, ...own }, args);
      clients.push(client);
      client.send(initialize);
      await client.next();
      return client;
    },
    command,
    async close() {
      for (const client of clients) client.process.kill("SIGKILL");
      await Promise.all(clients.map(({ exited }) => exited));
      await command("daemon", "stop");
      noteWarnings(await readFile(daemonLogFile(home), "utf8").catch(() => ""));
      await ollama.close();
      await rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
    },
  };
}

export function call(id: number, name: string, input: object = {}): object {
  return { jsonrpc: "2.0", id, method: "tools/call", params: { name, arguments: input } };
}
