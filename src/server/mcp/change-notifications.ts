import type { Change } from "../../orchestrator/api/facade.ts";
import { type ResourceDefinition, matchResource } from "../../resources/definition.ts";
import { type ChangeEvent, listEvents } from "./change-feed.ts";

/** The events of a change for clients that watch `uris`: which of them to read again, and which lists to request again. */
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

/** What must be polled every few seconds while `uris` are watched. */
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
