import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { changeConfig } from "../../../src/orchestrator/config/change.ts";
import { loadSettings } from "../../../src/orchestrator/config/load.ts";
import { trustOf } from "../../../src/orchestrator/config/openai-servers.ts";
import { shownSettings } from "../../../src/orchestrator/config/shown.ts";
import { hideKeys, looksLikeKey } from "../../../src/orchestrator/util/control-characters.ts";

let home: string;
let file: string;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "ollm-openai-settings-"));
  file = join(home, "config.yaml");
});
afterEach(() => rm(home, { recursive: true }));

const key = "sk-Zq8aTw3Lk9Xv2Rb7Np4M";
const prices = { inputPerMillion: 0.6, outputPerMillion: 2.5, currency: "USD", date: "2026-11-22" };
const kimi = { id: "kimi", kind: "cloud", baseUrl: "https://api.moonshot.ai/v1" };

const load = (environment: Readonly<Record<string, string>> = {}) => loadSettings({ home, environment, flags: {} });
const loadServers = (entries: unknown) => load({ OLLM_PROVIDERS_OPENAI: JSON.stringify(entries) });
const messageOf = async (entries: unknown) => {
  const error: unknown = await loadServers(entries).catch((reason: unknown) => reason);
  return error instanceof Error ? error.message : "valid";
};

