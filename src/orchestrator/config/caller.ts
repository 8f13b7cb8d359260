import { join } from "node:path";
import type { CallerSettings } from "../types.ts";
import type { Flags } from "./flags.ts";
import {
  addRoots,
  callerSettings,
  environmentValues,
  flagValues,
  isTree,
  parseSettings,
  put,
  readConfigFile,
  unknownNames,
  type Environment,
  type Sources,
} from "./load.ts";
import { settingPaths } from "./paths.ts";
import { type Settings, settingsSchema } from "./schema.ts";

export interface LoadedCallerSettings {
  readonly settings: CallerSettings;
  /** `files.roots` of the file and of this caller, as they were written. */
  readonly fileRoots: readonly string[];
  /** What of the caller's settings is not obeyed, and why: a sentence each. */
  readonly warnings: readonly string[];
}

/**
 * One caller's own settings under an owner that lives already: defaults < `home/config.yaml` < the caller's variables <
 * its flags. Settings of scope owner that it brings along are compared with `owner`, reported where they differ, and
 * never obeyed. Throws `InvalidConfig` like `loadSettings`.
 */
export async function callerSettingsFrom(from: {
  readonly home: string;
  readonly environment: Environment;
  readonly flags: Flags;
  readonly owner: Settings;
}): Promise<LoadedCallerSettings> {
  const known = settingPaths(settingsSchema);
  const sources: Sources = new Map();
  const file = join(from.home, "config.yaml");
  const tree = await readConfigFile(file, sources);
  const warnings: string[] = [];
  const given = [
    ...environmentValues(from.environment, known),
    ...flagValues(from.flags).map(({ value, ...rest }) => ({ ...rest, read: () => value })),
  ];
  for (const { name, path, read } of given) {
    const setting = path.join(".");
    const isOwners = known.find((candidate) => candidate.path.join(".") === setting)?.scope === "owner";
    if (!isOwners) {
      put(tree, path, read(), name, sources);
      continue;
    }
    const obeyed = at(from.owner, path);
    if (JSON.stringify(readQuietly(read)) === JSON.stringify(obeyed)) continue;
    // A password in an address is refused by whoever connects; until then it must not be told to every caller.
    const now = obeyed === undefined ? "unset" : JSON.stringify(obeyed).replaceAll(/\/\/[^/@"]*@/g, "//***@");
    warnings.push(
      `${name} is ignored: ${setting} is ${now} for all clients of this home; set it in ${file}, then run "ollm daemon restart"`,
    );
  }
  addRoots(tree, from.flags, sources);
  const settings = parseSettings(tree, sources, known, file);
  return {
    settings: callerSettings(settings),
    fileRoots: settings.files.roots,
    warnings: [...unknownNames(from.environment, known), ...warnings],
  };
}

/** What can't even be read differs from everything. */
function readQuietly(read: () => unknown): unknown {
  try {
    return read();
  } catch {
    return { isUnreadable: true };
  }
}

function at(settings: Settings, path: readonly string[]): unknown {
  return path.reduce<unknown>((node, key) => (isTree(node) ? node[key] : undefined), settings);
}
