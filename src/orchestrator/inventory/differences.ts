import type { Change } from "../facade.ts";
import type { InstalledModel, ResidentModel } from "../types.ts";

/** What came of a new list of an engine's models: nothing, other weights under the same names, or other names. */
export function listChange(before: readonly InstalledModel[], after: readonly InstalledModel[]): readonly Change[] {
  const names = (models: readonly InstalledModel[]) => signature(models.map(({ name }) => name));
  const contents = (models: readonly InstalledModel[]) =>
    signature(models.map(({ name, digest, sizeBytes, modifiedAt }) => [name, digest, sizeBytes, modifiedAt]));
  if (contents(before) === contents(after)) return [];
  return [{ kind: "models", isListChanged: names(before) !== names(after) }];
}

/** A process's memory is another with every answer: smaller differences are not reported. */
const notableBytes = 16 * 1024 ** 2;

/**
 * What came of a new look at what an engine has in memory; when it will expire is no change. How large each is concerns
 * the memory alone.
 */
export function residencyChanges(before: readonly ResidentModel[], after: readonly ResidentModel[]): readonly Change[] {
  const loads = (models: readonly ResidentModel[]) =>
    signature(models.map(({ name, contextTokens }) => [name, contextTokens]));
  const sizes = (models: readonly ResidentModel[]) =>
    signature(models.map(({ name, sizeBytes }) => [name, Math.round(sizeBytes / notableBytes)]));
  if (loads(before) !== loads(after)) return [{ kind: "memory" }, { kind: "models", isListChanged: false }];
  return sizes(before) === sizes(after) ? [] : [{ kind: "memory" }];
}

/** Equal for the same members in whatever order. */
function signature(members: readonly unknown[]): string {
  return members
    .map((member) => JSON.stringify(member))
    .toSorted()
    .join("\n");
}
