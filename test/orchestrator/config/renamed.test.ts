import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { CallerContext } from "../../../src/orchestrator/api/types.ts";
import { InvalidConfig, InvalidRequest } from "../../../src/orchestrator/api/errors.ts";
import { createLog } from "../../../src/orchestrator/api/log.ts";
import { changeConfig, createSettingsAccess } from "../../../src/orchestrator/config/change.ts";
import { followSettings } from "../../../src/orchestrator/config/live.ts";
import { callerSettingsFrom, loadSettings } from "../../../src/orchestrator/config/load.ts";
import { environmentName, findSetting } from "../../../src/orchestrator/config/paths.ts";
import { removedSettings, renamedSettings } from "../../../src/orchestrator/config/renamed.ts";
import { settingsSchema } from "../../../src/orchestrator/config/schema.ts";
import { shownSetting, shownSettings } from "../../../src/orchestrator/config/shown.ts";
import { readProjectFile } from "../../../src/orchestrator/projects/project-file.ts";
import { fixedSettings } from "../../support/hand-settings.ts";

let home: string;
let file: string;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "ollm-renamed-"));
  file = join(home, "config.yaml");
});
afterEach(() => rm(home, { recursive: true }));

const defaults = settingsSchema.parse({});
const all = [...renamedSettings].map(([old, name]) => ({ old, name }));
const settings = all.filter(({ old }) => old.includes("."));
const variableOf = (path: string) => environmentName(path.split("."));
/** `memory: {injectTokens: 7}` */
const yamlOf = (path: string) => {
  const [section, key] = path.split(".");
  return key === undefined ? `${section}: 7\n` : `${section}: {${key}: 7}\n`;
};

function follow(environment: Record<string, string> = {}) {
  return followSettings({
    home,
    environment,
    flags: {},
    stamp: () => readFile(file, "utf8").catch(() => "none"),
    check: () => undefined,
    pause: () => Promise.resolve(),
    log: createLog("silent", () => undefined),
  });
}

async function errorOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => undefined,
    (error: unknown) => error,
  );
}

describe.each(all)("$old", ({ old, name }) => {
  const message = `${old} is now ${name}`;

  it("is not a setting, and its new name is", () => {
    expect(findSetting(settingsSchema, old.split("."))).toBeUndefined();
    expect(findSetting(settingsSchema, name.split("."))).toBeDefined();
  });

  it("is rejected in config.yaml with its line", async () => {
    await writeFile(file, `privacy: local_only\n${yamlOf(old)}`);
    const error = await errorOf(loadSettings({ home, environment: {}, flags: {} }));
    expect(error).toBeInstanceOf(InvalidConfig);
    expect((error as Error).message).toBe(`${file}:2: ${message}`);
  });

  it("doesn't change the settings of a running daemon", async () => {
    await writeFile(file, "queue: {maxWaiting: 3}\n");
    const { settings: live } = await follow();
    await writeFile(file, `queue: {maxWaiting: 4}\n${yamlOf(old)}`);
    await live.look();
    expect(live.problem()).toBe(`${file}:2: ${message}`);
    expect(live.current().queue.maxWaiting).toBe(3);
    await writeFile(file, `queue: {maxWaiting: 4}\n`);
    await live.look();
    expect(live.problem()).toBeUndefined();
  });

  it("is rejected by config set, get, show and unset", async () => {
    const attempts: readonly (() => unknown)[] = [
      () => changeConfig(home, old, "7"),
      () => changeConfig(home, old),
      () => shownSetting(defaults, new Map(), old),
      () => shownSettings(defaults, new Map(), old),
    ];
    for (const attempt of attempts) {
      const error = await errorOf(Promise.resolve().then(attempt));
      expect(error).toBeInstanceOf(InvalidRequest);
      expect((error as Error).message).toBe(message);
    }
    await expect(readFile(file)).rejects.toThrow("ENOENT");
  });

  it("is rejected by update_config before the user is asked", async () => {
    const access = createSettingsAccess({ home, live: fixedSettings(defaults) });
    await expect(access.whyAsk({} as CallerContext, old)).rejects.toThrow(message);
    expect(await access.whyAsk({} as CallerContext, name)).toBeUndefined();
  });

  it("is ignored in a project file, with the new name", async () => {
    const { notes } = await readProjectFile("project.yaml", yamlOf(old), []);
    expect(notes).toEqual([`project.yaml:1: ${message}, which only the user can set, not a project; it is ignored`]);
    const { notes: newNotes } = await readProjectFile("project.yaml", yamlOf(name), []);
    expect(newNotes).toEqual([`project.yaml:1: ${name} can only be set by the user, not by a project; it is ignored`]);
  });
});

