import type { GgufHeader } from "../../gguf/inspect.ts";
import type { StoredModel } from "../../store/store.ts";
import type { LoadRequest } from "./child/protocol.ts";

/**
 * Most prompt tokens of one evaluation. llama.cpp reserves logits (vocabulary × 4 bytes) for each, so 512 would reserve
 * 98 MiB for a vocabulary of 49,152 and 307 MiB for one of 150,000 that we never use; a chunk of a prompt is rarely larger.
 */
export const batchTokens = 128;

export interface LoadParts {
  readonly stored: StoredModel;
  readonly header: GgufHeader;
  readonly isEmbedding: boolean;
  readonly contextTokens: number;
  readonly threads: { readonly prefill: number; readonly decode: number };
}

/** Everything about a load that follows from the file and the request. */
export function loadRequestFor({ stored, header, isEmbedding, contextTokens, threads }: LoadParts): LoadRequest {
  return {
    type: "load",
    file: stored.weightsFile,
    adapterFiles: stored.adapterFiles,
    useMmap: !isRepacked(header),
    contextTokens,
    batchTokens,
    isEmbedding,
    threads,
  };
}

/**
 * Types that llama.cpp puts into another order for processors with instructions for it (`ggml-cpu/repack.cpp`,
 * `ggml-cpu/amx`). Mapped from the file they would take their memory twice: SmolLM2 in F16 took 752 MB on a processor
 * with AMX where 533 MB were predicted. Which processor repacks what changes with each version, so none is asked.
 */
const repackedTypes = /^(Q4_|IQ4_|Q2_K|Q5_K|Q6_K|Q8_0|F16$)/;

function isRepacked(header: GgufHeader): boolean {
  return Object.keys(header.weightsByType).some((type) => repackedTypes.test(type));
}
