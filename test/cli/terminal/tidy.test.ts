import { mkdir, readdir, symlink, utimes, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { createHttpGet } from "../../../src/orchestrator/engines/http.ts";
import { createModelStore } from "../../../src/orchestrator/engines/llama-cpp/store/model-store.ts";
import { createEvents } from "../../../src/orchestrator/api/events.ts";
import { watchMetrics } from "../../../src/orchestrator/watch/metrics/store.ts";
import { createDocumentFiles } from "../../../src/orchestrator/storage/document-files.ts";
import { type DaemonHome, makeDaemonHome } from "../../support/daemon-home.ts";
import { handClock } from "../../support/hand-clock.ts";
import { writeTinyGguf } from "../../support/tiny-gguf.ts";
import { loopbackNamed } from "../../orchestrator/engines/llama-cpp/store/store-fixture.ts";
import { runHere } from "./built-shell.ts";

const day = 86_400_000;
const log = { debug: () => undefined, info: () => undefined, warn: () => undefined };
const modifiedAt = new Date(Date.now() - 90 * day).toISOString();
const models = ["old:1b", "stuck:1b", "recent:1b"].map((name) => ({ name, modifiedAt, sizeBytes: 2e9 }));

let home: DaemonHome;
afterEach(async () => home.close());

const ollm = (words: readonly string[]) => runHere(home, words);

/** What a daemon counted at that time. */
async function used(model: string, daysAgo: number): Promise<void> {
  const now = () => Date.now() - daysAgo * day;
  const clock = handClock();
  const events = createEvents(log);
  const store = watchMetrics({
    now,
    timers: clock,
    log,
    events,
    limitsOf: () => undefined,
    pressure: () => Promise.reject(new Error("none")),
    requestsSince: async () => [],
    connections: () => ({}),
    files: createDocumentFiles(home.home),
  });
  const attempt = { model, engine: "ollama", isLocal: true, totalMs: 10, promptTokens: 5, completionTokens: 5 };
  const request = { client: "test", task: "general", profile: "general", totalMs: 10, fallbacks: 0, fileTokens: 0 };
  events.emit({ kind: "request ended", ...request, attempts: [attempt] });
  await store.close();
}

async function makeHome(environment: Record<string, string> = {}): Promise<void> {
  home = await makeDaemonHome(environment, { models });
  await mkdir(home.home, { recursive: true, mode: 0o700 });
  await used("old:1b", 60);
  await used("recent:1b", 3);
}

describe("ollm tidy", () => {
  it("lists what was not used for 30 days, and deletes nothing without a terminal to ask at", async () => {
    await makeHome();
    const { code, stdout, stderr } = await ollm(["tidy"]);
    expect(code).toBe(2);
    expect(stdout).toMatch(
      /^NAME +SIZE +LAST USED +ENGINE\nold:1b +2\.0 GB +60 days ago +ollama\nstuck:1b +2\.0 GB +not in 60 days +ollama\n/,
    );
    expect(stderr).toContain("not a terminal, so I can't ask: Delete 2 models (up to 4.0 GB) from disk?");
    expect(stderr).toContain("--yes");
    expect([...home.ollama.models.keys()]).toEqual(["old:1b", "stuck:1b", "recent:1b"]);
  });

  it("deletes them with --yes; one that fails is named, and the others are deleted", async () => {
    await makeHome();
    home.ollama.misbehave({ kind: "status", on: "/api/delete", status: 500, error: "disk is read-only" });
    const { code, stdout } = await ollm(["tidy", "--yes", "--json"]);
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({
      unused: [{ name: "old:1b", engine: "ollama", size_bytes: 2e9, unused_days: 60 }, { name: "stuck:1b" }],
      deleted: [{ model: "stuck:1b", freed_bytes: 2e9 }],
      kept: [{ model: "old:1b", error: expect.stringContaining("disk is read-only") }],
      freed_bytes: 2e9,
    });
    expect([...home.ollama.models.keys()]).toEqual(["old:1b", "recent:1b"]);
    const again = await ollm(["tidy", "--yes"]);
    expect(again).toMatchObject({ code: 0, stderr: "" });
    expect(again.stdout).toMatch(/\nold:1b deleted, 2\.0 GB freed\n1 of 1 model deleted, 2\.0 GB freed\n$/);
  });

  it("says so when there is nothing to do, and takes another number of days", async () => {
    await makeHome();
    expect(await ollm(["tidy", "--days", "61"])).toEqual({
      code: 0,
      stdout:
        "Nothing to tidy: every model was used in the last 61 days, or is loaded, pinned, in the settings or newer.\n",
      stderr: "",
    });
    const all = await ollm(["tidy", "--days", "2"]);
    expect(all.stdout).toContain("recent:1b");
    const none = await ollm(["tidy", "--days", "61", "--json"]);
    expect(JSON.parse(none.stdout)).toEqual({ unused: [], deleted: [], kept: [], freed_bytes: 0 });
    expect((await ollm(["tidy", "--days", "0"])).code).toBe(2);
  });

  it("shows hostile names on one line each, and steers no terminal", async () => {
    const name = "evil\u001b[31m\n✓ forged\u202e:1b";
    home = await makeDaemonHome({}, { models: [{ name, modifiedAt, sizeBytes: 2e9 }] });
    await mkdir(home.home, { recursive: true, mode: 0o700 });
    await used("other:1b", 60);
    const { stdout, stderr } = await ollm(["tidy"]);
    expect(stdout.split("\n")).toHaveLength(4);
    expect(["\u001b", "\u202e", "\n✓"].filter((text) => (stdout + stderr).includes(text))).toEqual([]);
    const deleted = await ollm(["tidy", "--yes", "--json"]);
    expect(JSON.parse(deleted.stdout)).toMatchObject({ deleted: [{ model: name }] });
    expect(home.ollama.models.size).toBe(0);
  });

  it("with --prompts lists what the embedded engine has read, and deletes it after asking", async () => {
    await makeHome();
    const prompts = path.join(home.home, "cache", "prompts");
    const empty = await ollm(["tidy", "--prompts"]);
    expect([empty.code, empty.stdout]).toEqual([0, "No prompts are on disk.\n"]);
    await mkdir(path.join(prompts, "0123456789abcdef-3.21.1"), { recursive: true });
    await writeFile(path.join(prompts, "0123456789abcdef-3.21.1", "900-9000-00000000.state"), Buffer.alloc(2_000));
    // What other programs leave, and a file that is gone when it is looked at.
    await writeFile(path.join(prompts, ".DS_Store"), "x");
    if (process.platform !== "win32")
      await symlink("gone", path.join(prompts, "0123456789abcdef-3.21.1", "901-9000-00000000.state"));
    const asked = await ollm(["tidy", "--prompts"]);
    expect(asked.code).toBe(2);
    expect(asked.stdout).toMatch(/^MODEL +PROMPTS +SIZE +LAST USED\n0123456789abcdef +1 +2\.0 kB +/);
    const { code, stdout } = await ollm(["tidy", "--prompts", "--yes", "--json"]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ prompts: [{ count: 1, bytes: 2_000 }], freed_bytes: 2_000 });
    await expect(readdir(prompts)).rejects.toThrow("ENOENT");
    expect(home.ollama.models.size).toBe(3);
  });

  it("works on ollm's own store", async () => {
    await makeHome({ OLLM_PROVIDERS_LLAMA_CPP_ENABLED: "true", OLLM_STORE_READ_OLLAMA: "false" });
    const file = path.join(home.folder, "tiny.gguf");
    await writeTinyGguf(file);
    const folder = path.join(home.home, "models");
    const signal = new AbortController().signal;
    const store = createModelStore({
      folder,
      readOnlyFolders: [],
      registry: { defaultHost: "127.0.0.1:1", stallTimeoutMs: 1_000 },
      http: createHttpGet({}, loopbackNamed),
      log,
    });
    await store.import(file, "own:1b", () => undefined, signal);
    const manifest = path.join(folder, "manifests", "registry.ollama.ai", "library", "own", "1b");
    const installed = new Date(Date.now() - 90 * day);
    await utimes(manifest, installed, installed);
    const { code, stdout } = await ollm(["tidy", "--yes", "--json"]);
    expect(code).toBe(0);
    const { deleted } = JSON.parse(stdout) as { deleted: { model: string; freed_bytes: number }[] };
    expect(deleted.map(({ model }) => model).toSorted()).toEqual(["old:1b", "own:1b", "stuck:1b"]);
    expect(await store.list()).toEqual([]);
  });
});