describe("providers.openai", () => {
  it("is read from the file, with defaults, and each value has its line", async () => {
    await writeFile(
      file,
      `providers:
  openai:
    - id: kimi # a comment
      kind: cloud
      baseUrl: https://api.moonshot.ai/v1
      apiKeyFile: ~/.ollm/kimi.key
      limits:
      models: [kimi-k2, {name: kimi-thin, contextTokens: 8192}]
      prices: {inputPerMillion: 0.6, outputPerMillion: 2.5, currency: USD, date: 2026-11-22}
      monthlyBudget: 10
    - {id: box, kind: cluster, baseUrl: "http://10.0.0.5:8000/v1", trust: local}
`,
    );
    const { settings, sources } = await load();
    expect(settings.providers.openai).toEqual([
      {
        ...kimi,
        apiKeyFile: "~/.ollm/kimi.key",
        models: ["kimi-k2", { name: "kimi-thin", contextTokens: 8192 }],
        prices,
        monthlyBudget: 10,
        limits: { total: 1800 },
        connections: 10,
      },
      expect.objectContaining({ id: "box", trust: "local" }),
    ]);
    const rows = shownSettings(settings, sources, "providers.openai[0].monthlyBudget");
    expect(rows).toEqual([
      { path: "providers.openai[0].monthlyBudget", value: 10, source: `${file}:10`, scope: "daemon" },
    ]);
    const all = shownSettings(settings, sources, "providers.openai");
    expect(all).toContainEqual(expect.objectContaining({ path: "providers.openai[1].id", source: `${file}:11` }));
    expect(all).toContainEqual(expect.objectContaining({ path: "providers.openai[0].prices.currency", value: "USD" }));
  });

  it("is read from its variable as JSON, whose text is not shown if it is broken", async () => {
    expect((await loadServers([kimi])).settings.providers.openai).toMatchObject([kimi]);
    const broken = `[{"id": "kimi", "apiKey": "${key}"`;
    const error = await load({ OLLM_PROVIDERS_OPENAI: broken }).catch((reason: unknown) => reason);
    expect(String(error)).toContain("OLLM_PROVIDERS_OPENAI is not JSON");
    expect(String(error)).not.toContain(key);
  });

  it.each<[string, unknown, string]>([
    ["an id twice", [kimi, kimi], 'providers.openai[1].id is "kimi": an earlier entry has that id'],
    ["the id of another engine", [{ ...kimi, id: "ollama-2" }], "another engine has that id"],
    ["an id with capitals", [{ ...kimi, id: "Kimi" }], "small letters"],
    ["an address without a scheme", [{ ...kimi, baseUrl: "api.moonshot.ai" }], "write http(s)://host:port/v1"],
    ["another scheme", [{ ...kimi, baseUrl: "ftp://api.moonshot.ai" }], "write http(s)://host:port/v1"],
    ["a query", [{ ...kimi, baseUrl: "https://a.example/v1?x=1" }], "nothing after ?"],
    ["a cloud over plain HTTP", [{ ...kimi, baseUrl: "http://api.moonshot.ai/v1" }], "a cloud needs https"],
    ["a trusted cloud", [{ ...kimi, trust: "local" }], "a cloud is remote"],
    ["a local server elsewhere", [{ ...kimi, kind: "local" }], "that address is not on this machine"],
    ["two places for the key", [{ ...kimi, apiKeyEnv: "OLLM_K", apiKeyFile: "~/k" }], "keep one of them"],
    ["a relative file", [{ ...kimi, apiKeyFile: "kimi.key" }], "write a whole path"],
    ["a currency in words", [{ ...kimi, prices: { ...prices, currency: "dollars" } }], "three capitals"],
    ["prices without a date", [{ ...kimi, prices: { ...prices, date: undefined } }], "prices.date is unset"],
    ["a day that is none", [{ ...kimi, prices: { ...prices, date: "2026-02-31" } }], "write the day as 2026-11-22"],
    ["a negative price", [{ ...kimi, prices: { ...prices, inputPerMillion: -1 } }], "number from 0"],
    ["a budget without prices", [{ ...kimi, monthlyBudget: 5 }], "a budget needs prices"],
    [
      "a budget where a model has no price",
      [{ ...kimi, monthlyBudget: 5, models: ["a", { name: "b", prices }] }],
      "a budget needs prices",
    ],
    [
      "a budget in two currencies",
      [{ ...kimi, monthlyBudget: 5, prices, models: [{ name: "b", prices: { ...prices, currency: "EUR" } }] }],
      "prices in one currency, not USD, EUR",
    ],
    ["a misspelt key", [{ ...kimi, baseURL: "x" }], "did you mean providers.openai[0].baseUrl?"],
    [
      "a misspelt key of a model",
      [{ ...kimi, models: [{ name: "a", context: 1 }] }],
      "models[0].context is not a setting",
    ],
    ["a limit of 0", [{ ...kimi, limits: { total: 0 } }], "limits.total is 0; allowed: number from 0.1"],
  ])("refuses %s", async (_what, entries, message) => {
    expect(await messageOf(entries)).toContain(message);
  });

  it.each<[string, unknown]>([
    ["apiKey", [{ ...kimi, apiKey: key }]],
    ["apiKey, of no known form", [{ ...kimi, apiKey: "a b c 0123" }]],
    ["key", [{ ...kimi, key: key }]],
    ["apiKeyEnv", [{ ...kimi, apiKeyEnv: key }]],
    ["apiKeyEnv, of no known form", [{ ...kimi, apiKeyEnv: "0a1b2c3d4e5f60718293a4b5c6d7e8f9" }]],
    ["apiKeyFile", [{ ...kimi, apiKeyFile: key }]],
    ["baseUrl's password", [{ ...kimi, baseUrl: `https://me:${key}@api.moonshot.ai/v1` }]],
    ["baseUrl's query", [{ ...kimi, baseUrl: `https://api.moonshot.ai/v1?key=${key}` }]],
    ["the name of a setting", [{ ...kimi, [key]: true }]],
  ])("refuses a key in %s, says where it belongs and does not show it", async (_where, entries) => {
    const message = await messageOf(entries);
    expect(message).toContain("apiKeyFile");
    expect(message).not.toContain(key);
    expect(message).not.toContain("0123");
    expect(message).not.toContain("0a1b2c3d");
  });

  it("trusts servers of this machine, and others by the user's word", () => {
    const trust = (kind: "cloud" | "cluster" | "local", baseUrl: string, said?: "local" | "remote") =>
      trustOf({ kind, baseUrl, trust: said });
    expect(trust("local", "http://127.0.0.1:8080/v1")).toBe("local");
    expect(trust("cluster", "http://localhost:8000/v1")).toBe("local");
    expect(trust("cluster", "http://[::1]:8000/v1", "remote")).toBe("remote");
    expect(trust("cluster", "http://10.0.0.5:8000/v1")).toBe("remote");
    expect(trust("cluster", "http://10.0.0.5:8000/v1", "local")).toBe("local");
    expect(trust("cluster", "http://127.0.0.1.example.org/v1")).toBe("remote");
    // A proxy on this machine passes prompts on.
    expect(trust("cloud", "http://127.0.0.1:4000/v1")).toBe("remote");
  });
});

