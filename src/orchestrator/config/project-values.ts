import type { CallerProject } from "../api/facade-projects.ts";
import { type Sources, type Tree, put } from "./paths.ts";

/**
 * Overrides the file's settings with a project's. Not `tools`: tools that a project hides stay hidden, whatever other
 * sources set (`tools/tool-sets.ts`).
 */
export function addProject(tree: Tree, project: CallerProject | undefined, sources: Sources): void {
  const { model, routing } = project?.settings ?? {};
  const where = (key: string): string => project?.sources?.[key] ?? project?.file ?? "project";
  if (model !== undefined) put(tree, ["model", "default"], model, where("model"), sources);
  if (routing?.defaultProfile !== undefined) {
    const key = project?.sources?.["routing.defaultProfile"] === undefined ? "profile" : "routing.defaultProfile";
    put(tree, ["model", "routing", "defaultProfile"], routing.defaultProfile, where(key), sources);
  }
}
