import type { DatabaseEntry, ListedModel } from "../orchestrator/api/facade.ts";

/** A listed model as resources show it; undefined values are absent from the JSON. */
export function modelData(model: ListedModel, staleSince?: string) {
  return {
    name: model.name,
    engine: model.engine,
    size_bytes: model.sizeBytes,
    status: model.status,
    is_loaded: model.isLoaded,
    is_pinned: model.isPinned,
    fits: model.fits,
    is_remote: model.trust === "remote",
    family: model.family,
    parameter_size: model.parameterSize,
    quantization: model.quantization,
    context_tokens: model.contextTokens,
    capabilities: model.capabilities,
    profiles: model.profiles,
    modified_at: model.modifiedAt,
    tokens_per_second: model.tokensPerSecond,
    error: model.error,
    stale_since: staleSince,
  };
}

export function databaseData(entry: DatabaseEntry) {
  return {
    pattern: entry.pattern,
    family: entry.family,
    context_tokens: entry.contextTokens,
    output_tokens: entry.outputTokens,
    capabilities: entry.capabilities,
    profiles: entry.profiles,
    source: entry.source,
  };
}