describe.each(settings)("the variable of $old", ({ old, name }) => {
  const message = `${variableOf(old)} is now ${variableOf(name)}`;

  it("is rejected with the new name, unless it is empty", async () => {
    const load = (value: string) => loadSettings({ home, environment: { [variableOf(old)]: value }, flags: {} });
    const error = await errorOf(load("7"));
    expect(error).toBeInstanceOf(InvalidConfig);
    expect((error as Error).message).toBe(message);
    expect((await load(" ")).warnings).toEqual([message]);
  });

  it("is rejected for a caller", async () => {
    const environment = { [variableOf(old)]: "7" };
    const error = await errorOf(callerSettingsFrom({ home, environment, flags: {}, daemon: defaults }));
    expect(error).toBeInstanceOf(InvalidConfig);
    expect((error as Error).message).toBe(message);
  });

  it("stops a daemon only where the setting is the daemon's", async () => {
    const error = await errorOf(follow({ [variableOf(old)]: "7" }));
    const isCallers = findSetting(settingsSchema, name.split("."))?.scope !== "daemon";
    expect(error instanceof InvalidConfig).toBe(!isCallers);
  });
});

/** Where each removed setting was given, and the problem with it. */
const removed = [...removedSettings].map(([pattern, instead]) => {
  const path = pattern.replace(".*", "[0]");
  return { path, keys: pattern.replace("*", "0").split("."), message: `${path} was removed: ${instead}` };
});

describe.each(removed)("$path", ({ path, keys, message }) => {
  const yaml = () =>
    JSON.stringify(
      keys.reduceRight<unknown>((value, key) => {
        const server = { id: "house", kind: "cluster", baseUrl: "http://house.lan/v1" };
        if (key === "0") return [{ ...server, ...(value as object) }];
        return { [key]: value };
      }, 7),
    );

  it("is rejected in config.yaml with what to do instead", async () => {
    await writeFile(file, yaml());
    const error = await errorOf(loadSettings({ home, environment: {}, flags: {} }));
    expect(error).toBeInstanceOf(InvalidConfig);
    expect((error as Error).message).toBe(`${file}:1: ${message}`);
  });

  it("is taken out of the file by config unset, and by nothing where it does not stand", async () => {
    await expect(changeConfig(home, path)).rejects.toThrow(message);
    await writeFile(file, yaml());
    expect(await changeConfig(home, path)).toMatchObject({ source: "default", isChanged: true });
    expect(await readFile(file, "utf8")).not.toContain(keys.at(-1));
    await loadSettings({ home, environment: {}, flags: {} });
    await expect(changeConfig(home, path)).rejects.toThrow(message);
  });

  it.skipIf(path.includes("["))("is rejected by config set, and as a variable", async () => {
    await expect(changeConfig(home, path, "7")).rejects.toThrow(message);
    const environment = { [variableOf(path)]: "7" };
    await expect(loadSettings({ home, environment, flags: {} })).rejects.toThrow(
      message.replace(path, variableOf(path)),
    );
  });
});

it("settings that are gone are unset one after the other, by an assistant too", async () => {
  await writeFile(file, "owner:\n  idleTimeout: 60 # long\nqueue:\n  maxOvertakeMs: 5\nprivacy: local_only\n");
  expect(await changeConfig(home, "owner.idleTimeout")).toMatchObject({ isChanged: true });
  const access = createSettingsAccess({ home, live: fixedSettings(defaults) });
  const caller = {} as CallerContext;
  expect(await access.unset(caller, "queue.maxOvertakeMs")).toMatchObject({ path: "queue.maxOvertakeMs" });
  const { settings: loaded } = await loadSettings({ home, environment: {}, flags: {} });
  expect(loaded.privacy).toBe("local_only");
});

it("each setting in a renamed section is named", async () => {
  await writeFile(file, "owner:\n  # long\n  idleTimeout: 60\n");
  await expect(loadSettings({ home, environment: {}, flags: {} })).rejects.toThrow(
    `${file}:3: owner.idleTimeout is now daemon.idleTimeout`,
  );
});
