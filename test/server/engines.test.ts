import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Settings, settingsSchema } from "../../src/orchestrator/config/schema.ts";
import { writeTinyGguf } from "../support/tiny-gguf.ts";
import { createEngineMaker } from "../../src/server/daemon/engines.ts";

type EngineMaker = ReturnType<typeof createEngineMaker>;

let home: string;
let make: EngineMaker;
/** The settings in force. */
let inForce: Settings | undefined;
beforeEach(async () => {
  home = await mkdtemp(path.join(tmpdir(), "ollm-engines-"));
  const log = { debug: () => undefined, info: () => undefined, warn: () => undefined };
  const world = {
    home,
    userHome: home,
    environment: {},
    cores: 2,
    version: "0",
    log,
    isOllamaOptional: () => false,
    current: () => inForce,
  };
  make = createEngineMaker(world);
});
afterEach(() => (inForce = undefined));
afterEach(() => rm(home, { recursive: true, force: true }));

const settings = (ollama: object) =>
  settingsSchema.parse({ providers: { ollama: { host: "127.0.0.1:1", ...ollama }, llamaCpp: { enabled: false } } });

describe("a change of settings that an engine reads when it needs them", () => {
  const given = (more: object) => settingsSchema.parse({ providers: { ollama: { host: "127.0.0.1:1" } }, ...more });

  it("replaces no engine, so that loaded models stay", () => {
    const engines = make(given({}));
    expect(engines.map(({ id }) => id)).toEqual(["ollama", "llama-cpp"]);
    for (const changed of [
      { store: { promptCacheBytes: 5 } },
      { store: { readOllama: false } },
      { store: { path: path.join(home, "elsewhere") } },
      { network: { allowedHosts: ["registry.lan:5000"] } },
    ])
      expect(make(given(changed)), JSON.stringify(changed)).toEqual(engines);
    // Only a server whose own address is allowed, or no longer.
    const [ollama, embedded] = make(given({ network: { allowedHosts: ["127.0.0.1:1"] } }));
    expect([ollama === engines[0], embedded === engines[1]]).toEqual([false, true]);
  });

  it("lists and pulls from the folder of the settings in force, from the next call on", async () => {
    const [a, b] = ["a", "b"].map((name) => given({ store: { path: path.join(home, name), readOllama: false } }));
    inForce = a;
    const [, embedded] = make(inForce as Settings);
    const file = path.join(home, "tiny.gguf");
    await writeTinyGguf(file);
    const { signal } = new AbortController();
    await embedded?.library?.import(file, "tiny", () => undefined, signal);
    const names = async () => (await embedded?.list(signal))?.map(({ name }) => name);
    expect(await names()).toEqual(["tiny:latest"]);
    // Checked, and not in force.
    make(b as Settings);
    expect(await names()).toEqual(["tiny:latest"]);
    inForce = b;
    expect(await names()).toEqual([]);
    inForce = a;
    expect(await names()).toEqual(["tiny:latest"]);
  });

  it("refuses a folder that can't be used, and keeps the engines", () => {
    const engines = make(given({}));
    expect(() => make(given({ store: { path: path.join(home, ".ollama", "models") } }))).toThrow("store.path");
    expect(make(given({}))).toEqual(engines);
  });
});

