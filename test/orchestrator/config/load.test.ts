import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { tmpdir } from "node:os";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { resolveHome } from "../../../src/orchestrator/config/home.ts";
import { callerSettings, loadSettings } from "../../../src/orchestrator/config/load.ts";
import { settingPaths } from "../../../src/orchestrator/config/paths.ts";
import { settingsSchema } from "../../../src/orchestrator/config/schema.ts";
import { InvalidConfig } from "../../../src/orchestrator/api/errors.ts";

let home: string;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "ollm-config-"));
});
afterEach(() => rm(home, { recursive: true }));

const writeConfig = (text: string) => writeFile(join(home, "config.yaml"), text);
const load = (environment: Record<string, string> = {}, flags = {}) => loadSettings({ home, environment, flags });

async function failure(environment: Record<string, string> = {}, flags = {}): Promise<string> {
  const error: unknown = await load(environment, flags).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(InvalidConfig);
  return (error as InvalidConfig).message.replaceAll(home, "HOME");
}

describe("loadSettings", () => {
  it("uses the defaults when nothing is set", async () => {
    const { settings, warnings } = await load();
    expect(settings.privacy).toBe("local_only");
    expect(settings.memory.bufferBytes).toBe(2 * 1024 ** 3);
    expect(settings.providers.ollama.host).toBe("http://127.0.0.1:11434");
    expect(settings.options.maxTokens).toBe(4096);
    expect(warnings).toEqual([]);
  });

  it("names what models.<pattern> can't say of a model, with the nearest name", async () => {
    await writeConfig('models:\n  "tinyfoo*":\n    capabilities: [completion, tool]\n');
    expect(await failure()).toBe(
      'HOME/config.yaml:3: models["tinyfoo*"].capabilities[1] is "tool"; allowed: completion, tools, insert, vision, embedding, thinking, image, audio; did you mean tools?',
    );
    await writeConfig(
      'models:\n  "tinyfoo*":\n    profiles: [code, creativ, mine]\nprofiles:\n  mine: {extends: code}\n',
    );
    expect((await load()).warnings.map((each) => each.replaceAll(home, "HOME"))).toEqual([
      'HOME/config.yaml:3: models["tinyfoo*"].profiles names creativ, which is not a profile; did you mean creative?',
    ]);
  });

  it("shows an invalid list item, but no password of an address", async () => {
    expect(await failure({ OLLM_PROVIDERS_OLLAMA_HOSTS: "http://a,ftp://x" })).toContain('hosts[1] is "ftp://x": ');
    for (const address of ["http://ann:topsecret@box:1", "ann:topsecret@box", "http://ann:top/topsecret@box"]) {
      const message = await failure({ OLLM_PROVIDERS_OLLAMA_HOSTS: address });
      expect(message).toContain("***@box");
      expect(message).not.toContain("topsecret");
      expect(await failure({ OLLM_HOST: address })).not.toContain("topsecret");
    }
  });

  it("rejects an empty root, which an unset variable leaves, from any source", async () => {
    const empty = "an entry is empty (an unset variable?); leave it out";
    expect(await failure({}, { roots: [""] })).toBe(`--root: files.roots is [""]: ${empty}`);
    expect(await failure({}, { roots: ["/notes", " \t"] })).toContain(empty);
    for (const value of [`${delimiter}/notes`, `/notes${delimiter}`, `/a${delimiter} ${delimiter}/b`, delimiter]) {
      expect(await failure({ OLLM_FILES_ROOTS: value }), value).toContain(empty);
    }
    await writeConfig('files: {roots: ["", /notes]}\n');
    expect(await failure()).toContain(empty);
  });

  it("rejects the whole disk as a root unless it is written deliberately", async () => {
    const whole = "that is the whole disk (an unset variable?)";
    for (const root of ["/", "//", "///"]) expect(await failure({}, { roots: [root] }), root).toContain(whole);
    expect(await failure({ OLLM_FILES_ROOTS: "/" })).toContain(whole);
    await writeConfig("files: {roots: [/]}\n");
    expect(await failure()).toContain(`HOME/config.yaml:1: files.roots is ["/"]: ${whole}`);
    await writeConfig("files: {roots: [/.]}\n");
    expect((await load()).settings.files.roots).toEqual(["/."]);
  });

  it("lets flags override variables, variables the file, and the file the defaults", async () => {
    await writeConfig("model:\n  default: from-file\noptions:\n  maxTokens: 100\n  temperature: 0.1\n");
    const { settings } = await load({ OLLM_MODEL: "from-environment", OLLM_MAX_TOKENS: "200" }, { model: "from-flag" });
    expect(settings.model.default).toBe("from-flag");
    expect(settings.options.maxTokens).toBe(200);
    expect(settings.options.temperature).toBe(0.1);
  });

  it.each([
    { name: "OLLM_MEMORY_AVAILABLE_BYTES", value: "123", path: ["memory", "availableBytes"], expected: 123 },
    { name: "OLLM_MODEL_ROUTING_ENABLED", value: "false", path: ["model", "routing", "enabled"], expected: false },
    { name: "OLLM_STORE_READ_OLLAMA", value: "no", path: ["store", "readOllama"], expected: false },
    { name: "OLLM_FILES_ROOTS", value: `/a${delimiter}/b`, path: ["files", "roots"], expected: ["/a", "/b"] },
    {
      name: "OLLM_NETWORK_ALLOWED_HOSTS",
      value: "box.lan:11434, [fd00::1]:80,,192.168.1.5",
      path: ["network", "allowedHosts"],
      expected: ["box.lan:11434", "[fd00::1]:80", "192.168.1.5"],
    },
    {
      name: "OLLM_HTTP_ALLOWED_HOSTS",
      value: "box.lan:7411",
      path: ["http", "allowedHosts"],
      expected: ["box.lan:7411"],
    },
    {
      name: "OLLM_HTTP_ALLOWED_ORIGINS",
      value: "https://one.example,http://two.example:8080",
      path: ["http", "allowedOrigins"],
      expected: ["https://one.example", "http://two.example:8080"],
    },
    {
      name: "OLLM_MODEL_ROUTING_OVERRIDES",
      value: '{"code":"x"}',
      path: ["model", "routing", "overrides"],
      expected: { code: "x" },
    },
    { name: "OLLM_CONTEXT_SIZE", value: "8192", path: ["providers", "ollama", "options", "numCtx"], expected: 8192 },
    {
      name: "OLLM_HOST",
      value: "http://127.0.0.1:1",
      path: ["providers", "ollama", "host"],
      expected: "http://127.0.0.1:1",
    },
  ])("$name sets $path", async ({ name, value, path, expected }) => {
    const { settings } = await load({ [name]: value });
    expect(path.reduce<unknown>((node, key) => (node as Record<string, unknown>)[key], settings)).toEqual(expected);
  });

  it("uses Ollama's own variable only where nothing is set for ollm", async () => {
    expect((await load({ OLLAMA_HOST: "ambient:1" })).settings.providers.ollama.host).toBe("ambient:1");
    expect((await load({ OLLAMA_HOST: "ambient:1", OLLM_HOST: "ours:2" })).settings.providers.ollama.host).toBe(
      "ours:2",
    );
    await writeConfig("providers: {ollama: {host: 'file:3'}}\n");
    expect((await load({ OLLAMA_HOST: "ambient:1" })).settings.providers.ollama.host).toBe("file:3");
  });

  it("takes an entry of hosts with what its server has, and names a wrong one", async () => {
    await writeConfig(
      'providers: {ollama: {hosts: ["a.lan", {host: "b.lan", memoryBytes: 8000000000, parallel: 4}]}}\n',
    );
    const usual = { cacheType: "f16", flashAttention: true };
    expect((await load({})).settings.providers.ollama.hosts).toEqual([
      "a.lan",
      { host: "b.lan", memoryBytes: 8e9, parallel: 4, ...usual },
    ]);
    for (const wrong of [
      '{host: "ftp://x"}',
      "{parallel: 2}",
      '{host: "b.lan", memory: 5}',
      '{host: "b.lan", parallel: 0}',
    ]) {
      await writeConfig(`providers: {ollama: {hosts: ["a.lan", ${wrong}]}}\n`);
      expect(await failure({})).toContain("hosts[1]");
    }
  });

  describe("variables of the Ollama server", () => {
    const own = { OLLAMA_NUM_PARALLEL: "4", OLLAMA_KV_CACHE_TYPE: "Q8_0", OLLAMA_FLASH_ATTENTION: "0" };
    const usual = { cacheType: "f16", flashAttention: true };

    it("apply to the server on this machine where nothing is set for ollm", async () => {
      expect((await load(own)).settings.providers.ollama).toMatchObject({
        parallel: 4,
        cacheType: "q8_0",
        flashAttention: false,
      });
      expect((await load(own)).sources.get("providers.ollama.parallel")).toBe("OLLAMA_NUM_PARALLEL");
      await writeConfig("providers: {ollama: {parallel: 2}}\n");
      const { settings } = await load({ ...own, OLLM_PROVIDERS_OLLAMA_CACHE_TYPE: "q4_0" });
      expect(settings.providers.ollama).toMatchObject({ parallel: 2, cacheType: "q4_0", flashAttention: false });
    });

    it("don't apply to a server on another machine, whatever set its address", async () => {
      await writeConfig("providers: {ollama: {parallel: 2}}\n");
      for (const loaded of [load({ ...own, OLLAMA_HOST: "box.lan" }), load(own, { host: "http://box.lan:1" })]) {
        const { settings, sources } = await loaded;
        expect(settings.providers.ollama).toMatchObject({ ...usual, parallel: 2 });
        expect(sources.has("providers.ollama.cacheType")).toBe(false);
      }
    });

    it("mean the server's defaults when they are invalid", async () => {
      const wrong = { OLLAMA_NUM_PARALLEL: "many", OLLAMA_KV_CACHE_TYPE: "q9", OLLAMA_FLASH_ATTENTION: "perhaps" };
      const { ollama } = (await load(wrong)).settings.providers;
      expect(ollama).toMatchObject(usual);
      expect(ollama.parallel).toBeUndefined();
      expect((await load({ OLLAMA_NUM_PARALLEL: "0" })).settings.providers.ollama.parallel).toBe(1);
      expect((await load({ OLLAMA_NUM_PARALLEL: "9".repeat(30) })).settings.providers.ollama.parallel).toBeUndefined();
    });
  });

  it.each([
    ["parallel: 0", "providers.ollama.parallel is 0", "whole number from 1"],
    ["parallel: two", 'providers.ollama.parallel is "two"', "whole number from 1"],
    ["cacheType: q9", 'providers.ollama.cacheType is "q9"', "f32, f16, bf16, q8_0"],
    ["flashAttention: auto", 'providers.ollama.flashAttention is "auto"', "true, false"],
  ])("rejects %s of an Ollama server with the allowed values", async (text, fact, allowed) => {
    await writeConfig(`providers: {ollama: {${text}}}\n`);
    const message = await failure();
    expect(message).toContain(fact);
    expect(message).toContain(allowed);
  });

  it("adds the roots of flags to configured ones", async () => {
    await writeConfig("files:\n  roots: [/configured]\n");
    expect((await load({}, { roots: ["/given"] })).settings.files.roots).toEqual(["/configured", "/given"]);
  });

  it("ignores spaces around a variable's value", async () => {
    const { settings } = await load({ OLLM_MODEL: " a:1b ", OLLM_LOG_LEVEL: "info ", OLLM_LOG_PROMPTS: "true " });
    expect([settings.model.default, settings.log]).toEqual(["a:1b", { prompts: true, level: "info" }]);
  });

  it("treats an empty file and an empty variable as not set", async () => {
    await writeConfig("# nothing yet\n");
    expect((await load({ OLLM_MODEL: "" })).settings.model.default).toBeUndefined();
  });

  it("names the line, path and value of an invalid value, and what is allowed", async () => {
    await writeConfig("memory:\n  bufferBytes: lots\nprivacy: open\n");
    const message = await failure();
    expect(message).toContain('HOME/config.yaml:2: memory.bufferBytes is "lots"; allowed: whole number from 0');
    expect(message).toContain('HOME/config.yaml:3: privacy is "open"; allowed: local_only, allow_remote');
  });

  it.each([
    ["options: {temperature: .nan}", "options.temperature is NaN; allowed: number from 0 to 2"],
    ["options: {maxTokens: 1.5}", "options.maxTokens is 1.5; allowed: whole number from 1"],
    ["options: {topP: 0}", "options.topP is 0; allowed: number above 0 to 1"],
    ["model: llama3", 'model is "llama3"; allowed: section of default, provider, judge, routing, keepAlive'],
    ["model: {keepAlive: {models: a}}", 'model.keepAlive.models is "a"; allowed: list'],
    ["model: {routing: {overrides: {code: 5}}}", "model.routing.overrides.code is 5; allowed: text"],
    [
      "model: {routing: {defaultProfile: cod}}",
      '"cod"; allowed: fast, general, code, creative, text, vision, audio, web, orchestrator, swarm, simple, reasoning, typescript, typescript-monorepo, python, rust, go, documentation; did you mean code?',
    ],
    ['models: {"q*": {contextTokens: 5}}', 'models["q*"].contextTokens is 5; allowed: whole number from 256'],
    ['models: {"": {keepAlive: 5}}', 'the key models[""] is empty'],
    ["schemaVersion: 2", "schemaVersion is 2; allowed: 1"],
  ])("names what is allowed for %s", async (text, problem) => {
    await writeConfig(`${text}\n`);
    expect(await failure()).toContain(`HOME/config.yaml:1: `);
    expect(await failure()).toContain(problem);
  });

  it("lists ten of many problems and counts the rest", async () => {
    const models = Array.from({ length: 500 }, (_each, index) => `  m${index}: {keepAlive: often}`).join("\n");
    await writeConfig(`models:\n${models}\n`);
    const message = await failure();
    expect(message.split("; HOME").length).toBe(10);
    expect(message).toMatch(/; and 490 more$/);
  });

  it("warns of an override for an unknown task and uses the file", async () => {
    await writeConfig("model:\n  routing:\n    overrides: {code: a, cdoe: b}\n");
    const { settings, warnings } = await load({});
    expect(settings.model.routing.overrides).toEqual({ code: "a", cdoe: "b" });
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(
      /config\.yaml:3: model\.routing\.overrides\.cdoe is never used: .*did you mean code\?$/,
    );
  });

  it("names the line of a misspelt setting and the nearest one", async () => {
    await writeConfig("model:\n  defualt: x\n");
    expect(await failure()).toBe("HOME/config.yaml:2: model.defualt is not a setting; did you mean model.default?");
  });

  it.each([
    {
      environment: { OLLM_TEMPERATURE: "warm" },
      flags: {},
      message: 'OLLM_TEMPERATURE: options.temperature is "warm"',
    },
    { environment: {}, flags: { maxTokens: "many" }, message: '--max-tokens: options.maxTokens is "many"' },
    { environment: { OLLM_STORE_READ_OLLAMA: "perhaps" }, flags: {}, message: "must be true or false" },
    {
      environment: { OLLM_MODEL_ROUTING_OVERRIDES: "{" },
      flags: {},
      message: "OLLM_MODEL_ROUTING_OVERRIDES is not JSON",
    },
  ])("names the variable or flag of an invalid value: $message", async ({ environment, flags, message }) => {
    expect(await failure(environment as Record<string, string>, flags)).toContain(message);
  });

  it.each([
    { text: "model: [unclosed\n", message: "HOME/config.yaml:" },
    { text: "- a\n- b\n", message: "contains no settings" },
    { text: "just words\n", message: "contains no settings" },
  ])("rejects a file without settings and doesn't change it: $text", async ({ text, message }) => {
    await writeConfig(text);
    expect(await failure()).toContain(message);
  });

  it("warns of an unknown OLLM_ variable with the nearest name", async () => {
    const { warnings } = await load({ OLLM_MODLE: "x", OLLM_HOME: home, OLLM_TEST_ANYTHING: "1" });
    expect(warnings).toEqual(["OLLM_MODLE is not a setting; did you mean OLLM_MODEL?"]);
  });
});

