import type { ProjectAtRest } from "../../server/client.ts";

/** What a project's file says, key by key, and whether it holds here. */
export interface ShownProject {
  readonly folder: string;
  readonly settings: readonly ShownProjectSetting[];
  /** What is ignored or waits, and why. */
  readonly notes: readonly string[];
}

interface ShownProjectSetting {
  readonly key: string;
  readonly value: unknown;
  /** `/project/.ollm/project.yaml:2`, or what was detected. */
  readonly source: string;
  readonly inForce: boolean;
  /** Why it is not. */
  readonly reason?: string;
}

/** The setting that each key is laid over; a system prompt is none. */
const settingOf: Readonly<Record<string, string>> = {
  profile: "model.routing.defaultProfile",
  "routing.defaultProfile": "model.routing.defaultProfile",
  model: "model.default",
  "tools.enabled": "tools.enabled",
  "tools.disabled": "tools.disabled",
};

/** A project for `ollm config show`; `sources` are those of all settings, `wanted` the path that was asked for. */
export function shownProject(
  { project, written, sources }: ProjectAtRest,
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
    if ((key === "model" || key === "systemPrompt") && !project.isTrusted) return "ollm project trust approves it";
    // A list of tools narrows whatever else is set.
    if (key === "systemPrompt" || key.startsWith("tools.")) return undefined;
    const winner = inForce.get(settingOf[key] ?? key);
    return winner === source ? undefined : `${winner ?? "the default"} goes before it`;
  }
}
