import { createMutex } from "../async/mutex.ts";
import type { Log } from "../log.ts";
import { daemonVariables } from "./environment.ts";
import { loadSettings, readSettingsFile } from "./load.ts";
import type { Environment, Flags, LoadedSettings, SettingsFile } from "./load.ts";
import { settingsProblem } from "./problem-text.ts";
import { settingPaths } from "./paths.ts";
import { type Settings, settingsSchema } from "./schema.ts";

/** The settings of the process that holds the home. */
export interface LiveSettings {
  /** Another object after each change: whoever keeps one keeps the settings of that moment. */
  current(): Settings;
  /** `config.yaml` as it was last obeyed, over which callers' settings are laid. Undefined where none is read. */
  file(): SettingsFile | undefined;
  /** Where each value of `current` comes from; what is a default is missing. */
  sources(): ReadonlyMap<string, string>;
  /** Whether a variable or a flag of this process sets it (`memory.bufferBytes`), so that the file can't. */
  isFixed(path: string): boolean;
  /** Reads `config.yaml` anew; a broken one changes nothing but `problem`. Resolves with whether anything changed. */
  reload(): Promise<boolean>;
  /** Calls `listener` with the new settings after each change, until the answer is called. */
  onChange(listener: (settings: Settings) => void): () => void;
  /** Why the file as it is now is not obeyed: `/home/me/.ollm/config.yaml:3: ...`; undefined when it is. */
  problem(): string | undefined;
}

/** Settings that follow a file. */
export interface FollowedSettings extends LiveSettings {
  /** Reads the file if it has changed since, once nobody writes to it any more. Never throws; those at once are one. */
  look(): Promise<void>;
}

/** Settings that never change. */
export function fixedSettings(settings: Settings): LiveSettings {
  return {
    current: () => settings,
    file: () => undefined,
    sources: () => new Map(),
    isFixed: () => false,
    reload: () => Promise.resolve(false),
    onChange: () => () => undefined,
    problem: () => undefined,
  };
}

/** Where followed settings come from. */
export interface SettingsSource {
  readonly home: string;
  readonly environment: Environment;
  readonly flags: Flags;
  /** Another text after each change of the file, the same while nobody writes to it. Never throws. */
  readonly stamp: () => Promise<string>;
  /** Throws `InvalidConfig` for settings of the right shape that can't be obeyed all the same, such as an address. */
  readonly check: (settings: Settings) => void;
  readonly pause: (ms: number) => Promise<void>;
  /** Where it is told that a file is not obeyed, and that it is again. */
  readonly log: Log;
}

/** An editor may empty a file first and write it then; between the two it would read as the defaults. */
const calmMs = 100;
/** A file that somebody writes to all the time is read as it is after so many looks. */
const maxLooks = 10;

interface Loaded extends LoadedSettings {
  readonly file: SettingsFile;
}

/**
 * Defaults < `home/config.yaml` < environment < flags, read now and whenever the file changes; of variables and flags
 * those of scope `daemon`. Throws `InvalidConfig` only now: later a broken file leaves everything as it is.
 */
export async function followSettings(
  source: SettingsSource,
): Promise<{ readonly settings: FollowedSettings; readonly warnings: readonly string[] }> {
  const listeners = new Set<(settings: Settings) => void>();
  const inTurn = createMutex();
  let seen = await source.stamp();
  let loaded = await load(source);
  let problem: string | undefined;

  async function read(): Promise<boolean> {
    // Before the file: what is written while it is read is a change again.
    seen = await source.stamp();
    let next: Loaded;
    try {
      next = await load(source);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      if (message !== problem) source.log.warn(settingsProblem(message));
      problem = message;
      return false;
    }
    if (problem !== undefined) source.log.warn(`${source.home}: config.yaml is mended and obeyed`);
    problem = undefined;
    const before = loaded;
    loaded = {
      ...next,
      settings: isSame(before.settings, next.settings) ? before.settings : next.settings,
      file: isSameFile(before.file, next.file) ? before.file : next.file,
    };
    if (loaded.settings !== before.settings) {
      source.log.info(`config.yaml: changed ${changedPaths(before.settings, loaded.settings).join(", ")}`);
      for (const listener of listeners) tell(listener);
    }
    return loaded.settings !== before.settings || loaded.file !== before.file;
  }

  function tell(listener: (settings: Settings) => void): void {
    try {
      listener(loaded.settings);
    } catch (error) {
      source.log.warn(`new settings: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    }
  }

  async function readWhenCalm(): Promise<void> {
    let now = await source.stamp();
    for (let looks = 0; now !== seen && looks < maxLooks; looks += 1) {
      await source.pause(calmMs);
      const before = now;
      now = await source.stamp();
      if (now === before) break;
    }
    if (now !== seen) await read();
  }

  const settings: FollowedSettings = {
    current: () => loaded.settings,
    file: () => loaded.file,
    sources: () => loaded.sources,
    isFixed: (path) => /^(?:OLLM_|--)/.test(loaded.sources.get(path) ?? ""),
    reload: () => inTurn(read),
    onChange(listener) {
      const own = (changed: Settings): void => listener(changed);
      listeners.add(own);
      return () => void listeners.delete(own);
    },
    problem: () => problem,
    async look() {
      if ((await source.stamp()) !== seen) await inTurn(readWhenCalm);
    },
  };
  return { settings, warnings: loaded.warnings };
}

async function load({ home, environment, flags, check }: SettingsSource): Promise<Loaded> {
  const file = await readSettingsFile(home);
  const loaded = await loadSettings({
    home,
    environment: daemonVariables(environment, settingPaths(settingsSchema)),
    flags: flags.host === undefined ? {} : { host: flags.host },
    read: file,
  });
  check(loaded.settings);
  return { ...loaded, file };
}

/** Paths of the settings that differ; lists and records are one setting each. */
export function changedPaths(before: unknown, after: unknown, prefix = ""): readonly string[] {
  if (isSame(before, after)) return [];
  if (!isBranch(before) || !isBranch(after) || prefix === "models") return [prefix];
  const keys = new Set([...Object.keys(before), ...Object.keys(after)]);
  return [...keys].flatMap((key) => changedPaths(before[key], after[key], prefix === "" ? key : `${prefix}.${key}`));
}

function isBranch(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** With the positions of its values, which messages name. */
function isSameFile(a: SettingsFile, b: SettingsFile): boolean {
  return isSame(a.tree, b.tree) && isSame([...a.sources], [...b.sources]);
}

function isSame(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
