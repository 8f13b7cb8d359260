import { mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { engineLimitMs, installedEngine } from "../../support/engine.ts";
import { isRunning } from "../../support/is-running.ts";
import { makeDaemonHome, type DaemonHome } from "../../support/daemon-home.ts";
import { connectStdio, type StdioClient } from "../../support/stdio-client.ts";
import { tinySentence, writeTinyGguf } from "../../support/tiny-gguf.ts";

/** The real embedded engine, whose settings change while it answers. */

let enginesFolder = "";
let fixture: DaemonHome;
let client: StdioClient | undefined;

beforeAll(async () => {
  ({ enginesFolder } = await installedEngine());
}, engineLimitMs + 10_000);

beforeEach(async () => {
  fixture = await makeDaemonHome({
    OLLM_PROVIDERS_OLLAMA_ENABLED: "false",
    OLLM_PROVIDERS_LLAMA_CPP_ENABLED: "true",
    OLLM_STORE_READ_OLLAMA: "false",
  });
  await mkdir(fixture.home);
  await symlink(enginesFolder, path.join(fixture.home, "engines"), "junction");
});
afterEach(async () => {
  await client?.close();
  await fixture.close();
});

async function children(): Promise<readonly number[]> {
  const text = await readFile(path.join(fixture.home, "run", "children.json"), "utf8").catch(() => '{"children":[]}');
  return (JSON.parse(text) as { children: { pid: number }[] }).children.map(({ pid }) => pid);
}

describe("the embedded engine under changed settings", { timeout: 90_000 }, () => {
  it("ends its answer in the process that began it, which goes then; the next answer comes from another", async () => {
    const connected = (client = await connectStdio("legacy", fixture.environment, []));
    for (const [name, options] of [
      ["tiny", {}],
      ["endless", { isEndless: true, contextLength: 8_192 }],
    ] as const) {
      const file = path.join(fixture.folder, `${name}.gguf`);
      await writeTinyGguf(file, options);
      expect((await connected.callTool("pull_model", { model: name, from: file })).isError).not.toBe(true);
    }
    let begun: () => void = () => undefined;
    const hasBegun = new Promise<void>((resolve) => (begun = resolve));
    const long = connected.callTool(
      "route_and_generate",
      // Long enough to be seen: so small a model writes a thousand tokens a second, more where they are guessed.
      { prompt: "Go on", model: "endless", max_tokens: 1_500, temperature: 0 },
      (message) => {
        if (/answers|tokens/.test(message)) begun();
      },
    );
    await hasBegun;
    const before = await children();
    expect(before).toHaveLength(1);
    await writeFile(path.join(fixture.home, "config.yaml"), "providers: {llamaCpp: {threads: 1}}\n");
    await fixture.until("the end of the process that began", async () => {
      const answer = await connected.callTool("route_and_generate", {
        prompt: "Say it",
        model: "tiny",
        max_tokens: 40,
      });
      expect(answer.structuredContent).toMatchObject({ text: tinySentence });
      return !before.some(isRunning);
    });
    expect((await long).structuredContent).toMatchObject({ finish_reason: "length" });
    expect((await children()).filter(isRunning)).toHaveLength(1);
  });

  it("keeps a pinned model past its keep-alive, and unloads an unpinned one", async () => {
    await writeFile(path.join(fixture.home, "config.yaml"), "model: {keepAlive: {timeout: 1}}\n");
    const connected = (client = await connectStdio("legacy", fixture.environment, []));
    const file = path.join(fixture.folder, "tiny.gguf");
    await writeTinyGguf(file);
    await connected.callTool("pull_model", { model: "tiny", from: file });
    await connected.callTool("manage_model", { action: "pin", model: "tiny" });
    await connected.callTool("smart_load", { model: "tiny" });
    const [pid = 0] = await children();
    const loadedAt = performance.now();
    await fixture.until("twice its time", () => performance.now() - loadedAt > 2_000);
    expect(isRunning(pid)).toBe(true);
    await connected.callTool("manage_model", { action: "unpin", model: "tiny" });
    await fixture.until("the end of its process", () => !isRunning(pid));
  });
});
