import { join } from "node:path";
import type { CallerProject } from "../api/facade-projects.ts";
import type { CallerSettings, ConfiguredSettings } from "../api/types.ts";
import {
  type Environment,
  addRoots,
  environmentValues,
  flagValues,
  refuseRenamedVariables,
  unknownNames,
} from "./environment.ts";
import type { Flags } from "./flags.ts";
import { type SettingsFile, callerSettings, fileOf } from "./load.ts";
import { at, formatPath, put, settingPaths } from "./paths.ts";
import { parseSettings, settingsNotes } from "./problems.ts";
import { addProject } from "./project-values.ts";
import { type Settings, settingsSchema } from "./schema.ts";
import { shownValue } from "./shown.ts";

export interface LoadedCallerSettings {
  readonly settings: CallerSettings;
  /** `files.roots` of the file and of this caller, as written. */
  readonly fileRoots: readonly string[];
  /** `projects.detect` */
  readonly detectsProjects: boolean;
  /** Which of the caller's settings are ignored, and why: one sentence each. */
  readonly warnings: readonly string[];
  /** All settings and their sources; those of scope `daemon` as in the file. */
  readonly configured: ConfiguredSettings;
}

/**
 * The settings of one caller of a running daemon: defaults < `home/config.yaml` < its project < its variables < its
 * flags. Settings of scope `daemon` that the caller sets are ignored, with a warning where they differ from `daemon`.
 * Throws `InvalidConfig` like `loadSettings`.
 */
export async function callerSettingsFrom(from: {
  readonly home: string;
  readonly environment: Environment;
  readonly flags: Flags;
  readonly daemon: Settings;
  /** The project it works in; its `settings` contain only what a project file may set. */
  readonly project?: CallerProject;
  /** Used in place of the file on disk, which may be invalid. */
  readonly read?: SettingsFile;
  /** Whether the file can't change a setting (`memory.bufferBytes`), because the daemon was started with a value for it. */
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
    const inForce = at(from.daemon, path);
    if (JSON.stringify(readQuietly(read)) === JSON.stringify(inForce)) continue;
    // Addresses with a password are rejected when they are used; until then no other caller may see the password.
    const now = shownValue(path, inForce);
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

/** Models are shared: their memory, keep-alive and parallelism belong to the daemon, other options to the caller. */
function daemonPart(
  own: Settings["models"],
  inForce: Settings["models"],
  source: string | undefined,
  file: string,
): readonly string[] {
  if (source === undefined || source.startsWith(file)) return [];
  return Object.entries(own).flatMap(([pattern, overrides]) =>
    (["keepAlive", "sizeBytes", "maxParallel"] as const)
      .filter((key) => overrides[key] !== undefined && overrides[key] !== inForce[pattern]?.[key])
      .map((key) => {
        const path = formatPath(["models", pattern, key]);
        const now = shownValue([], inForce[pattern]?.[key]);
        return `${path} of ${source} is ignored: it is ${now} for all clients of this home, set in ${file}`;
      }),
  );
}

/** An unreadable value equals no other. */
function readQuietly(read: () => unknown): unknown {
  try {
    return read();
  } catch {
    return { isUnreadable: true };
  }
}