describe("settings", () => {
  it("each have a scope, a type and a variable of their own", () => {
    const paths = settingPaths(settingsSchema);
    expect(paths.length).toBeGreaterThan(20);
    expect(new Set(paths.map((setting) => setting.environmentName)).size).toBe(paths.length);
    expect(paths.find((setting) => setting.path.join(".") === "memory.availableBytes")).toEqual({
      path: ["memory", "availableBytes"],
      environmentName: "OLLM_MEMORY_AVAILABLE_BYTES",
      type: "number",
      scope: "daemon",
    });
    expect(paths.find((setting) => setting.path.join(".") === "options.temperature")?.scope).toBe("request");
    expect(paths.find((setting) => setting.path.join(".") === "privacy")?.scope).toBe("caller");
  });

  it("of a caller leave out what is not set", async () => {
    expect(callerSettings((await load()).settings)).toEqual({
      privacy: "local_only",
      model: {
        routing: { enabled: true, defaultProfile: "general", maxSwitchSeconds: 10, overrides: {}, learn: true },
      },
      profiles: {},
      options: { temperature: 0.7, maxTokens: 4096 },
      providers: { ollama: { options: {} } },
      models: {},
      recall: { injectTokens: 512 },
      queue: {},
      files: { roots: [] },
      projects: { detect: true },
      tools: { sets: ["default"], disabled: [] },
      jobs: { patience: 45 },
    });
  });

  it("are in OLLM_HOME, else in .ollm of the user's home", () => {
    expect(resolveHome({ OLLM_HOME: join(home, "x") }, "/home/me")).toBe(join(home, "x"));
    expect(resolveHome({ OLLM_HOME: "~/x" }, home)).toBe(join(home, "x"));
    expect(resolveHome({ OLLM_HOME: " " }, "/home/me")).toBe(join("/home/me", ".ollm"));
  });
});
