/** What a GGUF header says, read in a child process: a damaged header can abort or hang whoever parses it. */
export interface GgufHeader {
  readonly architecture: string;
  /**
   * Raw key/values; arrays of more than 1,024 items are left out. Integers beyond 2^53 and numbers that aren't finite
   * are strings.
   */
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly tensors: readonly GgufTensor[];
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
