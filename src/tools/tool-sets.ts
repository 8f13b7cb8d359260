import { nearestNames } from "../orchestrator/text/nearest.ts";

/** What one source says of the tools on offer: the caller's settings, or its project's file. */
export interface ToolFilter {
  /** For people, after the name of the setting: ` in /project/.ollm/project.yaml`; empty for the settings themselves. */
  readonly where: string;
  /** `default`, `all`, or names of tools; absent: nothing is left out. */
  readonly sets?: readonly string[];
  /** Only these. A list with none of ours doesn't filter. */
  readonly enabled?: readonly string[];
  readonly disabled?: readonly string[];
  /** Tools that this filter may not take away. */
  readonly spared?: readonly string[];
}

export interface ToolsOnOffer {
  /** In their order. */
  readonly names: readonly string[];
  /** Tool → what hides it: `switched off by tools.disabled in /project/.ollm/project.yaml`. */
  readonly hidden: ReadonlyMap<string, string>;
  /** Names that stand for no tool, a sentence each. */
  readonly warnings: readonly string[];
}

/** In no set but `all`: seldom needed, and every client would pay for their descriptions. */
const extraTools: ReadonlySet<string> = new Set(["create_template", "update_config", "transfer_memories"]);

/**
 * Which of `all` tools are on offer. Every filter can only take away from what those before it leave, so the order of
 * filters doesn't matter and a project can't bring in what the user has left out.
 */
export function toolsOnOffer(all: readonly string[], filters: readonly ToolFilter[]): ToolsOnOffer {
  const hidden = new Map<string, string>();
  const warnings: string[] = [];

  for (const { where, sets, enabled, disabled = [], spared = [] } of filters) {
    const hide = (names: readonly string[], by: string): void => {
      for (const name of names) if (!hidden.has(name) && !spared.includes(name)) hidden.set(name, by);
    };
    if (sets !== undefined) {
      const known = sets.filter((set) => set === "default" || set === "all" || all.includes(set));
      warnings.push(...unknownOf("tools.sets", sets, known, ["default", "all", ...all], where));
      const offered = known.length === 0 ? new Set(membersOf("default", all)) : membersOfSets(known, all);
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

function membersOfSets(sets: readonly string[], all: readonly string[]): ReadonlySet<string> {
  return new Set(sets.flatMap((set) => membersOf(set, all)));
}

function membersOf(set: string, all: readonly string[]): readonly string[] {
  if (set === "all") return all;
  return set === "default" ? all.filter((name) => !extraTools.has(name)) : [set];
}

/** One sentence for each list, with the nearest name of each that is none. */
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
  const effect = setting === "tools.enabled" && known.length === 0 ? "; as none is, all are on offer" : "";
  return [`${setting}${where}: ${unknown.length === 1 ? "no tool" : "no tools"} of ours: ${list}${effect}`];
}
