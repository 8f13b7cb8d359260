/** Derives a model: the weights of another with a system prompt, parameters and an adapter. */
export interface CreateModelRequest {
  readonly name: string;
  /** An installed model, whose weights the new one shares. */
  readonly base: string;
  /** Replaces that of the base. */
  readonly system?: string;
  /** With Ollama's names (`temperature`, `num_ctx`, `stop`); override those of the base. Numbers may be strings. */
  readonly parameters?: Readonly<Record<string, unknown>>;
  /** Absolute path of a LoRA adapter as GGUF. */
  readonly adapter?: string;
  /** An existing model of that name may be replaced. */
  readonly mayReplace?: boolean;
}

export interface CreatedModel {
  readonly name: string;
  readonly engine: string;
  /** Includes the weights shared with the base. */
  readonly sizeBytes: number;
}
