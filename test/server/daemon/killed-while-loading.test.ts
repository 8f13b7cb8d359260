import { mkdir, readFile, symlink } from "node:fs/promises";
import path from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { engineLimitMs, installedEngine } from "../../support/engine.ts";
import { isRunning } from "../../support/is-running.ts";
import { makeDaemonHome, type DaemonHome } from "../../support/daemon-home.ts";
import { connectStdio, type StdioClient } from "../../support/stdio-client.ts";
import { tinySentence, writeTinyGguf } from "../../support/tiny-gguf.ts";

let fixture: DaemonHome | undefined;
const clients: StdioClient[] = [];

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close().catch(() => undefined)));
  await fixture?.close();
});

async function front({ environment }: DaemonHome): Promise<StdioClient> {
  const client = await connectStdio("legacy", environment, []);
  clients.push(client);
  return client;
}

async function children({ home }: DaemonHome): Promise<readonly number[]> {
  const text = await readFile(path.join(home, "run", "children.json"), "utf8").catch(() => '{"children":[]}');
  return (JSON.parse(text) as { children: { pid: number }[] }).children.map(({ pid }) => pid);
}

describe("a daemon that is killed while it loads", { timeout: engineLimitMs + 90_000 }, () => {
  it("leaves Ollama no connection to load for, and the next daemon loads and answers as if nothing had been", async () => {
    const here = (fixture = await makeDaemonHome());
    // The load is silent until the connection ends.
    here.ollama.misbehave({ kind: "hang", on: "/api/generate", afterLines: 0 });
    const first = await front(here);
    const lost = first.callTool("route_and_generate", { prompt: "What colour is the sky?" }).catch(() => undefined);
    const load = await here.ollama.request("/api/generate");
    const killed = here.claim().pid;
    process.kill(killed, "SIGKILL");
    await load.closed;
    expect(load.wasCutByClient).toBe(true);
    await lost;

    const next = await front(here);
    const answer = await next.callTool("route_and_generate", { prompt: "What colour is the sky?" });
    expect(answer.structuredContent).toMatchObject({ text: "The sky is blue." });
    const { pid, loaded } = await here.status();
    expect(pid).not.toBe(killed);
    expect(loaded.map(({ name }) => name)).toEqual(["smollm2:135m"]);
  });

  it("leaves no process of the embedded engine, and no list of any", async () => {
    const here = (fixture = await makeDaemonHome({
      OLLM_PROVIDERS_OLLAMA_ENABLED: "false",
      OLLM_PROVIDERS_LLAMA_CPP_ENABLED: "true",
      OLLM_STORE_READ_OLLAMA: "false",
    }));
    const { enginesFolder } = await installedEngine();
    await mkdir(here.home, { recursive: true });
    await symlink(enginesFolder, path.join(here.home, "engines"), "junction");
    const first = await front(here);
    const file = path.join(here.folder, "tiny.gguf");
    await writeTinyGguf(file);
    expect((await first.callTool("pull_model", { model: "tiny", from: file })).isError).not.toBe(true);
    const lost = first.callTool("smart_load", { model: "tiny" }).catch(() => undefined);
    // Listed before it can do anything: it is starting or loading now.
    await here.until("a process that loads", async () => (await children(here)).length > 0);
    const started = await children(here);
    process.kill(here.claim().pid, "SIGKILL");
    await here.until("the end of the processes", () => !started.some(isRunning));
    await lost;

    const next = await front(here);
    const answer = await next.callTool("route_and_generate", { prompt: "Say it", model: "tiny", max_tokens: 40 });
    expect(answer.structuredContent).toMatchObject({ text: tinySentence });
    const standing = await children(here);
    expect(standing).toHaveLength(1);
    expect(standing.filter((pid) => started.includes(pid))).toEqual([]);
  });
});
