import type { ModelRecipe, PulledModel, Report } from "../engines/engine.ts";

/** A model as files on disk, in Ollama's layout: what the embedded engine needs to load it. */
export interface StoredModel {
  /** As Ollama prints it: default host, namespace left out, tag kept (`smollm2:135m`, `hf.co/org/repo:Q4_K_M`). */
  readonly name: string;
  /** sha256 hex of the weights blob. */
  readonly digest: string;
  /** Sum of all its blobs. */
  readonly sizeBytes: number;
  /** ISO 8601. */
  readonly modifiedAt: string;
  /** Absolute path of the weights. */
  readonly weightsFile: string;
  readonly projectorFile?: string;
  readonly adapterFiles: readonly string[];
  /** `SYSTEM` of the manifest. */
  readonly system?: string;
  /** `PARAMETER` lines of the manifest. */
  readonly parameters: Readonly<Record<string, unknown>>;
  /** Family, size and quantisation as the config blob states them; absent when it doesn't. */
  readonly family?: string;
  readonly parameterSize?: string;
  readonly quantization?: string;
  /** It lies in a store that belongs to Ollama: never written to, never deleted from. */
  readonly isReadOnly: boolean;
  /** Why the embedded engine can't load it, known without reading the weights (tensor layers, cloud model). */
  readonly unsupported?: string;
}

/** Where the embedded engine's models live: one own folder, and foreign Ollama stores that are only read. */
export interface ModelStore {
  /** Own models first; a name that the own store holds hides a foreign one. */
  list(): Promise<readonly StoredModel[]>;
  /** A name without tag means `:latest`. */
  find(name: string): Promise<StoredModel | undefined>;
  /** Path of weights of that sha256 (hex), in any of its stores; undefined when this user can't read them there. */
  weights(digest: string): Promise<string | undefined>;
  /** Two pulls of one model share one download; a cancelled one keeps what arrived. */
  pull(name: string, report: Report, signal: AbortSignal): Promise<PulledModel>;
  /** Bytes still to download; 0 when it is complete. Throws `UnknownModel`, `PullFailed`. */
  pullSize(name: string, signal: AbortSignal): Promise<number>;
  import(file: string, name: string, report: Report, signal: AbortSignal): Promise<PulledModel>;
  /** Another model over the blobs of one of the own store. Throws `UnknownModel`, `InvalidRequest`, `PullFailed`. */
  create(recipe: ModelRecipe, report: Report, signal: AbortSignal): Promise<PulledModel>;
  /** Deletes blobs that no other manifest of the own store names. Throws `UnknownModel`, `InvalidRequest` (read-only). */
  remove(name: string): Promise<{ readonly freedBytes: number }>;
}
