import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { InvalidConfig } from "../../../src/orchestrator/api/errors.ts";
import { callerSettingsFrom, loadSettings } from "../../../src/orchestrator/config/load.ts";

let home: string;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "ollm-caller-"));
});
afterEach(() => rm(home, { recursive: true }));

/** A caller of a daemon that was started with other variables. */
async function caller(environment: Record<string, string>, flags = {}, daemonVariables: Record<string, string> = {}) {
  const { settings: daemon } = await loadSettings({ home, environment: daemonVariables, flags: {} });
  return callerSettingsFrom({ home, environment, flags, daemon });
}

describe("callerSettingsFrom", () => {
  it("uses the caller's own variables and flags before the file", async () => {
    await writeFile(join(home, "config.yaml"), "model: {default: from-file}\nfiles: {roots: [/configured]}\n");
    const { settings, fileRoots, warnings } = await caller(
      { OLLM_PRIVACY: "allow_remote", OLLM_MODEL: "from-environment", OLLM_HOME: home },
      { model: "from-flag", roots: ["mine"], maxTokens: "9" },
    );
    expect(settings).toMatchObject({
      privacy: "allow_remote",
      model: { default: "from-flag" },
      options: { maxTokens: 9 },
    });
    expect(fileRoots).toEqual(["/configured", "mine"]);
    expect(warnings).toEqual([]);
  });

  it("ignores the variables of the process that started the daemon", async () => {
    const { settings } = await caller({}, {}, { OLLM_PRIVACY: "allow_remote", OLLM_MODEL: "theirs" });
    expect(settings.privacy).toBe("local_only");
    expect(settings.model.default).toBeUndefined();
  });

  it("shows no password of the daemon's settings", async () => {
    const obeyed = { OLLM_STORE_PATH: "http://ann:secret@box.lan" };
    const { warnings } = await caller({ OLLM_STORE_PATH: "mine" }, {}, obeyed);
    expect(warnings[0]).toContain("box.lan");
    expect(warnings[0]).not.toContain("secret");
  });

  it.each([
    { environment: { OLLM_HOST: "http://127.0.0.1:1" }, flags: {}, name: "OLLM_HOST", now: '"http://127.0.0.1:11434"' },
    { environment: {}, flags: { host: "http://127.0.0.1:1" }, name: "--host", now: '"http://127.0.0.1:11434"' },
    { environment: { OLLM_MEMORY_MAX_BYTES: "5" }, flags: {}, name: "OLLM_MEMORY_MAX_BYTES", now: "unset" },
    { environment: { OLLM_STORE_READ_OLLAMA: "perhaps" }, flags: {}, name: "OLLM_STORE_READ_OLLAMA", now: "true" },
  ])("reports that the daemon's $name is ignored", async ({ environment, flags, name, now }) => {
    const { warnings } = await caller(environment, flags);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain(`${name} is ignored: `);
    expect(warnings[0]).toContain(` is ${now} for all clients of this home; change it in ${join(home, "config.yaml")}`);
  });

  it("reports the options of OLLM_MODELS that are the daemon's, and uses the others", async () => {
    const given = { contextTokens: 512, keepAlive: 5, sizeBytes: 7, capabilities: ["tools"] };
    const models = { OLLM_MODELS: JSON.stringify({ "q*": given }) };
    const { settings, warnings } = await caller(models);
    expect(settings.models["q*"]?.contextTokens).toBe(512);
    expect(warnings.map((warning) => warning.split(" of ")[0])).toEqual([
      'models["q*"].keepAlive',
      'models["q*"].sizeBytes',
      'models["q*"].capabilities',
    ]);
    expect((await caller(models, {}, models)).warnings).toEqual([]);
    await writeFile(join(home, "config.yaml"), 'models: {"q*": {keepAlive: 5}}\n');
    expect((await caller({})).warnings).toEqual([]);
  });

  it("reports nothing about a daemon setting of the same value", async () => {
    const same = { OLLM_HOST: "http://127.0.0.1:7", OLLM_DAEMON_IDLE_TIMEOUT: "60" };
    expect((await caller(same, {}, same)).warnings).toEqual([]);
  });

  it("reports nothing about the servers that the daemon was given, whose entries have defaults there", async () => {
    const entry = { id: "card", kind: "local", baseUrl: "http://127.0.0.1:9201/v1" };
    const same = { OLLM_PROVIDERS_OPENAI: JSON.stringify([entry]) };
    expect((await caller(same, {}, same)).warnings).toEqual([]);
    const other = { OLLM_PROVIDERS_OPENAI: JSON.stringify([{ ...entry, connections: 3 }]) };
    expect((await caller(other, {}, same)).warnings).toHaveLength(1);
  });

  it("warns of unknown variables", async () => {
    expect((await caller({ OLLM_MODLE: "x" })).warnings).toEqual([
      "OLLM_MODLE is not a setting; did you mean OLLM_MODEL?",
    ]);
  });

  it("rejects an invalid caller setting with its source", async () => {
    const wrong = caller({ OLLM_PRIVACY: "perhaps" });
    await expect(wrong).rejects.toBeInstanceOf(InvalidConfig);
    await expect(wrong).rejects.toThrow('OLLM_PRIVACY: privacy is "perhaps"');
  });
});
