import type { Change } from "../orchestrator/facade.ts";
import type { ResourceDefinition } from "../resources/definition.ts";
import { matchResource } from "../resources/match.ts";
import { listEvents, type ChangeEvent } from "./list-events.ts";

/** What a change means to clients that asked for `uris`: which of them to read again, and whether to list anew. */
export function changeEvents(
  change: Change,
  uris: Iterable<string>,
  definitions: readonly ResourceDefinition[],
): readonly ChangeEvent[] {
  const events: ChangeEvent[] = [];
  for (const uri of uris) {
    const match = matchResource(definitions, uri);
    if (match?.definition.isTouchedBy?.(change, match.variables) === true)
      events.push({ kind: "resource_updated", uri });
  }
  return [...events, ...listEvents(change)];
}

/** What has to be looked at every few seconds for the sake of `uris`. */
export function watchedBy(
  uris: Iterable<string>,
  definitions: readonly ResourceDefinition[],
): ReadonlySet<"memory" | "models"> {
  const watched = new Set<"memory" | "models">();
  for (const uri of uris) {
    const watch = matchResource(definitions, uri)?.definition.watch;
    if (watch !== undefined) watched.add(watch);
  }
  return watched;
}
