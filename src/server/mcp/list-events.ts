import type { Change } from "../../orchestrator/api/facade.ts";

/** A change as clients are notified of it, in the form of the SDK's `ServerEvent`. */
export type ChangeEvent =
  | { readonly kind: "resource_updated"; readonly uri: string }
  | { readonly kind: "resources_list_changed" | "prompts_list_changed" }
  | { readonly kind: "tools_list_changed" };

/** The lists to request again after a change. Templates are both prompts and resources. */
export function listEvents(change: Change): readonly ChangeEvent[] {
  if (!("isListChanged" in change) || !change.isListChanged) return [];
  if (change.kind === "tools") return [{ kind: "tools_list_changed" }];
  const resources: ChangeEvent = { kind: "resources_list_changed" };
  return change.kind === "templates" ? [{ kind: "prompts_list_changed" }, resources] : [resources];
}
