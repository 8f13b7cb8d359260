import { mkdir, mkdtemp, readFile, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { engineLimitMs, installedEngine } from "../support/engine.ts";
import { eventually } from "../support/eventually.ts";
import { isRunning } from "../support/is-running.ts";
import { connectStdio, initialize, serverEnvironment, startRaw, type RawServer } from "../support/stdio-client.ts";
import { tinySentence, writeTinyGguf } from "../support/tiny-gguf.ts";

/** The built server with the real embedded engine and models that recite: no other program, no network. */

let enginesFolder = "";
let folder = "";
let home = "";
let environment: Record<string, string>;
let server: RawServer | undefined;

beforeAll(async () => {
  ({ enginesFolder } = await installedEngine());
}, engineLimitMs + 10_000);

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "ollm-embedded-"));
  home = path.join(folder, "home");
  await mkdir(home);
  await symlink(enginesFolder, path.join(home, "engines"), "junction");
  environment = serverEnvironment({
    HOME: folder,
    OLLM_HOME: home,
    OLLM_PROVIDERS_OLLAMA_ENABLED: "false",
    OLLM_STORE_READ_OLLAMA: "false",
    OLLM_MEMORY_AVAILABLE_BYTES: "8000000000",
  });
});

afterEach(async () => {
  server?.process.kill("SIGKILL");
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
});

/** `ollm import`, as a person runs it. */
async function importModel(
  file: string,
  name: string,
): Promise<{ readonly code: unknown; readonly stdout: string; readonly stderr: string }> {
  const command = startRaw(environment, ["import", file, name]);
  let stdout = "";
  command.process.stdout?.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
  const code = await command.exited;
  // It went through a daemon, which stays; what follows holds the home alone.
  expect(await startRaw(environment, ["daemon", "stop"]).exited).toBe(0);
  return { code, stdout, stderr: command.stderr() };
}

/** A generation that never ends by itself, and the processes that run it. */
async function startEndless(): Promise<{ readonly server: RawServer; readonly children: readonly number[] }> {
  const file = path.join(folder, "endless.gguf");
  await writeTinyGguf(file, { isEndless: true });
  expect(await importModel(file, "endless")).toMatchObject({ code: 0 });
  server = startRaw(environment);
  server.send(initialize);
  await server.next();
  server.send({
    jsonrpc: "2.0",
    id: 1,
    method: "tools/call",
    params: {
      name: "route_and_generate",
      arguments: { prompt: "Go on", model: "endless", max_tokens: 100_000 },
      _meta: { progressToken: 1 },
    },
  });
  for (;;) {
    const message = await server.next();
    if (message["id"] === 1) throw new Error(`it ended: ${JSON.stringify(message)}`);
    if (/answers|\d tokens/.test(JSON.stringify(message))) break;
  }
  const list = JSON.parse(await readFile(path.join(home, "run", "children.json"), "utf8")) as {
    children: { pid: number }[];
  };
  const children = list.children.map(({ pid }) => pid);
  expect(children.filter(isRunning)).not.toEqual([]);
  return { server, children };
}

describe("the built server with the embedded engine", () => {
  it("imports a file, answers with it, and deletes it", async () => {
    const file = path.join(folder, "tiny.gguf");
    await writeTinyGguf(file);
    const imported = await importModel(file, "tiny:1");
    expect(imported).toMatchObject({ code: 0, stdout: expect.stringContaining("tiny:1 is ready (llama-cpp") });
    const client = await connectStdio("modern", environment);
    const answer = await client.callTool("route_and_generate", { prompt: "Say it", explain: true });
    expect(answer.structuredContent).toMatchObject({ text: tinySentence, model: "tiny:1", engine: "llama-cpp" });
    const deleted = await client.callTool("manage_model", { action: "delete", model: "tiny:1", confirm: true });
    const list = await client.callTool("list_models", {});
    await client.close();
    expect(deleted.isError ?? false).toBe(false);
    expect(list.structuredContent).toMatchObject({ total: 0 });
  });

  it("says why it can't import a file, and ends with 1", async () => {
    const file = path.join(folder, "cut.gguf");
    await writeTinyGguf(file, { corrupt: "truncated" });
    const refused = await importModel(file, "cut");
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain("cut.gguf");
    expect(await importModel(path.join(folder, "none.gguf"), "none")).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("none.gguf"),
    });
  });

  it("ends within 2 s of the client closing stdin in mid-generation, and leaves no process", async () => {
    const { server: running, children } = await startEndless();
    const startMs = performance.now();
    running.process.stdin?.end();
    expect(await running.exited).toBe(0);
    expect(performance.now() - startMs).toBeLessThan(2_000);
    await eventually(() => expect(children.filter(isRunning)).toEqual([]));
  });

  it("leaves no process when it is killed", async () => {
    const { server: running, children } = await startEndless();
    running.process.kill("SIGKILL");
    await eventually(() => expect(children.filter(isRunning)).toEqual([]));
  });
});
