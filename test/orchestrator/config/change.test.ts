import { spawnSync } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, stat, symlink, utimes, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { changeConfig } from "../../../src/orchestrator/config/change.ts";
import { loadSettings } from "../../../src/orchestrator/config/load.ts";
import { shownSetting } from "../../../src/orchestrator/config/shown.ts";
import { InvalidConfig, InvalidRequest, StoreFailed } from "../../../src/orchestrator/api/errors.ts";

let home: string;
let file: string;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "ollm-change-"));
  file = join(home, "config.yaml");
});
afterEach(() => rm(home, { recursive: true }));

/** The content of the lock of a process of this machine. */
const claimOf = (pid: number): string => JSON.stringify({ token: "01234567", pid, host: hostname() });
const read = () => readFile(file, "utf8");
const get = async (path: string) => {
  const { settings, sources } = await loadSettings({ home, environment: {}, flags: {} });
  return shownSetting(settings, sources, path);
};

describe("changeConfig", () => {
  it.each([
    ["options.temperature", "0.2", 0.2],
    ["model.routing.enabled", "off", false],
    ["model.default", "123", "123"],
    ["model.default", "yes", "yes"],
    ["model.default", "qwen2.5:7b", "qwen2.5:7b"],
    ["files.roots", "/a, /b c", ["/a", "/b c"]],
    ["network.allowedHosts", '["[fd00::1]:80"]', ["[fd00::1]:80"]],
    ["model.routing.overrides", '{"code": "a:b"}', { code: "a:b" }],
    ["model.routing.overrides", "{code: a:b}", { code: "a:b" }],
    ["model.routing.overrides.code", "true", "true"],
    ['models["qwen*"].contextTokens', "16384", 16_384],
    ['models["qwen*"]', '{"keepAlive": 5}', { keepAlive: 5 }],
    ["models.llama3.2:1b.system", "Be: brief # now", "Be: brief # now"],
    ["model.keepAlive.timeout", -1, -1],
  ])("sets %s to %j, which reads back", async (path, given, value) => {
    const change = await changeConfig(home, path, given);
    expect(change).toMatchObject({ value, isChanged: true });
    const got = await get(path);
    expect(got.value).toEqual(value);
    expect(got.source).toBe(change.source);
    expect((await changeConfig(home, path, given)).isChanged).toBe(false);
  });

  it.each([
    ["options.temperature", "warm", InvalidConfig, 'options.temperature is "warm"; allowed: number from 0 to 2'],
    [
      "providers.ollama.host",
      "http://me:pw@127.0.0.1",
      InvalidConfig,
      'is "http://***@127.0.0.1": the Ollama address contains',
    ],
    ["providers.ollama.host", "ftp://x", InvalidConfig, "only http and https are allowed; write host, host:port or"],
    ["privacy", "local_onyl", InvalidConfig, "did you mean local_only?"],
    ["model.routing.enabled", "perhaps", InvalidConfig, "allowed: true, false"],
    ["model.routing.defaultProfile", "cod", InvalidConfig, "did you mean code?"],
    ["model.default", "", InvalidConfig, "allowed: text that is not empty"],
    ["model.routing.overrides", "code", InvalidRequest, "must be JSON"],
    ["model.routing.overrides.cdoe", "a:b", InvalidConfig, "not written: model.routing.overrides.cdoe is never used"],
    ["model.routing.overrides", '{"code": "a", "cdoe": "b"}', InvalidConfig, "did you mean code?"],
    ["options", "{}", InvalidRequest, "options is a section"],
    ["optoins.topP", "1", InvalidRequest, "did you mean options.topP?"],
    ['models["x"].contextToken', "1", InvalidRequest, 'did you mean models["x"].contextTokens?'],
    ['models["x"]', '{"contextToken": 1}', InvalidConfig, 'did you mean models["x"].contextTokens?'],
    ["options.topP", null, InvalidRequest, "can't be null"],
  ])("rejects %s %j and doesn't change the file", async (path, value, kind, message) => {
    await writeFile(file, "# mine\n");
    const failure = changeConfig(home, path, value);
    await expect(failure).rejects.toBeInstanceOf(kind);
    await expect(failure).rejects.toThrow(message);
    expect(await read()).toBe("# mine\n");
  });

  it("says that a list lacks the entry of a setting, and what to do in the place of a value", async () => {
    await writeFile(file, "# mine\n");
    const failure = (path: string) => changeConfig(home, path, "5").catch((error: unknown) => error);
    expect(await failure("providers.openai[0].monthlyBudget")).toMatchObject({
      message: "providers.openai has no entries, so there is no providers.openai[0]",
      next: [{ step: "advice" }, { step: "editSettings" }],
    });
    const entry = "providers:\n  openai:\n    - {id: a, kind: local, baseUrl: http://127.0.0.1:1/v1}\n";
    await writeFile(file, entry);
    expect(await failure("providers.openai[1].monthlyBudget")).toMatchObject({
      message: "providers.openai has 1 entry, so there is no providers.openai[1]",
    });
    // The message says what to do: no other value would be allowed.
    expect(await failure("providers.openai[0].monthlyBudget")).toMatchObject({
      message: expect.stringContaining("a budget needs prices: set prices of the server"),
      next: [],
    });
    expect(await read()).toBe(entry);
  });

  it("doesn't change an invalid file, and reports where it is invalid", async () => {
    await writeFile(file, "model: [a\nprivacy: local_only\n");
    await expect(changeConfig(home, "options.topP", 1)).rejects.toThrow(
      `nothing was changed, because ${file} is invalid: ${file}:2: `,
    );
    await writeFile(file, "modle: a\n");
    await expect(changeConfig(home, "options.topP", 1)).rejects.toThrow("modle is not a setting; did you mean model?");
    expect(await read()).toBe("modle: a\n");
  });

  it("accepts unused values that the file already has", async () => {
    const overrides = "model:\n  routing:\n    overrides:\n      cdoe: a\n";
    await writeFile(file, overrides);
    await changeConfig(home, "model.routing.overrides.code", "b");
    expect(await read()).toBe(`${overrides}      code: b\n`);
  });

  it("replaces an invalid value", async () => {
    await writeFile(file, "options:\n  topP: 9 # too much\n");
    await changeConfig(home, "options.topP", "0.9");
    expect(await read()).toBe("options:\n  topP: 0.9 # too much\n");
  });

  it("writes a file that only its user can read, through a link", async () => {
    await writeFile(join(home, "real.yaml"), "# mine\n");
    await symlink(join(home, "real.yaml"), file);
    await changeConfig(home, "options.topP", 1);
    expect(await readFile(join(home, "real.yaml"), "utf8")).toBe("# mine\noptions:\n  topP: 1\n");
    if (process.platform !== "win32") expect((await stat(file)).mode & 0o777).toBe(0o600);
  });

  it("can be undone", async () => {
    await writeFile(file, "# mine\n");
    const change = await changeConfig(home, "options.topP", 1);
    await change.undo();
    expect(await read()).toBe("# mine\n");
  });

  it("does not undo a later change", async () => {
    const change = await changeConfig(home, "options.topP", 1);
    await changeConfig(home, "privacy", "allow_remote");
    await change.undo();
    expect(await read()).toBe("options:\n  topP: 1\nprivacy: allow_remote\n");
  });

  it("loses none of many concurrent changes", async () => {
    const names = Array.from({ length: 16 }, (_each, index) => `model${index}`);
    await Promise.all(names.map((name) => changeConfig(home, `models["${name}"].contextTokens`, 4_096)));
    const { settings } = await loadSettings({ home, environment: {}, flags: {} });
    expect(Object.keys(settings.models).toSorted()).toEqual(names.toSorted());
    expect(await readdir(home)).toEqual(["config.yaml"]);
  });

  it.each([
    ["of a process that died", () => claimOf(spawnSync(process.execPath, ["-e", ""]).pid), 0],
    ["that is older than any change, although its process id is in use", () => claimOf(process.pid), 60],
    ["that is empty and old", () => "", 60],
    ["of an older version", () => String(process.pid), 60],
  ])("removes a lock %s", async (_what, text, ageSeconds) => {
    const lock = join(home, "config.yaml.lock");
    await writeFile(lock, text());
    const then = Date.now() / 1_000 - ageSeconds;
    await utimes(lock, then, then);
    await changeConfig(home, "options.topP", 1);
    expect(await readdir(home)).toEqual(["config.yaml"]);
  });

  it("waits for a process that holds the lock", async () => {
    const lock = join(home, "config.yaml.lock");
    await writeFile(lock, claimOf(process.pid));
    const change = changeConfig(home, "options.topP", 1);
    await expect(Promise.race([change, delay(200, "waits")])).resolves.toBe("waits");
    await rm(lock);
    expect((await change).isChanged).toBe(true);
  });

  it("reports that a home can't be written", async () => {
    await writeFile(join(home, "blocked"), "");
    const change = changeConfig(join(home, "blocked"), "options.topP", 1);
    await expect(change).rejects.toMatchObject({
      constructor: StoreFailed,
      // Not "another process holds ...", for which it would wait.
      next: [{ step: "advice", text: expect.stringContaining("make the folder writable") }],
    });
  });

  it("removes a section, and accepts the removal of what is not there", async () => {
    await writeFile(file, "options:\n  topP: 1\n# mine\nprivacy: local_only\n");
    expect((await changeConfig(home, "options")).isChanged).toBe(true);
    expect(await read()).toBe("# mine\nprivacy: local_only\n");
    expect((await changeConfig(home, "options.topP")).isChanged).toBe(false);
  });
});

