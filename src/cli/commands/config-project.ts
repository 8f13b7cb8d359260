import type { StoredProject } from "../../server/daemon/client.ts";

/** The settings of a project's file and whether each is in effect. */
export interface ShownProject {
  readonly folder: string;
  readonly settings: readonly ShownProjectSetting[];
  /** What is not used, and why. */
  readonly notes: readonly string[];
}

interface ShownProjectSetting {
  readonly key: string;
  readonly value: unknown;
  /** `/project/.ollm/project.yaml:2`, or the detected kind. */
  readonly source: string;
  readonly inForce: boolean;
  /** Why it is not in effect. */
  readonly reason?: string;
}

/** The setting that each key of the file overrides; `systemPrompt` overrides none. */
const settingOf: Readonly<Record<string, string>> = {
  profile: "model.routing.defaultProfile",
  "routing.defaultProfile": "model.routing.defaultProfile",
  model: "model.default",
  "tools.enabled": "tools.enabled",
  "tools.disabled": "tools.disabled",
};

/** A project for `ollm config show`. `inForce` maps settings to their sources; `wanted` is the requested path. */
export function shownProject(
  { project, written, sources }: StoredProject,
  inForce: ReadonlyMap<string, string>,
  wanted: string | undefined,
): ShownProject {
  const holds = project.settings;
  const allSources = { ...sources, ...project.sources };
  const values: readonly (readonly [key: string, value: unknown])[] = [
    ["profile", written.profile ?? holds.profile],
    ["routing.defaultProfile", sources["routing.defaultProfile"] && written.routing?.defaultProfile],
    ["model", written.model],
    ["systemPrompt", written.systemPrompt],
    ["tools.enabled", written.tools?.enabled],
    ["tools.disabled", written.tools?.disabled],
  ];
  const settings = values.flatMap(([key, value]) => {
    const setting = settingOf[key];
    const isAsked = wanted === undefined || (setting !== undefined && `${setting}.`.startsWith(`${wanted}.`));
    if (value === undefined || !isAsked) return [];
    const source = allSources[key] ?? project.file ?? project.folder;
    const reason = reasonAgainst(key, source);
    return [{ key, value, source, inForce: reason === undefined, ...(reason !== undefined && { reason }) }];
  });
  return { folder: project.folder, settings, notes: project.notes };

  function reasonAgainst(key: string, source: string): string | undefined {
    if ((key === "model" || key === "systemPrompt") && !project.isTrusted) return "not approved (ollm project trust)";
    // Lists of tools are combined with the other settings.
    if (key === "systemPrompt" || key.startsWith("tools.")) return undefined;
    const winner = inForce.get(settingOf[key] ?? key);
    return winner === source ? undefined : `overridden by ${winner ?? "the default"}`;
  }
}
