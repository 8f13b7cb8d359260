import type { Log } from "../api/log.ts";
import { createMutex } from "../util/joined-work.ts";
import { type Environment, daemonVariables } from "./environment.ts";
import { type LoadedSettings, type SettingsFile, loadSettings, readSettingsFile } from "./load.ts";
import type { Flags } from "./flags.ts";
import { settingPaths } from "./paths.ts";
import { settingsProblem } from "./problems.ts";
import { type Settings, settingsSchema } from "./schema.ts";
import { isRecord, messageOf, stackOf } from "../util/values.ts";

/** The settings of the daemon. */
export interface LiveSettings {
  /** A new object after each change; an object that was returned never changes. */
  current(): Settings;
  /** The last valid `config.yaml`, on which callers' settings are based. Undefined where no file is read. */
  file(): SettingsFile | undefined;
  /** The source of each value of `current`; defaults have none. */
  sources(): ReadonlyMap<string, string>;
  /** Whether a variable or flag of this process sets it (`memory.bufferBytes`), which overrides the file. */
  isFixed(path: string): boolean;
  /** Reads `config.yaml` again; an invalid one changes only `problem`. Resolves with whether anything changed. */
  reload(): Promise<boolean>;
  /** Calls `listener` with the new settings after each change. Returns a function that stops it. */
  onChange(listener: (settings: Settings) => void): () => void;
  /** What makes the present file invalid: `/home/me/.ollm/config.yaml:3: ...`; undefined when it is valid. */
  problem(): string | undefined;
}

/** Settings that follow a file. */
interface FollowedSettings extends LiveSettings {
  /** Reads the file if it has changed and is no longer being written. Never throws; concurrent calls share one read. */
  look(): Promise<void>;
}

/** The inputs of followed settings. */
interface SettingsSource {
  readonly home: string;
  readonly environment: Environment;
  readonly flags: Flags;
  /** A text that differs after each change of the file. Never throws. */
  readonly stamp: () => Promise<string>;
  /** Throws `InvalidConfig` for settings that match the schema but can't be used, such as an address. */
  readonly check: (settings: Settings) => void;
  readonly pause: (ms: number) => Promise<void>;
  readonly log: Log;
}

/** An editor may empty the file before writing it; read in between, it would give the defaults. */
const settleMs = 100;
/** A file that never stops changing is read after this many looks. */
const maxLooks = 10;

interface Loaded extends LoadedSettings {
  readonly file: SettingsFile;
}

/**
 * Reads defaults < `home/config.yaml` < environment < flags, now and whenever the file changes; only variables and flags
 * of scope `daemon` count. Throws `InvalidConfig` for an invalid file now; later one keeps the previous settings.
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
    // Before reading: a write during the read counts as another change.
    seen = await source.stamp();
    let next: Loaded;
    try {
      next = await load(source);
    } catch (error) {
      const message = messageOf(error);
      if (message !== problem) source.log.warn(settingsProblem(message));
      problem = message;
      return false;
    }
    if (problem !== undefined) source.log.warn(`settings: config.yaml in ${source.home} is valid again and in force`);
    problem = undefined;
    const before = loaded;
    loaded = {
      ...next,
      settings: isSame(before.settings, next.settings) ? before.settings : next.settings,
      file: isSameFile(before.file, next.file) ? before.file : next.file,
    };
    if (loaded.settings !== before.settings) {
      source.log.info(`settings: changed ${changedPaths(before.settings, loaded.settings).join(", ")}`);
      for (const listener of listeners) notify(listener);
    }
    return loaded.settings !== before.settings || loaded.file !== before.file;
  }

  function notify(listener: (settings: Settings) => void): void {
    try {
      listener(loaded.settings);
    } catch (error) {
      const reason = stackOf(error);
      source.log.warn(`settings: a listener failed: ${reason}`);
    }
  }

  async function readWhenSettled(): Promise<void> {
    let now = await source.stamp();
    for (let looks = 0; now !== seen && looks < maxLooks; looks += 1) {
      await source.pause(settleMs);
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
      if ((await source.stamp()) !== seen) await inTurn(readWhenSettled);
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

/** The paths of settings that differ; a list or record is one setting. */
export function changedPaths(before: unknown, after: unknown, prefix = ""): readonly string[] {
  if (isSame(before, after)) return [];
  if (!isRecord(before) || !isRecord(after) || prefix === "models") return [prefix];
  const keys = new Set([...Object.keys(before), ...Object.keys(after)]);
  return [...keys].flatMap((key) => changedPaths(before[key], after[key], prefix === "" ? key : `${prefix}.${key}`));
}

/** Compares positions, too, because messages name them. */
function isSameFile(a: SettingsFile, b: SettingsFile): boolean {
  return isSame(a.tree, b.tree) && isSame([...a.sources], [...b.sources]);
}

function isSame(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
