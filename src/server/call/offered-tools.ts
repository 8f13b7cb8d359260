import { ProtocolError, ProtocolErrorCode } from "@modelcontextprotocol/server";
import { type CallerContext, isShell } from "../../orchestrator/api/types.ts";
import { nearestNames } from "../../orchestrator/util/nearest.ts";
import { tools } from "../../tools/index.ts";
import type { View, Caller } from "./caller.ts";
import type { ToolDefinition } from "../../tools/definition.ts";

/** Per home, which is a new object after each change of settings or project. */
const offers = new WeakMap<object, ReturnType<typeof toolsOnOffer>>();

/** The tools offered under these settings, in this project. */
export function offeredTools(home: Pick<View, "callerSettings" | "project">): ReturnType<typeof toolsOnOffer> {
  let offer = offers.get(home);
  if (offer === undefined) {
    const { callerSettings, project } = home;
    const ofProject = project?.settings.tools;
    offer = toolsOnOffer(tools, [
      { ...callerSettings.tools, where: " (ollm config show tools)" },
      ...(ofProject === undefined
        ? []
        : [
            {
              ...ofProject,
              where: ` in ${project?.file ?? "the project"}`,
              ...(project?.isTrusted !== true && {
                spared: tools.filter(({ set }) => set === "needed").map(({ name }) => name),
              }),
            },
          ]),
    ]);
    offers.set(home, offer);
  }
  return offer;
}

/** The caller of one request, as the orchestrator sees it. */
export function callerContext(
  { client, clientVersion, trace, signal }: Pick<CallerContext, "client" | "clientVersion" | "trace" | "signal">,
  parts: Caller,
  home: View,
): CallerContext {
  const { callerSettings: settings, fileRoots: roots, project } = home;
  const warnings = [...home.warnings, ...(project?.notes ?? []), ...offeredTools(home).warnings];
  return {
    id: parts.id,
    client,
    roots,
    settings,
    signal,
    ...(clientVersion !== undefined && { clientVersion }),
    trace,
    ...(project && { project }),
    ...(home.configured && { configured: home.configured }),
    ...(warnings.length > 0 && { warnings }),
  };
}

/** For a caller whose settings can't be read: the default set, so that the tools can report what is wrong. */
export function defaultTools() {
  return toolsOnOffer(tools, [{ sets: ["default"], where: "" }]);
}

/** Throws a `ProtocolError` that names the setting when a tool is not offered to this caller. */
export function checkOffered(name: string, client: string, home: Pick<View, "callerSettings" | "project">): void {
  // They need every tool: the setting `tools` is about assistants.
  if (isShell(client)) return;
  const { hidden } = offeredTools(home);
  const by = hidden.get(name);
  if (by === undefined) return;
  const { sets } = home.callerSettings.tools;
  const isOwn = by.startsWith("not in tools.sets");
  const how = isOwn ? `; the user can add it: ollm config set tools.sets ${[...sets, name].join(",")}` : "";
  throw unknownTool(name, `it is ${by}${how}`);
}

/** The error for an unknown tool, with the nearest offered name, else all of them. */
export function noSuchTool(name: string, names: readonly string[]): ProtocolError {
  const [close] = nearestNames(name, names, 1);
  return unknownTool(name, close === undefined ? `tools: ${names.join(", ")}` : `did you mean "${close}"?`);
}

function unknownTool(name: string, advice: string): ProtocolError {
  return new ProtocolError(ProtocolErrorCode.InvalidParams, `Unknown tool "${name}", ${advice}`);
}

/**
 * Selects the offered tools: their `names`, in the order of all tools; those that are `hidden`, and why (`switched off by
 * tools.disabled in /project/.ollm/project.yaml`); and `warnings`, a sentence for each list with unknown names. Filters only remove tools, so that their order doesn't matter and a project can't add tools
 * that the user has disabled.
 */
export function toolsOnOffer(
  definitions: readonly Pick<ToolDefinition, "name" | "set">[],
  filters: readonly {
    /** Printed after the name of the setting: ` in /project/.ollm/project.yaml`; empty for the settings themselves. */
    readonly where: string;
    /** `default`, `all`, or names of tools; absent: all. */
    readonly sets?: readonly string[];
    /** Only these. A list without any known tool is ignored. */
    readonly enabled?: readonly string[] | undefined;
    readonly disabled?: readonly string[];
    /** Tools that this filter may not hide. */
    readonly spared?: readonly string[];
  }[],
) {
  const all = definitions.map(({ name }) => name);
  const membersOf = (set: string): readonly string[] => {
    if (set === "all") return all;
    return set === "default" ? definitions.filter((tool) => tool.set !== "extra").map(({ name }) => name) : [set];
  };
  const hidden = new Map<string, string>();
  const warnings: string[] = [];

  for (const { where, sets, enabled, disabled = [], spared = [] } of filters) {
    const hide = (names: readonly string[], by: string): void => {
      for (const name of names) if (!hidden.has(name) && !spared.includes(name)) hidden.set(name, by);
    };
    if (sets !== undefined) {
      const known = sets.filter((set) => set === "default" || set === "all" || all.includes(set));
      warnings.push(...unknownOf("tools.sets", sets, known, ["default", "all", ...all], where));
      const offered = new Set((known.length === 0 ? ["default"] : known).flatMap(membersOf));
      hide(
        all.filter((name) => !offered.has(name)),
        `not in tools.sets${where}`,
      );
    }
    if (enabled !== undefined) {
      const known = enabled.filter((name) => all.includes(name));
      warnings.push(...unknownOf("tools.enabled", enabled, known, all, where));
      if (known.length > 0) {
        hide(
          all.filter((name) => !known.includes(name)),
          `not in tools.enabled${where}`,
        );
      }
    }
    const known = disabled.filter((name) => all.includes(name));
    warnings.push(...unknownOf("tools.disabled", disabled, known, all, where));
    hide(known, `switched off by tools.disabled${where}`);
  }
  return { names: all.filter((name) => !hidden.has(name)), hidden, warnings };
}

/** A sentence for a list with unknown names, with the nearest known name of each. */
function unknownOf(
  setting: string,
  given: readonly string[],
  known: readonly string[],
  all: readonly string[],
  where: string,
): readonly string[] {
  const unknown = given.filter((name) => !known.includes(name));
  if (unknown.length === 0) return [];
  const named = unknown.slice(0, 5).map((name) => {
    const [close] = nearestNames(name, all, 1);
    return `${JSON.stringify(name.slice(0, 60))}${close === undefined ? "" : ` (did you mean ${close}?)`}`;
  });
  const more = unknown.length - named.length;
  const list = `${named.join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
  const effect = setting === "tools.enabled" && known.length === 0 ? "; it is ignored" : "";
  return [`${setting}${where}: unknown ${unknown.length === 1 ? "tool" : "tools"} ${list}${effect}`];
}
