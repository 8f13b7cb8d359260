import { ProtocolError, ProtocolErrorCode } from "@modelcontextprotocol/server";
import { type CallerContext, isShell } from "../../orchestrator/api/types.ts";
import { nearestNames } from "../../orchestrator/util/nearest.ts";
import { tools } from "../../tools/index.ts";
import { toolsOnOffer, type ToolsOnOffer } from "../../tools/tool-sets.ts";
import type { View, Caller } from "./caller.ts";

/** Per home, which is a new object after each change of settings or project. */
const offers = new WeakMap<object, ToolsOnOffer>();

/** The tools offered under these settings, in this project. */
export function offeredTools(home: Pick<View, "callerSettings" | "project">): ToolsOnOffer {
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
              ...(project?.isTrusted !== true && { spared: neededTools() }),
            },
          ]),
    ]);
    offers.set(home, offer);
  }
  return offer;
}

function neededTools(): readonly string[] {
  return tools.filter(({ set }) => set === "needed").map(({ name }) => name);
}

/** The caller of one request, as the orchestrator sees it. */
export function callerContext(
  { client, signal }: Pick<CallerContext, "client" | "signal">,
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
    ...(project && { project }),
    ...(home.configured && { configured: home.configured }),
    ...(warnings.length > 0 && { warnings }),
  };
}

/** For a caller whose settings can't be read: the default set, so that the tools can report what is wrong. */
export function defaultTools(): ToolsOnOffer {
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