describe("several Ollama servers", () => {
  it("are engines of their own, in order, this machine's sharing its memory", () => {
    const engines = make(settings({ hosts: ["http://box.lan:11434", ":2"] }));
    expect(engines.map(({ id, trust, memoryDomain }) => [id, trust, memoryDomain])).toEqual([
      ["ollama", "local", "local"],
      ["ollama-2", "remote", "box.lan:11434"],
      ["ollama-3", "local", "local"],
    ]);
  });

  it("are one where two names are one address", () => {
    const engines = make(settings({ hosts: ["http://127.0.0.1:1", "box.lan", "http://box.lan:11434"] }));
    expect(engines.map(({ id }) => id)).toEqual(["ollama", "ollama-3"]);
  });

  it("are one where two names are this machine's: its models would count twice", () => {
    const engines = make(settings({ hosts: ["localhost:1", "http://[::1]:1/", "localhost:2"] }));
    expect(engines.map(({ id }) => id)).toEqual(["ollama", "ollama-4"]);
  });

  it("stay the engines they are when another is added behind them", () => {
    const [first, second] = make(settings({ hosts: ["box.lan"] }));
    const [sameFirst, sameSecond, third] = make(settings({ hosts: ["box.lan", "attic.lan"] }));
    expect([sameFirst === first, sameSecond === second, third?.id]).toEqual([true, true, "ollama-3"]);
  });

  it("load as the settings say of the first; one that is set otherwise is another engine", () => {
    const [first, second] = make(settings({ hosts: ["box.lan"], parallel: 2, cacheType: "q8_0" }));
    expect(first?.residency?.serverOptions).toEqual({ parallel: 2, cacheType: "q8_0", hasFlashAttention: true });
    expect(second?.residency?.serverOptions).toEqual({ parallel: 1, cacheType: "f16", hasFlashAttention: true });
    expect([first, second].map((engine) => engine?.answersAtOnce?.("any"))).toEqual([2, 1]);
    const [other, same] = make(settings({ hosts: ["box.lan"], parallel: 4, cacheType: "q8_0" }));
    expect([other === first, same === second]).toEqual([false, true]);
  });

  it("load as an entry of hosts says, which has memory of its own", () => {
    const attic = { host: "attic.lan", memoryBytes: 8e9, parallel: 3, cacheType: "q4_0", flashAttention: false };
    const engines = make(settings({ hosts: ["box.lan", attic, { host: "http://box.lan:11434" }], parallel: 2 }));
    expect(engines.map(({ id, memoryBytes }) => [id, memoryBytes])).toEqual([
      ["ollama", undefined],
      ["ollama-2", undefined],
      ["ollama-3", 8e9],
    ]);
    expect(engines.map((engine) => engine.answersAtOnce?.("any"))).toEqual([2, 1, 3]);
    expect(engines[2]?.residency?.serverOptions).toEqual({ parallel: 3, cacheType: "q4_0", hasFlashAttention: false });
    expect(() => settings({ hosts: [{ host: "box.lan", memory: 8e9 }] })).toThrow("memory");
  });

  it("are none when an address can't be read: the settings say so", () => {
    expect(() => settings({ hosts: ["ftp://box.lan"] })).toThrow("ftp");
  });

  it("keep serving under other pool settings, which apply from their next request on", () => {
    const [first, second] = make(settings({ hosts: ["box.lan"] }));
    expect(first?.connections?.().control.limit).toBe(10);
    const [same, sameSecond] = make(settings({ hosts: ["box.lan"], connections: 4 }));
    expect([same === first, sameSecond === second]).toEqual([true, true]);
    expect([first, second].map((engine) => engine?.connections?.().control.limit)).toEqual([4, 4]);
  });
});

describe("servers that speak OpenAI's protocol", () => {
  const openai = (entries: readonly object[]) =>
    settingsSchema.parse({
      providers: { ollama: { host: "127.0.0.1:1" }, llamaCpp: { enabled: false }, openai: entries },
    });
  const kimi = { id: "kimi", kind: "cloud", baseUrl: "https://api.moonshot.ai/v1" };
  const box = { id: "box", kind: "cluster", baseUrl: "http://10.0.0.5:8000/v1", trust: "local" };

  it("follow the other engines in order, and an edited one is the only one that is replaced", () => {
    const before = make(openai([kimi, box]));
    expect(before.map(({ id, trust }) => [id, trust])).toEqual([
      ["ollama", "local"],
      ["kimi", "remote"],
      ["box", "local"],
    ]);
    const prices = { inputPerMillion: 1, outputPerMillion: 2, currency: "USD", date: "2026-11-22" };
    const after = make(openai([{ ...kimi, prices, monthlyBudget: 5 }, box]));
    expect(after.map((engine, index) => engine === before[index])).toEqual([true, false, true]);
    expect(after[1]).toMatchObject({ monthlyBudget: 5 });
    expect(after[1]?.pricesOf?.("any")).toEqual(prices);
  });

  it("take their key out of the environment that child processes inherit", () => {
    const name = `OLLM_TEST_KEY_${process.pid}`;
    process.env[name] = "0123456789";
    const log = { debug: () => undefined, info: () => undefined, warn: () => undefined };
    createEngineMaker({
      home,
      userHome: home,
      environment: process.env,
      cores: 2,
      version: "0",
      log,
      isOllamaOptional: () => false,
      current: () => undefined,
    })(openai([{ ...kimi, apiKeyEnv: name }]));
    expect(process.env[name]).toBeUndefined();
  });
});