describe("changing providers.openai", () => {
  const text = `# mine
providers:
  openai:
    # the first
    - id: kimi
      kind: cloud
      baseUrl: https://api.moonshot.ai/v1
      prices: {inputPerMillion: 0.6, outputPerMillion: 2.5, currency: USD, date: 2026-11-22}
`;

  it("sets and removes one value of an entry, and keeps the comments", async () => {
    await writeFile(file, text);
    const change = await changeConfig(home, "providers.openai[0].monthlyBudget", "20");
    expect(change).toMatchObject({ value: 20, isChanged: true });
    const { settings } = await load();
    expect(settings.providers.openai).toMatchObject([{ id: "kimi", monthlyBudget: 20 }]);
    const after = await readFile(file, "utf8");
    expect(after).toContain("# mine");
    expect(after).toContain("# the first");
    await changeConfig(home, "providers.openai[0].monthlyBudget");
    expect((await load()).settings.providers.openai[0]?.monthlyBudget).toBeUndefined();
  });

  it("sets the whole list as JSON", async () => {
    await changeConfig(home, "providers.openai", JSON.stringify([kimi]));
    expect((await load()).settings.providers.openai).toMatchObject([kimi]);
    await changeConfig(home, "providers.openai[0]", JSON.stringify({ ...kimi, id: "moon" }));
    expect((await load()).settings.providers.openai).toMatchObject([{ id: "moon" }]);
    await changeConfig(home, "providers.openai[0]");
    expect((await load()).settings.providers.openai).toEqual([]);
  });

  it("refuses a budget that is empty, with its line: it would be none", async () => {
    await writeFile(file, `${text}      monthlyBudget:\n`);
    await expect(load()).rejects.toThrow(
      `${file}:9: providers.openai[0].monthlyBudget is empty; allowed: number from 0 to 1000000`,
    );
  });

  it("writes nothing that is invalid, and shows no key", async () => {
    await writeFile(file, text);
    for (const value of [key, `[{"id": "kimi", "apiKey": "${key}"}]`, `{"apiKey": "${key}"}`]) {
      const error = await changeConfig(home, "providers.openai", value).catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(Error);
      expect(String(error)).not.toContain(key);
    }
    const [absent] = await Promise.allSettled([changeConfig(home, "providers.openai[3].monthlyBudget", "1")]);
    expect(absent.status).toBe("rejected");
    expect(await readFile(file, "utf8")).toBe(text);
  });
});

describe("looksLikeKey", () => {
  it.each([
    key,
    `Bearer ${key}`,
    "gsk_Ab12Cd34Ef56Gh78",
    "AIzaSyA1234567890abcdefghijk",
    "0a1b2c3d4e5f60718293a4b5c6d7e8f9",
  ])("knows %s, and hides it", (text) => {
    expect(looksLikeKey(text)).toBe(true);
    expect(hideKeys(text)).toMatch(/^(?:Bearer )?\*{3}$/);
  });

  it.each([
    "deepseek-r1-0528-qwen3-8b",
    "OLLM_KIMI_API_KEY",
    "~/.ollm/kimi.key",
    "/home/me/sk-keys/a",
    "hf.co/a/b:Q4_K_M",
  ])("leaves %s as it is", (text) => {
    expect(looksLikeKey(text)).toBe(false);
    expect(hideKeys(text)).toBe(text);
  });
});
