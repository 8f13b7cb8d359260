import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { changedPaths, followSettings } from "../../../src/orchestrator/config/live.ts";
import type { Settings } from "../../../src/orchestrator/config/schema.ts";
import { InvalidConfig } from "../../../src/orchestrator/api/errors.ts";
import { createLog } from "../../../src/orchestrator/api/log.ts";

let home: string;
let file: string;
let logged: string[];
/** Called instead of waiting. */
let onPause: () => Promise<void>;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "ollm-live-"));
  file = join(home, "config.yaml");
  logged = [];
  onPause = () => Promise.resolve();
});
afterEach(() => rm(home, { recursive: true }));

let edits = 0;
/** Writes the file with a new time of change, however coarse the file system's clock is. */
async function write(text: string): Promise<void> {
  edits += 1;
  await writeFile(file, text);
}

async function follow(environment: Record<string, string> = {}, check: (settings: Settings) => void = () => undefined) {
  const stamp = () =>
    stat(file).then(
      ({ mtimeMs, size }) => `${mtimeMs} ${size} ${edits}`,
      () => "none",
    );
  const log = createLog("info", (line) => logged.push(line));
  const { settings } = await followSettings({
    home,
    environment,
    flags: {},
    stamp,
    check,
    pause: () => onPause(),
    log,
  });
  const heard: Settings[] = [];
  settings.onChange((changed) => heard.push(changed));
  return { settings, heard };
}

