import type { Task } from "../api/facade.ts";
import { nearestNames } from "../util/nearest.ts";
import { formatPath } from "./paths.ts";
import type { Settings } from "./schema.ts";
import type { Sources } from "./tree.ts";

const tasks: readonly Task[] = ["code", "general", "creative", "fast", "vision", "embedding"];

/** One sentence for each value that matches the schema but has no effect. */
export function settingsNotes({ model }: Settings, sources: Sources): readonly string[] {
  return Object.keys(model.routing.overrides)
    .filter((key) => !tasks.some((task) => task === key))
    .map((key) => {
      const path = ["model", "routing", "overrides", key];
      const where = sources.get(formatPath(path)) ?? sources.get(formatPath(path.slice(0, -1)));
      const [nearest] = nearestNames(key, tasks, 1);
      const meant = nearest === undefined ? "" : `; did you mean ${nearest}?`;
      const prefix = where === undefined ? "" : `${where}: `;
      return `${prefix}${formatPath(path)} is never used: the tasks are ${tasks.join(", ")}${meant}`;
    });
}
