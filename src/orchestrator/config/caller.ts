import { join } from "node:path";
import type { CallerProject } from "../facade-projects.ts";
import type { CallerSettings, ConfiguredSettings } from "../types.ts";
import type { Flags } from "./flags.ts";
import { callerSettings, fileOf, type SettingsFile } from "./load.ts";
import {
  addRoots,
  environmentValues,
  flagValues,
  refuseRenamedVariables,
  unknownNames,
  type Environment,
} from "./environment.ts";
import { shownValue } from "./mask.ts";
import { settingsNotes } from "./notes.ts";
import { formatPath, settingPaths } from "./paths.ts";
import { parseSettings } from "./problems.ts";
import { addProject } from "./project-values.ts";
import { type Settings, settingsSchema } from "./schema.ts";
import { at, put } from "./tree.ts";

export interface LoadedCallerSettings {
  readonly settings: CallerSettings;
  /** `files.roots` of the file and of this caller, as they were written. */
  readonly fileRoots: readonly string[];
  /** `projects.detect` */
  readonly detectsProjects: boolean;
  /** What of the caller's settings is not obeyed, and why: a sentence each. */
  readonly warnings: readonly string[];
  /** All of them, with where each comes from; those of scope `daemon` as the file has them. */
  readonly configured: ConfiguredSettings;
}

/**
 * One caller's own settings under a daemon that lives already: defaults < `home/config.yaml` < its project < the
 * caller's variables < its flags. Settings of scope `daemon` that it brings along are compared with `daemon`, reported
 * where they differ, and never obeyed. Throws `InvalidConfig` like `loadSettings`.
 */
export async function callerSettingsFrom(from: {
  readonly home: string;
  readonly environment: Environment;
  readonly flags: Flags;
  readonly daemon: Settings;
  /** Where it works; what its file may not say is no part of its `settings`. */
  readonly project?: CallerProject;
  /** In place of what stands on disk, which may be broken. */
  readonly read?: SettingsFile;
  /** Paths (`memory.bufferBytes`) that the file can't change, because the daemon was started with another value. */
  readonly isFixed?: (path: string) => boolean;
}): Promise<LoadedCallerSettings> {
  const known = settingPaths(settingsSchema);
  const file = join(from.home, "config.yaml");
  const { tree, sources } = await fileOf(file, from.read);
  addProject(tree, from.project, sources);
  refuseRenamedVariables(from.environment);
  const projectSource = from.project?.settings.model === undefined ? undefined : sources.get("model.default");
  const warnings: string[] = [];
  const given = [
    ...environmentValues(from.environment, known),
    ...flagValues(from.flags).map(({ value, ...rest }) => ({ ...rest, read: () => value })),
  ];
  for (const { name, path, read } of given) {
    const setting = path.join(".");
    const isDaemonScope = known.find((candidate) => candidate.path.join(".") === setting)?.scope === "daemon";
    if (!isDaemonScope) {
      put(tree, path, read(), name, sources);
      continue;
    }
    const obeyed = at(from.daemon, path);
    if (JSON.stringify(readQuietly(read)) === JSON.stringify(obeyed)) continue;
    // A password in an address is refused by whoever connects; until then it must not be told to every caller.
    const now = shownValue(path, obeyed);
    const isFixed = from.isFixed?.(setting) === true;
    const by = isFixed ? "set when the daemon started" : `set in ${file}`;
    warnings.push(`${name} is ignored: ${setting} is ${now} for all clients of this home, ${by}`);
  }
  addRoots(tree, from.flags, sources);
  const settings = parseSettings(tree, sources, file);
  warnings.push(...daemonPart(settings.models, from.daemon.models, sources.get("models"), file));
  const systemPrompt = from.project?.settings.systemPrompt;
  const isProjectModel = projectSource !== undefined && sources.get("model.default") === projectSource;
  return {
    settings: {
      ...callerSettings(settings, sources),
      ...(isProjectModel && { isProjectModel }),
      ...(systemPrompt !== undefined && { systemPrompt }),
    },
    fileRoots: settings.files.roots,
    detectsProjects: settings.projects.detect,
    warnings: [...unknownNames(from.environment, known), ...warnings, ...settingsNotes(settings, sources)],
    configured: { settings, sources },
  };
}

/**
 * Models are shared: what one takes, how long it stays, how many it answers is the daemon's; other options are the
 * caller's.
 */
function daemonPart(
  own: Settings["models"],
  obeyed: Settings["models"],
  source: string | undefined,
  file: string,
): readonly string[] {
  if (source === undefined || source.startsWith(file)) return [];
  return Object.entries(own).flatMap(([pattern, overrides]) =>
    (["keepAlive", "sizeBytes", "maxParallel"] as const)
      .filter((key) => overrides[key] !== undefined && overrides[key] !== obeyed[pattern]?.[key])
      .map((key) => {
        const path = formatPath(["models", pattern, key]);
        const now = shownValue([], obeyed[pattern]?.[key]);
        return `${path} of ${source} is ignored: it is ${now} for all clients of this home; set it in ${file}`;
      }),
  );
}

/** What can't even be read differs from everything. */
function readQuietly(read: () => unknown): unknown {
  try {
    return read();
  } catch {
    return { isUnreadable: true };
  }
}
