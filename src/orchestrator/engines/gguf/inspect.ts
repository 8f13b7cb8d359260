import type { MarkedTensors } from "./tensor-marks.ts";

/**
 * The used part of a GGUF header. It is read in a child process, because a damaged header can crash or hang the parser, and
 * is at most about 70 KB, even if the file has hundreds of megabytes of keys and tensors.
 */
export interface GgufHeader {
  readonly architecture: string;
  /** The entries of `usedMetadata`. Integers beyond 2^53 and non-finite numbers are strings. */
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly tensors: MarkedTensors;
  /** Number of weights by the type of their tensors (`F32`, `Q4_K`); empty without tensors. */
  readonly weightsByType: Readonly<Record<string, number>>;
  /** Capabilities in the chat template; absent without one. */
  readonly template?: { readonly hasTools: boolean; readonly hasThinking: boolean };
  /** Bytes of all tensors. */
  readonly weightsBytes: number;
  /** Size of the file, which contains the data of every tensor. */
  readonly fileBytes: number;
  /** Length of `tokenizer.ggml.tokens`, which is not in `metadata`; absent without a tokenizer. */
  readonly vocabularySize?: number;
}

export interface GgufTensor {
  readonly name: string;
  /** `F32`, `Q4_K`, ... */
  readonly type: string;
  /** Row length first, then the number of rows. */
  readonly shape: readonly number[];
}

/** Reads the header of one file (absolute path). Throws `LoadFailed` with what is wrong with the file. */
export type InspectGguf = (file: string, signal: AbortSignal) => Promise<GgufHeader>;
