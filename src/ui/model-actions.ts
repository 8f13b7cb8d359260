/** What can be done to a model, from wherever it is shown. */
import { formatBytes } from "../orchestrator/util/format-bytes.ts";
import { visibleName } from "./format.ts";
import { CallError } from "./mcp.ts";
import { ask, client, notify, notifyError } from "./state.ts";

export async function setPinned(model: string, isPinned: boolean): Promise<void> {
  await client.callTool("manage_model", { action: isPinned ? "pin" : "unpin", model });
  notify({
    kind: "done",
    text: isPinned ? `${model} is pinned: it is not unloaded.` : `${model} is no longer pinned.`,
  });
}

export async function unload(model: string): Promise<void> {
  const { unloaded = [] } = await client.callTool("manage_model", { action: "unload", model });
  const bytes = unloaded.reduce((sum, each) => sum + each.bytes, 0);
  const text = unloaded.length === 0 ? `${model} was not loaded.` : `Unloaded ${model}: ${formatBytes(bytes)} freed.`;
  notify({ kind: "done", text });
}

export async function load(model: string): Promise<void> {
  const { plan } = await client.callTool("smart_load", { model });
  const gone = (plan?.evict ?? []).map(({ name }) => name).filter((name) => name !== model);
  notify({ kind: "done", text: `Loaded ${model}${gone.length === 0 ? "" : `; unloaded ${gone.join(", ")}`}.` });
}

/** Asks first, since a deleted model must be downloaded again. */
export async function remove(model: string, sizeBytes: number): Promise<void> {
  // A model that runs in a cloud has no files of any size.
  const size = sizeBytes === 0 ? "" : ` (${formatBytes(sizeBytes)})`;
  const isSure = await ask({
    title: `Delete ${visibleName(model)}?`,
    text: `Its files${size} are removed from disk. To use it again, it must be downloaded again.`,
    action: `Delete${size}`,
    isDangerous: true,
  });
  if (!isSure) return;
  const { freed_bytes = 0, note } = await client.callTool("manage_model", { action: "delete", model, confirm: true });
  const more = note === undefined ? "." : `: ${note}.`;
  notify({ kind: "done", text: `Deleted ${model}, ${formatBytes(freed_bytes)} freed${more}` });
}

/** Ends any running operation, or job. */
export async function cancel(id: string): Promise<void> {
  await client.callTool("job", { action: "cancel", job_id: id });
}

/**
 * Downloads a model, or resumes that. It continues when the page is closed; its progress, and that it failed, are in the live
 * state, so that every page shows them.
 */
export async function pull(model: string): Promise<void> {
  try {
    const pulled = await client.callTool("pull_model", { model });
    const size = formatBytes(pulled.size_bytes);
    notify({ kind: "done", text: `${pulled.name} is ${pulled.already_present ? "here already" : "ready"} (${size}).` });
  } catch (error) {
    if (!(error instanceof CallError) || error.kind !== "failed") notifyError(error);
  }
}
