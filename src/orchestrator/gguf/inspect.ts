/** What a GGUF header says, read in a child process: a damaged header can abort or hang whoever parses it. */
export interface GgufHeader {
  readonly architecture: string;
  /** Raw key/values; arrays of more than 1,024 items are left out. */
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly tensors: readonly { readonly name: string; readonly type: string; readonly shape: readonly number[] }[];
  /** Bytes of all tensors. */
  readonly weightsBytes: number;
  /** Every tensor's data lies inside the file. */
  readonly fileBytes: number;
}

/** Reads the header of one file (absolute path). Throws `LoadFailed` naming what is wrong with the file. */
export type InspectGguf = (file: string, signal: AbortSignal) => Promise<GgufHeader>;
