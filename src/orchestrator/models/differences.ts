import type { Change } from "../api/facade.ts";
import type { InstalledModel, ResidentModel } from "../api/types.ts";

/** The changes between two lists of an engine's models: none, other weights under the same names, or other names. */
export function listChange(before: readonly InstalledModel[], after: readonly InstalledModel[]): readonly Change[] {
  const names = (models: readonly InstalledModel[]) => signature(models.map(({ name }) => name));
  const contents = (models: readonly InstalledModel[]) =>
    signature(models.map(({ name, digest, sizeBytes, modifiedAt }) => [name, digest, sizeBytes, modifiedAt]));
  if (contents(before) === contents(after)) return [];
  return [{ kind: "models", isListChanged: names(before) !== names(after) }];
}

/** Smaller differences are not reported: the memory of a process changes with every answer. */
const notableBytes = 16 * 1024 ** 2;

/**
 * The changes between two polls of an engine's loaded models. Expiries are ignored; a changed size is a change of the
 * memory only.
 */
export function residencyChanges(before: readonly ResidentModel[], after: readonly ResidentModel[]): readonly Change[] {
  const loads = (models: readonly ResidentModel[]) =>
    signature(models.map(({ name, contextTokens }) => [name, contextTokens]));
  const sizes = (models: readonly ResidentModel[]) =>
    signature(models.map(({ name, sizeBytes }) => [name, Math.round(sizeBytes / notableBytes)]));
  if (loads(before) !== loads(after)) return [{ kind: "memory" }, { kind: "models", isListChanged: false }];
  return sizes(before) === sizes(after) ? [] : [{ kind: "memory" }];
}

/** Independent of the order of the members. */
function signature(members: readonly unknown[]): string {
  return members
    .map((member) => JSON.stringify(member))
    .toSorted()
    .join("\n");
}
