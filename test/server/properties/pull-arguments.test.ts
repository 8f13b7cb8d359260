import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { engineFolderName, currentPlatform } from "../../../src/orchestrator/engines/llama-cpp/install/platform.ts";
import { openOrchestrator, type OpenOrchestrator } from "../../../src/server/daemon/open-orchestrator.ts";
import { startFakeRegistry, type FakeRegistry } from "../../support/fake-registry.ts";
import { connectMemoryClient, type MemoryClient } from "../../support/memory-client.ts";
import { writeTinyGguf } from "../../support/tiny-gguf.ts";

/** More by hand: OLLM_TEST_FUZZ_RUNS=2000 npx vitest run test/server/properties/pull-arguments.test.ts */
const runs = Number(process.env["OLLM_TEST_FUZZ_RUNS"] ?? 200);
const seed = Number(process.env["OLLM_TEST_FUZZ_SEED"] ?? 11);

const layer = (hex: string, size: number) => ({
  mediaType: "application/vnd.ollama.image.model",
  digest: `sha256:${hex.repeat(64)}`,
  size,
});
const oddManifests: Readonly<Record<string, string>> = {
  "odd:broken": "{",
  "odd:empty": "",
  "odd:null": "null",
  "odd:page": "<html>",
  "odd:index": '{"manifests":[]}',
  "odd:deep": "[".repeat(100_000),
  "odd:digest": '{"layers":[{"mediaType":"x","digest":"sha256:../../x","size":1}]}',
  "odd:huge": JSON.stringify({ layers: [layer("1", Number.MAX_SAFE_INTEGER)] }),
  "odd:nothing": JSON.stringify({ layers: [layer("2", 0)] }),
  "odd:absent": JSON.stringify({ layers: [layer("3", 5)], config: {} }),
};

const models = [
  ...Object.keys(oddManifests),
  "fine:1",
  "mine",
  "",
  " ",
  "\0",
  "a\0b",
  "\n",
  "\u{1b}[2J",
  "\ud800",
  "\u{202e}x",
  "é",
  "١٢٣",
  "model:٣b",
  "１:a",
  "a".repeat(81),
  "a".repeat(65_536),
  "/".repeat(65_536),
  ":".repeat(5_000),
  "..",
  "../..",
  "a/..",
  "%2e%2e/a",
  "%",
  "hf.co/",
  "hf.co//",
  "hf.co/a",
  "hf.co/a/b/c/d",
  "https://",
  "http://",
  "file:///etc/passwd",
  "https://https://a/b",
  `a@sha256:${"0".repeat(64)}`,
  `sha256:${"0".repeat(64)}`,
  "@sha256:x",
  "a b",
  "a\\b",
  "C:\\x",
  "con",
  "a:nul",
  "127.0.0.1:1/a/b",
  "127.0.0.1:65536/a/b",
  "127.0.0.1:-1/a/b",
  "127.0.0.1:1:2/a/b",
  "[::1]:1/a/b",
  "[::1/a/b",
  "::1/a/b",
  "[]/a/b",
  "256.1.1.1/a/b",
  "0/a/b",
  "127.1/a/b",
  "0x7f.1/a/b",
  "1.2.3.4.5/a/b",
  "a..b/c/d",
  "0xg/a/b",
  "xn--a/b/c",
  "a-/b/c",
  "a.b.:1/c/d",
  "x:y:z/a/b",
  "__proto__",
  "a:__proto__",
  "constructor",
  "x:cloud",
  "x-cloud",
];
const ours = ["good.gguf", "cut.gguf", "empty.gguf", "bad.gguf", "sub", "a.txt/b", "loop.gguf", "loop.gguf/x"];
const files = [
  ...ours,
  "zero.gguf",
  "fifo.gguf",
  "gone.gguf",
  "good.gguf/",
  "sub/../good.gguf",
  "x-00002-of-00003.gguf",
  "",
  " ",
  "\0",
  "good.gguf\0",
  "\ud800",
  "é",
  "\n",
  ".",
  "..",
  "~",
  "~root",
  "/",
  "//",
  "file:///etc/passwd",
  "C:\\x",
  "/dev/zero",
  "/dev/full",
  "/dev/null",
  "/dev/fd/999",
  "/proc/self/mem",
  "/proc/self/fd",
  "/proc/self/environ",
  `/${"a".repeat(256)}`,
  `/${"a/".repeat(3_000)}`,
  "a".repeat(65_536),
  "é".repeat(200),
];