describe("settings that follow their file", () => {
  it("are read again when it changes, and passed to listeners", async () => {
    const { settings, heard } = await follow();
    expect(settings.current().queue.maxWaiting).toBe(64);
    await settings.look();
    expect(heard).toEqual([]);
    await write("queue: {maxWaiting: 3}\nlog: {level: debug}\n");
    await settings.look();
    expect(settings.current().queue.maxWaiting).toBe(3);
    expect(heard).toEqual([settings.current()]);
    expect(settings.sources().get("queue.maxWaiting")).toBe(`${file}:1`);
    expect(logged).toEqual(["ollm info: settings: changed queue.maxWaiting, log.level"]);
    await rm(file);
    await settings.look();
    expect(settings.current().queue.maxWaiting).toBe(64);
  });

  it("stay the same object when only the file's layout changes, but its positions are new", async () => {
    await write("queue: {maxWaiting: 3}\n");
    const { settings, heard } = await follow();
    const before = { settings: settings.current(), file: settings.file() };
    await write("# more\nqueue: {maxWaiting: 3}\n");
    expect(await settings.reload()).toBe(true);
    expect(heard).toEqual([]);
    expect(settings.current()).toBe(before.settings);
    expect(settings.file()).not.toBe(before.file);
    expect(await settings.reload()).toBe(false);
  });

  it("stay in force while the file is invalid, which is logged once", async () => {
    await write("queue: {maxWaiting: 3}\n");
    const { settings, heard } = await follow();
    await write("queue: {maxWaiting: many}\n");
    await settings.look();
    await settings.reload();
    expect(settings.problem()).toMatch(/config\.yaml:1: queue\.maxWaiting is "many"/);
    expect(settings.current().queue.maxWaiting).toBe(3);
    expect(settings.file()?.tree).toEqual({ queue: { maxWaiting: 3 } });
    expect(logged).toHaveLength(1);
    await write("queue: [\n");
    await settings.look();
    expect(settings.problem()).toMatch(/config\.yaml:\d: /);
    await write("queue: {maxWaiting: 3}\n");
    await settings.look();
    expect(settings.problem()).toBeUndefined();
    expect(logged.at(-1)).toContain("valid again");
    expect(heard).toEqual([]);
  });

  it("stay in force when new ones match the schema but can't be used", async () => {
    const { settings, heard } = await follow({}, ({ providers }) => {
      if (providers.ollama.host === "nowhere") throw new InvalidConfig("nowhere is no address");
    });
    await write("providers: {ollama: {host: nowhere}}\n");
    await settings.look();
    expect(settings.problem()).toBe("nowhere is no address");
    expect(heard).toEqual([]);
  });

  it("reject an invalid file only at the start, even where a variable overrides the invalid value", async () => {
    await write("privacy: perhaps\n");
    await expect(follow()).rejects.toBeInstanceOf(InvalidConfig);
    await expect(follow({ OLLM_PRIVACY: "local_only" })).rejects.toBeInstanceOf(InvalidConfig);
  });

  it("come from variables before the file, which then can't change them", async () => {
    await write("queue: {maxWaiting: 3}\nproviders: {ollama: {host: 'http://127.0.0.1:1'}}\n");
    const { settings } = await follow({ OLLM_QUEUE_MAX_WAITING: "5", OLLAMA_HOST: "http://127.0.0.1:2" });
    await write("queue: {maxWaiting: 4}\nproviders: {ollama: {host: 'http://127.0.0.1:3'}}\n");
    await settings.look();
    expect(settings.current().queue.maxWaiting).toBe(5);
    expect(settings.isFixed("queue.maxWaiting")).toBe(true);
    // Ollama's own variable is not set for ollm.
    expect(settings.current().providers.ollama.host).toBe("http://127.0.0.1:3");
    expect(settings.isFixed("providers.ollama.host")).toBe(false);
  });

  it("don't include the settings of single callers, valid or not", async () => {
    const environment = {
      OLLM_TEMPERATURE: "warm",
      OLLM_PRIVACY: "allow_remote",
      OLLM_MODEL: "theirs",
      OLLM_LOG_LEVEL: "info",
    };
    const { settings } = await follow({ ...environment, OLLM_MODELS: '{"q*": {"sizeBytes": 5}}' });
    const { privacy, model, log, models } = settings.current();
    expect([privacy, model.default, log.level, models["q*"]]).toEqual([
      "local_only",
      undefined,
      "info",
      { sizeBytes: 5 },
    ]);
    expect([...settings.sources().keys()].toSorted()).toEqual(["log.level", "models"]);
  });

  it("are read when the file stops changing: an editor may empty it first", async () => {
    await write("queue: {maxWaiting: 3}\n");
    const { settings, heard } = await follow();
    const steps = ["", "queue:", "queue: {maxWaiting: 9}\n"];
    onPause = async () => {
      const next = steps.shift();
      if (next !== undefined) await write(next);
    };
    await write("");
    await settings.look();
    expect(heard.map(({ queue }) => queue.maxWaiting)).toEqual([9]);
    expect(logged.filter((line) => line.includes("warn"))).toEqual([]);
  });

  it("are read in the end, although the file never stops changing", async () => {
    const { settings } = await follow();
    onPause = () => write("queue: {maxWaiting: 9}\n");
    await write("queue: {maxWaiting: 8}\n");
    await settings.look();
    expect(settings.current().queue.maxWaiting).toBe(9);
  });

  it("are read once for concurrent calls", async () => {
    const { settings, heard } = await follow();
    await write("queue: {maxWaiting: 3}\n");
    await Promise.all([settings.look(), settings.look(), settings.look()]);
    expect(heard).toHaveLength(1);
  });

  it("reach all listeners, although one throws", async () => {
    const { settings, heard } = await follow();
    settings.onChange(() => {
      throw new Error("a defect");
    });
    const later: Settings[] = [];
    settings.onChange((changed) => later.push(changed));
    await write("queue: {maxWaiting: 3}\n");
    await settings.look();
    expect([heard.length, later.length]).toEqual([1, 1]);
    expect(logged.join("\n")).toContain("a defect");
  });
});

describe("changedPaths", () => {
  it("name settings, not the keys of their records", () => {
    const before = { queue: { maxWaiting: 1 }, models: { "a*": { keepAlive: 1 } }, files: { roots: ["/a"] } };
    const after = {
      queue: { maxWaiting: 2 },
      models: { "b*": {} },
      files: { roots: ["/a", "/b"] },
      log: { level: "x" },
    };
    expect(changedPaths(before, after)).toEqual(["queue.maxWaiting", "models", "files.roots", "log"]);
    expect(changedPaths(before, before)).toEqual([]);
  });
});