describe("any text as config.yaml", () => {
  it("gives settings or an error that names the file, never a crash", async () => {
    const piece = fc.constantFrom(
      ..."model models options topP privacy files roots default a 1 true null ~ local_only".split(" "),
      ...": |- |: \n|\n  |\n    |[|]|{|}|, |#|'|\"|&a |*a|!!str |>|---\n|\t|<<: |__proto__|é|\r\n".split("|"),
    );
    // A separate file: a run that times out must not write into the next test's file.
    const mine = home;
    const text = fc.oneof(
      fc.array(piece, { maxLength: 40 }).map((pieces) => pieces.join("")),
      fc.string({ unit: "binary" }),
      fc.json(),
    );
    await fc.assert(
      fc.asyncProperty(text, async (written) => {
        await writeFile(join(mine, "config.yaml"), written);
        try {
          const { settings } = await loadSettings({ home: mine, environment: {}, flags: {} });
          expect(settings.schemaVersion).toBe(1);
        } catch (error) {
          expect(error).toBeInstanceOf(InvalidConfig);
          expect((error as Error).message).toContain(mine);
        }
      }),
      { numRuns: 200, interruptAfterTimeLimit: 10_000 },
    );
  });

  it.each([
    ["unclosed brackets", "[".repeat(50_000)],
    ["a bomb", `a: &a [1]\nb: &b [${"*a,".repeat(30)}]\nc: [${"*b,".repeat(30)}]\n`],
    ["a cycle", "model: &a\n  routing: *a\n"],
    ["many unknown keys", Array.from({ length: 3_000 }, (_each, index) => `key${index}: 1`).join("\n")],
    ["a list in place of a section", "model: [1]\n"],
    ["a megabyte", `model:\n  default: ${"x".repeat(1024 ** 2)}\n`],
    ["a long value", `privacy: ${"x".repeat(100_000)}\n`],
  ])("with %s gives an error of a few lines", async (_what, text) => {
    await writeFile(file, text);
    const failure: unknown = await loadSettings({ home, environment: {}, flags: {} }).then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(failure).toBeInstanceOf(InvalidConfig);
    expect((failure as Error).message.length).toBeLessThan(3_000);
    expect((failure as Error).message).toContain(file);
  });

  it("may be the published example", async () => {
    await writeFile(
      file,
      [
        "model:",
        "  default: llama3.2:3b",
        "  routing:",
        "    enabled: false",
        "    defaultProfile: code",
        "    overrides: {code: qwen2.5-coder:7b}",
        "  keepAlive:",
        "    enabled: true",
        "    models: [llama3.2:3b]",
        "    timeout: 600",
        "options:",
        "  temperature: 0.3",
        "  maxTokens: 2048",
        "  topP: 0.9",
        "providers:",
        "  ollama:",
        "    host: http://127.0.0.1:11434",
        "    options:",
        "      numCtx: 8192",
      ].join("\n"),
    );
    const { settings } = await loadSettings({ home, environment: {}, flags: {} });
    expect(settings.model).toMatchObject({
      default: "llama3.2:3b",
      keepAlive: { models: ["llama3.2:3b"], timeout: 600 },
    });
    expect(settings.providers.ollama.options.numCtx).toBe(8192);
  });
});