describe("pull_model with odd arguments, the embedded engine's store behind it", () => {
  let base: string;
  let folder: string;
  let home: string;
  let registry: FakeRegistry;
  let opened: OpenOrchestrator;
  let client: MemoryClient;

  beforeAll(async () => {
    base = await mkdtemp(path.join(tmpdir(), "ollm-fuzz-"));
    [home, folder] = [path.join(base, "home"), path.join(base, "files")];
    await mkdir(path.join(folder, "sub"), { recursive: true });
    await writeTinyGguf(path.join(folder, "good.gguf"));
    await writeTinyGguf(path.join(folder, "cut.gguf"));
    await truncate(path.join(folder, "cut.gguf"), 5_000);
    await writeFile(path.join(folder, "empty.gguf"), "");
    await writeFile(path.join(folder, "bad.gguf"), "GGUF and no more");
    if (process.platform !== "win32") {
      await symlink("loop.gguf", path.join(folder, "loop.gguf"));
      await symlink("/dev/zero", path.join(folder, "zero.gguf"));
      execFileSync("mkfifo", [path.join(folder, "fifo.gguf")]);
    }
    // The engine counts as installed, so that a pull reaches the store; nothing here loads a model.
    const engine = path.join(home, "engines", engineFolderName(currentPlatform()));
    await mkdir(engine, { recursive: true });
    await writeFile(path.join(engine, "complete.json"), '{"schemaVersion":1,"entry":"none.mjs","files":{}}');
    registry = await startFakeRegistry();
    registry.publish("fine:1", { layers: [{ type: "model", data: await readFile(path.join(folder, "good.gguf")) }] });
    for (const [name, manifest] of Object.entries(oddManifests)) registry.publishManifest(name, manifest);
    opened = await openOrchestrator({
      home,
      environment: {
        OLLM_PROVIDERS_OLLAMA_ENABLED: "false",
        OLLM_TEST_REGISTRY: registry.host,
        // Names with a host of their own end here, whatever they lead to.
        HTTPS_PROXY: "http://127.0.0.1:1",
      },
      flags: {},
      userHome: base,
      version: "0.0.0-test",
      writeLine: () => undefined,
    });
    client = await connectMemoryClient(opened.orchestrator, { fileRoots: [folder], patienceSeconds: 60 });
  });
  afterAll(async () => {
    await client.close();
    await opened.close();
    await registry.close();
    await rm(base, { recursive: true, force: true });
  });

  async function pull(given: Readonly<Record<string, unknown>>): Promise<string> {
    const { content, isError } = await client.call("pull_model", given);
    const text = content.map((block) => (block.type === "text" ? block.text : "")).join("\n");
    expect(text, client.logged.at(-1)).not.toMatch(/internal error/i);
    return isError === true ? `refused: ${text}` : text;
  }
  const inFolder = (name: string) => (path.isAbsolute(name) ? name : path.join(folder, name));

  it("reaches the registry and the store", async () => {
    expect(await pull({ model: "fine:1" })).toContain("fine:1 is ready (llama-cpp");
    expect(await pull({ model: "mine", from: inFolder("good.gguf") })).toContain("mine:latest is ready (llama-cpp");
    expect(registry.requests.length).toBeGreaterThan(1);
  });

  it(
    "takes or refuses every odd name, and every odd file, with an answer of its own",
    { timeout: 60_000 },
    async () => {
      for (const model of models) expect(await pull({ model })).not.toBe("refused: ");
      for (const from of new Set([...files, ...files.map(inFolder)]))
        expect(await pull({ model: "mine", from })).not.toBe("refused: ");
    },
  );

  it("never answers with an internal error", { timeout: 600_000 }, async () => {
    const from = fc.option(fc.constantFrom(...files, ...files.map(inFolder)), { nil: undefined, freq: 2 });
    const engine = fc.constantFrom(
      undefined,
      undefined,
      undefined,
      "llama-cpp",
      "ollama",
      "",
      "\0",
      "__proto__",
      "\ud800",
    );
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...models), from, engine, async (model, file, id) => {
        await pull({ model, ...(file !== undefined && { from: file }), ...(id !== undefined && { engine: id }) });
      }),
      { numRuns: runs, seed, endOnFailure: true },
    );
  });

  it("answers with an error of its own when it is cancelled, or the store's folders are no folders", async () => {
    const end = new AbortController();
    const held = registry.misbehave({ on: "manifest", kind: "hold", afterBytes: 0, times: 1 });
    const cancelled = client.client.callTool(
      { name: "pull_model", arguments: { model: "odd:absent" } },
      { signal: end.signal },
    );
    await registry.waitFor((request) => request.path.endsWith("/odd/manifests/absent"));
    end.abort();
    await expect(cancelled).rejects.toThrow();
    held();
    registry.release();
    for (const name of ["models/blobs", "models/manifests", "models"]) {
      await rm(path.join(home, name), { recursive: true, force: true });
      await mkdir(path.dirname(path.join(home, name)), { recursive: true });
      await writeFile(path.join(home, name), "");
      expect(await pull({ model: "fine:1" })).toContain(`refused: a file can't be read or written: `);
      expect(await pull({ model: "mine", from: inFolder("good.gguf") })).toContain("refused: a file can't be");
      await rm(path.join(home, name));
    }
    expect(await pull({ model: "fine:1" })).toContain("fine:1 is ready");
  });
});
