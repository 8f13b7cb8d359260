import type { GgufHeader } from "../gguf/inspect.ts";
import type { StoredModel } from "./store/store.ts";
import type { LoadRequest } from "./child/protocol.ts";

/**
 * Maximum prompt tokens of one evaluation. llama.cpp reserves unused logits (vocabulary × 4 bytes) for each: 512 would
 * take 98 MiB for a vocabulary of 49,152 tokens and 307 MiB for 150,000. Chunks of a prompt are rarely larger than this.
 */
export const batchTokens = 128;

export interface LoadParts {
  readonly stored: StoredModel;
  readonly header: GgufHeader;
  readonly isEmbedding: boolean;
  readonly contextTokens: number;
  readonly threads: { readonly prefill: number; readonly decode: number };
}

/** Returns the child's load request for a file and the requested options. */
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
 * Types that llama.cpp reorders for processors with special instructions (`ggml-cpu/repack.cpp`, `ggml-cpu/amx`). If the
 * file were mapped, they would take their memory twice: SmolLM2 in F16 took 752 MB on a processor with AMX, where 533 MB
 * were predicted. Which processor repacks which type changes with each version, so the processor is not considered.
 */
const repackedTypes = /^(Q4_|IQ4_|Q2_K|Q5_K|Q6_K|Q8_0|F16$)/;

function isRepacked(header: GgufHeader): boolean {
  return Object.keys(header.weightsByType).some((type) => repackedTypes.test(type));
}
