import type { CallerProject } from "../facade-projects.ts";
import { put, type Sources, type Tree } from "./tree.ts";

/**
 * Lays a project's settings over those of the file. `tools` is no part of it: what a project hides stays hidden,
 * whatever other sources say (`tools/tool-sets.ts`).
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
