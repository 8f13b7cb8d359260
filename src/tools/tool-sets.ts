import { nearestNames } from "../orchestrator/util/nearest.ts";
import type { ToolDefinition } from "./definition.ts";

/** A filter of the offered tools: from the caller's settings or its project's file. */
interface ToolFilter {
  /** Printed after the name of the setting: ` in /project/.ollm/project.yaml`; empty for the settings themselves. */
  readonly where: string;
  /** `default`, `all`, or names of tools; absent: all. */
  readonly sets?: readonly string[];
  /** Only these. A list without any known tool is ignored. */
  readonly enabled?: readonly string[] | undefined;
  readonly disabled?: readonly string[];
  /** Tools that this filter may not hide. */
  readonly spared?: readonly string[];
}

export interface ToolsOnOffer {
  /** In the order of all tools. */
  readonly names: readonly string[];
  /** Hidden tools and why: `switched off by tools.disabled in /project/.ollm/project.yaml`. */
  readonly hidden: ReadonlyMap<string, string>;
  /** A sentence for each list with unknown names. */
  readonly warnings: readonly string[];
}

/**
 * Selects the offered tools. Filters only remove tools, so that their order doesn't matter and a project can't add tools
 * that the user has disabled.
 */
export function toolsOnOffer(
  tools: readonly Pick<ToolDefinition, "name" | "set">[],
  filters: readonly ToolFilter[],
): ToolsOnOffer {
  const all = tools.map(({ name }) => name);
  const membersOf = (set: string): readonly string[] => {
    if (set === "all") return all;
    return set === "default" ? tools.filter((tool) => tool.set !== "extra").map(({ name }) => name) : [set];
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
