import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, describe } from "vitest";
import { startFakeOllama, type FakeOllama } from "../support/fake-ollama.ts";
import { builtCommand, serverEnvironment, type ClientKind } from "../support/stdio-client.ts";
import type { Reach } from "./contract-client.ts";
import { describeTransportContract } from "./transport-contract.ts";

const kinds: readonly ClientKind[] = ["modern", "legacy", "sdk-1"];
const versions: Readonly<Record<ClientKind, string>> = {
  modern: "2026-07-28",
  legacy: "2025-11-25",
  "sdk-1": "2025-11-25",
};

let folder = "";
let ollama: FakeOllama;
let environment: Record<string, string>;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "ollm-transports-"));
  // Progress and the answer must not come in one breath: clients drop what comes for a call that is answered.
  ollama = await startFakeOllama({ tokensPerSecond: 40 });
});

afterAll(async () => {
  await ollama.close();
  await rm(folder, { recursive: true, force: true });
});

/** A home of its own for each part: a standalone server shares its home with nobody. */
function environmentOf(part: string): Record<string, string> {
  return serverEnvironment({
    HOME: folder,
    OLLM_HOME: path.join(folder, part),
    OLLM_HOST: ollama.url,
    OLLM_PROVIDERS_LLAMA_CPP_ENABLED: "false",
    OLLM_MEMORY_AVAILABLE_BYTES: "16000000000",
  });
}

describe("stdio, standalone", () => {
  describe.each(kinds)("with a %s client", (kind) => {
    let count = 0;
    describeTransportContract({
      kind,
      ollama: () => ollama,
      reach: () => stdio(environmentOf(`standalone-${kind}-${(count += 1)}`), ["--standalone"]),
      protocolVersion: kind === "sdk-1" ? undefined : versions[kind],
    });
  });
});

describe("the daemon", () => {
  beforeAll(() => {
    environment = environmentOf("shared");
  });
  afterAll(async () => {
    const [code] = (await once(run(["daemon", "stop"]), "exit")) as [number | null];
    if (code !== 0) throw new Error(`ollm daemon stop ended with ${code}`);
  });

  describe.each(kinds)("over stdio with a %s client", (kind) => {
    describeTransportContract({
      kind,
      ollama: () => ollama,
      reach: () => stdio(environment, []),
      protocolVersion: kind === "sdk-1" ? undefined : versions[kind],
    });
  });

  describe("over its HTTP listener", () => {
    let serving: ChildProcess;
    let url = "";
    let token = "";
    beforeAll(async () => {
      serving = run(["serve", "--port", "0", "--json"]);
      const lines = createInterface({ input: serving.stdout ?? process.stdin });
      const [line] = (await once(lines, "line")) as [string];
      const opened = JSON.parse(line) as { url: string; token_file: string };
      ({ url } = opened);
      token = (await readFile(opened.token_file, "utf8")).trim();
    });
    afterAll(async () => {
      const ended = once(serving, "exit");
      serving.kill("SIGTERM");
      await ended;
    });

    describe.each(kinds)("over HTTP with a %s client", (kind) => {
      describeTransportContract({
        kind,
        ollama: () => ollama,
        reach: () => ({ over: "http", url: `${url}/mcp`, token }),
        protocolVersion: versions[kind],
      });
    });

    describe.each(["legacy", "sdk-1"] as const)("over SSE with a %s client", (kind) => {
      describeTransportContract({
        kind,
        ollama: () => ollama,
        reach: () => ({ over: "sse", url: `${url}/sse`, token }),
        protocolVersion: kind === "sdk-1" ? undefined : versions[kind],
      });
    });
  });
});

function stdio(env: Record<string, string>, args: readonly string[]): Reach {
  return { over: "stdio", command: process.execPath, args: [builtCommand, ...args], env };
}

function run(args: readonly string[]): ChildProcess {
  return spawn(process.execPath, [builtCommand, ...args], { env: environment, stdio: ["ignore", "pipe", "inherit"] });
}
