/** A model of one's own: another's weights with a system prompt, parameters and an adapter. */
export interface CreateModelRequest {
  readonly name: string;
  /** An installed model; the new one refers to its weights. */
  readonly base: string;
  /** In place of the base's. */
  readonly system?: string;
  /** Ollama's names (`temperature`, `num_ctx`, `stop`); over the base's. Numbers may be text. */
  readonly parameters?: Readonly<Record<string, unknown>>;
  /** Absolute path of a LoRA adapter as GGUF. */
  readonly adapter?: string;
  /** Replaces a model of that name. */
  readonly mayReplace?: boolean;
}

export interface CreatedModel {
  readonly name: string;
  readonly engine: string;
  /** Its weights, which it shares with the base, included. */
  readonly sizeBytes: number;
}
