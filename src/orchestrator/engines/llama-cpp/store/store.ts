import type { ModelRecipe, PulledModel, Report } from "../../engine.ts";

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
  /** Family, size and quantization from the config blob; absent when it doesn't state them. */
  readonly family?: string;
  readonly parameterSize?: string;
  readonly quantization?: string;
  /** It is in a store that belongs to Ollama: never written to, never deleted from. */
  readonly isReadOnly: boolean;
  /** Why the embedded engine can't load it, known without reading the weights (tensor layers, cloud model). */
  readonly unsupported?: string;
}

/** The embedded engine's models: one own folder, and foreign Ollama stores that are only read. */
export interface ModelStore {
  /** Own models first; an own model hides a foreign one of the same name. */
  list(): Promise<readonly StoredModel[]>;
  /** A name without tag means `:latest`. */
  find(name: string): Promise<StoredModel | undefined>;
  /** Path of the weights with that sha256 (hex) in any of the stores; undefined if this user can't read them. */
  weights(digest: string): Promise<string | undefined>;
  /** Two pulls of one model share one download; a cancelled one keeps what has arrived. */
  pull(name: string, report: Report, signal: AbortSignal): Promise<PulledModel>;
  import(file: string, name: string, report: Report, signal: AbortSignal): Promise<PulledModel>;
  /** Creates a model that uses the blobs of an own one. Throws `UnknownModel`, `InvalidRequest`, `PullFailed`. */
  create(recipe: ModelRecipe, report: Report, signal: AbortSignal): Promise<PulledModel>;
  /** Also deletes blobs that no other own manifest names. Throws `UnknownModel`, `InvalidRequest` (read-only). */
  remove(name: string): Promise<{ readonly freedBytes: number }>;
}
