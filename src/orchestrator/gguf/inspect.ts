import type { MarkedTensors } from "./tensor-marks.ts";

/**
 * What is used of a GGUF header, read in a child process: a damaged header can abort or hang its parser. At most some
 * 70 KB, whatever the file holds: of hundreds of megabytes of keys and tensors nothing leaves the child.
 */
export interface GgufHeader {
  readonly architecture: string;
  /** Key/values of `usedMetadata`. Integers beyond 2^53 and numbers that aren't finite are strings. */
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly tensors: MarkedTensors;
  /** Weights (numbers, not bytes) by the type of their tensors (`F32`, `Q4_K`); empty without tensors. */
  readonly weightsByType: Readonly<Record<string, number>>;
  /** What the chat template gives away; absent without one. */
  readonly template?: { readonly hasTools: boolean; readonly hasThinking: boolean };
  /** Bytes of all tensors. */
  readonly weightsBytes: number;
  /** Every tensor's data lies inside the file. */
  readonly fileBytes: number;
  /** Length of `tokenizer.ggml.tokens`, which is too long for `metadata`; absent without a tokenizer. */
  readonly vocabularySize?: number;
}

export interface GgufTensor {
  readonly name: string;
  /** `F32`, `Q4_K`, ... */
  readonly type: string;
  /** Row length first, then the number of rows. */
  readonly shape: readonly number[];
}

/** Reads the header of one file (absolute path). Throws `LoadFailed` naming what is wrong with the file. */
export type InspectGguf = (file: string, signal: AbortSignal) => Promise<GgufHeader>;
