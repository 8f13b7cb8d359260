import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, readFile, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { kinds, taskFor, valueIn } from "../../scripts/demo/kinds.ts";
import { clientEntry, progressLine, say } from "../../scripts/demo/print.ts";
import type { DemoClient } from "../../scripts/demo/client.ts";
import { ensureStarter } from "../../scripts/demo/starter.ts";
import { whyThisModel } from "../../scripts/demo/steps.ts";
import { installedEngine } from "../support/engine.ts";
import { startFakeRegistry, type FakeRegistry } from "../support/fake-registry.ts";
import { isRunning } from "../support/is-running.ts";
import { serverEnvironment } from "../support/stdio-client.ts";
import { writeTinyGguf } from "../support/tiny-gguf.ts";

const repository = path.resolve(import.meta.dirname, "..", "..");
const limitMs = 180_000;

it("the progress of the demo is rewritten in place: no unknown control sequence reaches the terminal", () => {
  let written = "";
  const write = (text: string | Uint8Array): boolean => {
    written += String(text);
    return true;
  };
  const line = progressLine({ write, isTTY: true, columns: 60 });
  line.show("downloading, 1 of 2 MB", 0.5);
  line.clear();
  expect(written).toMatch(/^\r\[#+ +\] downloading, 1 of 2 MB\r +\r$/);
});

describe("the kinds of task", () => {
  it.each(kinds)("$name: unseen sentences are ten others than those the prompt was chosen on", (kind) => {
    const known = new Set(kind.chosenOn.map(([sentence]) => sentence));
    expect(kind.unseen).toHaveLength(10);
    expect(kind.unseen.filter(([sentence]) => known.has(sentence))).toEqual([]);
    expect(kind.right).toBeGreaterThanOrEqual(9);
  });
  it.each(kinds)("$name: the right answer is a choice, and never the only one", (kind) => {
    for (const [sentence, expected] of [...kind.chosenOn, ...kind.unseen]) {
      expect(kind.choices(sentence)).toContain(expected);
      expect(kind.choices(sentence).length).toBeGreaterThan(3);
      // Only the sentence may contain it.
      expect(taskFor(kind, "").prompt).not.toContain(expected);
    }
  });
  it("reads the value of an answer, and none from what is not one", () => {
    const [kind] = kinds;
    if (kind === undefined) throw new Error("there are no kinds");
    expect(valueIn(kind, '{ "language_of_the_text": "German" }')).toBe("German");
    for (const text of [undefined, "", "German", '{"language":"German"}', '{"language_of_the_text":1}'])
      expect(valueIn(kind, text)).toBeUndefined();
  });
});

describe("the demo's text", () => {
  it("wraps at words within 80 columns, with the indentation on every line", () => {
    const lines: string[] = [];
    const log = vi.spyOn(console, "log").mockImplementation((line: string) => void lines.push(line));
    onTestFinished(() => log.mockRestore());
    say("word ".repeat(40).trim(), "  ");
    say("x".repeat(100));
    expect(lines.slice(0, -1).join(" ").trim().split(/\s+/)).toHaveLength(40);
    expect(lines.slice(0, -1).every((line) => line.startsWith("  w") && line.length <= 80)).toBe(true);
    expect(lines.at(-1)).toBe("x".repeat(100));
  });
  it("quotes paths with blanks for a shell, and writes an entry that is JSON", () => {
    const entry = clientEntry("/a node/node", "/x/cli.mjs", "/x");
    expect(entry.claude).toBe('claude mcp add ollm -- "/a node/node" /x/cli.mjs --root /x');
    expect(JSON.parse(entry.json.join("\n"))).toEqual({
      mcpServers: { ollm: { command: "/a node/node", args: ["/x/cli.mjs", "--root", "/x"] } },
    });
  });
  it("names each failure before the model that answered, and none where none failed", () => {
    const route = { task: "general", because: "", profile: "general", considered: [] };
    const answered = { model: "b", engine: "e", outcome: "answered" };
    const failed = { model: "a", engine: "e", outcome: "a could not be loaded: no layer" };
    const why = (attempts: readonly (typeof answered)[]) =>
      whyThisModel({ model: "b", engine: "e", reason: "loaded", route: { ...route, attempts: [...attempts] } });
    expect(why([failed, answered])).toEqual([
      "failed: a could not be loaded: no layer",
      "b answered. Why this model: loaded.",
    ]);
    expect(why([answered])).toEqual(["b answered. Why this model: loaded."]);
  });
});

describe("the first model", () => {
  const signal = new AbortController().signal;
  const suggestion = { model: "best:4b", reason: "2.5 GB download, about 14 tokens/s\nquicker: small:1b" };
  /** A server without models that answers what is asked; `answers` says whether the registry is there. */
  async function first(download: string | undefined, answers: boolean) {
    const pulled: unknown[] = [];
    const call = async (tool: string, input: { readonly limit?: number }): Promise<unknown> => {
      if (tool === "list_models") return input.limit === 1 ? { models: [], suggestion } : { models: [] };
      pulled.push(input);
      return {};
    };
    const registry = await startFakeRegistry();
    if (!answers) await registry.close();
    const log = vi.spyOn(console, "log").mockImplementation(() => undefined);
    try {
      const starter = await ensureStarter({ call } as unknown as DemoClient, {
        registry: { host: registry.host, isInsecure: true },
        engine: undefined,
        signal,
        download: () => Promise.resolve(download),
      });
      return { starter, pulled, told: log.mock.calls.flat().join("\n"), requests: registry.requests.length };
    } finally {
      log.mockRestore();
      if (answers) await registry.close();
    }
  }

  it.each([true, false])("is the small one of the README, if a registry answers: %s", async (answers) => {
    const { starter, pulled, told, requests } = await first("/x/model.gguf", answers);
    expect(pulled).toEqual([{ model: "smollm2:135m", from: "/x/model.gguf", engine: "llama-cpp" }]);
    expect(starter).toMatchObject({ model: "smollm2:135m", suggestion });
    expect(told).toContain("92.9 MB");
    expect(requests).toBe(0);
  });

  it("is a larger one of the registry only if the small one can't be had, and its size is said first", async () => {
    const { starter, pulled, told } = await first(undefined, true);
    expect(pulled).toEqual([{ model: "qwen2.5:0.5b", engine: "llama-cpp" }]);
    expect(told).toContain("qwen2.5:0.5b instead (397.8 MB");
    expect(starter.suggestion).toBeUndefined();
  });

  it("is one that recites if nothing can be downloaded", async () => {
    expect((await first(undefined, false)).starter).toMatchObject({ model: "practice:latest", suggestion });
  });
});

describe("npm run demo, where a registry answers and pip is missing", () => {
  let registry: FakeRegistry;
  let folder: string;
  beforeAll(async () => {
    registry = await startFakeRegistry();
    folder = await mkdtemp(path.join(tmpdir(), "ollm-demo-test-"));
    const weights = path.join(folder, "weights.gguf");
    // Its tokens are single bytes, so a file of 11 kB takes 11,000 of them.
    await writeTinyGguf(weights, { contextLength: 32_768 });
    registry.publish("qwen2.5:0.5b", { layers: [{ type: "model", data: await readFile(weights) }] });
  });
  afterAll(async () => {
    await registry.close();
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  });

  async function startDemo(name: string) {
    const home = path.join(folder, name);
    await mkdir(home);
    const { enginesFolder } = await installedEngine();
    await symlink(enginesFolder, path.join(home, "engines"), "junction");
    const demo = spawn(process.execPath, ["--import", "tsx", path.join(repository, "scripts", "demo.ts")], {
      cwd: repository,
      env: serverEnvironment({
        HOME: folder,
        OLLM_HOME: home,
        OLLM_TEST_REGISTRY: registry.host,
        OLLM_PROVIDERS_OLLAMA_ENABLED: "false",
        // No pip.
        PATH: folder,
      }),
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    for (const stream of [demo.stdout, demo.stderr]) stream.on("data", (chunk: Buffer) => (output += String(chunk)));
    const exited = once(demo, "close");
    return { home, demo, exited, output: () => output };
  }

  const daemonOf = (output: string) => Number(/daemon \(pid (\d+)\)/.exec(output)?.[1]);

  it(
    "pulls the model of the registry, marks wrong answers as wrong, survives a failing model, and leaves nothing behind",
    async () => {
      const { home, exited, output } = await startDemo("whole");
      expect((await exited)[0], output()).toBe(0);
      const text = output();
      expect(text).toContain(`qwen2.5:0.5b came from ${registry.host}.`);
      const marks = [...text.matchAll(/^ {2}([✓✗]) .*\? (.+) \(right: (\S+)\)$/gm)];
      expect(marks).toHaveLength(4);
      for (const [, mark, value, expected] of marks) expect(mark).toBe(value === expected ? "✓" : "✗");
      expect(text).toMatch(/would have paid 2,\d{3} tokens; it paid \d{2,3}, for the\s+call and its answer/);
      expect(text).toMatch(/failed: demo-damaged:\d+ could not be loaded:[^.]*'blk\.2/);
      expect(text).toMatch(/qwen2\.5:0\.5b answered\. Why this model: .*after\s+demo-damaged:\d+ failed\./);
      // What SmolLM2 got right is not claimed of another model.
      expect(text).toMatch(
        /Saved 0\.\d+ USD this month \([\d.]+ k local tokens at\s+claude-sonnet-5-5\s+prices,\s+less\s+what\s+assistants\s+read\)/,
      );
      expect(text).toContain("cli.mjs stats --money");
      expect(text).toContain("cli.mjs dashboard");
      expect(text).not.toContain("Right of ten");
      // Only the download with pip.
      expect(text.match(/That failed: .*/g)).toEqual([expect.stringContaining("pip") as unknown]);
      const [told = ""] = text.split("== Add it");
      expect(told.split("\n").filter((line) => line.length > 80 && !/MB|came from|hashing/.test(line))).toEqual([]);
      expect(isRunning(daemonOf(text))).toBe(false);
      const manifests = await readdir(path.join(home, "models", "manifests"), { recursive: true });
      expect(manifests.filter((name) => name.includes("demo-damaged:") || /demo-damaged.\d+$/.test(name))).toEqual([]);
    },
    limitMs,
  );

  it(
    "interrupted in a download, it stops the daemon",
    async () => {
      const resume = registry.misbehave({ on: "blob", kind: "hold", afterBytes: 1_000, minBytes: 10_000 });
      onTestFinished(() => {
        resume();
        registry.release();
      });
      const { demo, exited, output } = await startDemo("interrupted");
      await expect.poll(output, { timeout: 60_000 }).toContain("downloading qwen2.5:0.5b");
      demo.kill("SIGINT");
      expect((await exited)[0], output()).toBe(1);
      expect(output()).toContain("The demo stopped: it was interrupted");
      expect(isRunning(daemonOf(output()))).toBe(false);
    },
    limitMs,
  );
});
