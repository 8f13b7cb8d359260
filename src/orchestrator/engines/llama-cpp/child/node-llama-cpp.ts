/**
 * Types of the part of node-llama-cpp 3.21.1 that the child process uses. Written by hand, because the package is installed
 * on demand into OLLM_HOME and is not a dependency of the repository. The engine's tests run against the real package.
 */
export type Token = number & { readonly __token: never };

export interface NodeLlamaCpp {
  getLlama(options: {
    /** Default: `auto`. */
    gpu?: "auto" | "cuda" | "vulkan" | false;
    build: "never";
    skipDownload: true;
    progressLogs: false;
    logLevel: "warn";
    logger: (level: string, message: string) => void;
    maxThreads: number;
  }): Promise<Llama>;
  readGgufFileInfo(file: string, options: { logWarnings: boolean; sourceType: "filesystem" }): Promise<GgufFileInfo>;
  readonly GgufInsights: { from(info: GgufFileInfo, llama: Llama): Promise<GgufInsights> };
  resolveChatWrapper(model: LlamaModel, options: ChatWrapperOptions): ChatWrapper;
  readonly LlamaChat: new (options: { contextSequence: ContextSequence; chatWrapper: ChatWrapper }) => LlamaChat;
  readonly LlamaText: (values: readonly unknown[]) => LlamaText;
  readonly SpecialToken: new (value: "BOS") => unknown;
  readonly SpecialTokensText: new (value: string) => {
    tokenizeSpecialTokensOnly(tokenizer: unknown): StopTrigger;
  };
  readonly LlamaGrammarEvaluationState: new (options: { model: LlamaModel; grammar: Grammar }) => GrammarState;
}

export interface GgufFileInfo {
  readonly metadata: { readonly tokenizer?: { readonly ggml?: { readonly model?: unknown } } };
}

export interface Llama {
  /** `false` without a GPU. */
  readonly gpu: string | false;
  maxThreads: number;
  /** Bytes of all graphics cards. */
  getVramState(): Promise<{ readonly total: number }>;
  loadModel(options: {
    modelPath: string;
    gpuLayers?: number;
    useMmap?: boolean;
    vocabOnly?: boolean;
    loadSignal?: AbortSignal;
    onLoadProgress?: (fraction: number) => void;
  }): Promise<LlamaModel>;
  createGrammar(options: { grammar: string }): Promise<Grammar>;
}

/** Opaque. */
export interface Grammar {
  readonly trimWhitespaceSuffix: boolean;
}

type Requirements = { readonly cpuRam: number; readonly gpuVram: number };

export interface GgufInsights {
  /** The last one is the output layer, which is the first on a card. */
  readonly totalLayers: number;
  /** From the sizes of the tensors. */
  estimateModelResourceRequirements(options: { gpuLayers: number; useMmap: boolean }): Requirements;
  estimateModelResourceRequirementsV2(options: { gpuLayers: number; useMmap: boolean }): Promise<Requirements>;
  estimateContextResourceRequirementsV2(options: {
    contextSize: number;
    modelGpuLayers: number;
    batchSize: number;
    sequences: number;
    isEmbeddingContext: boolean;
    flashAttention: boolean | "auto";
    useMmap: boolean;
    /** Numbers of `enum ggml_type`. */
    kvCacheKeyType: number;
    kvCacheValueType: number;
  }): Promise<Requirements>;
}

export interface LlamaModel {
  readonly tokens: { readonly bos: Token | null; readonly shouldPrependBosToken: boolean };
  readonly tokenizer: unknown;
  readonly fileInfo: {
    readonly metadata: {
      readonly general: { readonly architecture: string };
      readonly tokenizer?: { readonly chat_template?: string };
    } & Readonly<
      Record<string, { readonly rope?: { readonly scaling?: { readonly original_context_length?: unknown } } }>
    >;
  };
  tokenize(text: string, specialTokens?: boolean): Token[];
  detokenize(tokens: readonly Token[], specialTokens?: boolean, lastTokens?: readonly Token[]): string;
  isEogToken(token: Token): boolean;
  createContext(options: {
    contextSize: number;
    sequences: number;
    batchSize: number;
    threads: { ideal: number };
    flashAttention: "auto";
    failedCreationRemedy: false;
    createSignal?: AbortSignal;
    lora?: { adapters: { filePath: string }[] };
  }): Promise<{
    readonly contextSize: number;
    getSequence(): ContextSequence;
    dispose(): Promise<void>;
  }>;
  createEmbeddingContext(options: {
    contextSize: number;
    batchSize: number;
    threads: number;
    createSignal?: AbortSignal;
  }): Promise<EmbeddingContext>;
}

export interface ContextSequence {
  readonly context?: { readonly totalSequences: number };
  readonly nextTokenIndex: number;
  /** Its state can't be cut to a prefix: it has a sliding window, or is recurrent. */
  readonly needsCheckpoints: boolean;
  /** A copy of its tokens. */
  readonly contextTokens: Token[];
  readonly tokenMeter: { readonly usedOutputTokens: number; useTokens(tokens: number, type: "output"): void };
  compareContextTokens(tokens: Token[]): { readonly firstDifferentIndex: number };
  adaptStateToTokens(tokens: Token[], allowShift: false): Promise<void>;
  /** `fileSize`: what should be in the file. */
  saveStateToFile(path: string): Promise<{ readonly fileSize: number }>;
  /** Replaces the state. A truncated file aborts the process, and of wrong bits nothing is noticed. */
  loadStateFromFile(path: string, options: { acceptRisk: true }): Promise<void>;
  evaluateWithoutGeneratingNewTokens(tokens: Token[]): Promise<void>;
  /** For tokens with options what comes after them: `probabilities` begins with the likeliest. */
  controlledEvaluate(
    tokens: readonly [Token, { generateNext: { probabilities: true } }][],
  ): Promise<readonly ({ readonly next: { readonly probabilities?: ReadonlyMap<Token, number> } } | undefined)[]>;
  /** The next token for each iteration. `LlamaChat` generates with it. */
  evaluate(tokens: Token[], options?: EvaluateOptions): AsyncGenerator<Token, void, Token | Token[] | undefined>;
  eraseContextTokenRanges(ranges: readonly { readonly start: number; readonly end: number }[]): Promise<void>;
}

export interface EvaluateOptions {
  readonly temperature?: number;
  readonly yieldEogToken?: boolean;
  /** A function may return another one for each token. */
  readonly grammarEvaluationState?: GrammarState | (() => GrammarState | undefined);
  readonly repeatPenalty?: { readonly punishTokens: unknown; readonly maxPunishTokens: number };
}

/** What a grammar allows next. */
export interface GrammarState {
  readonly _state: unknown;
  clone(): GrammarState;
}

/**
 * The inside of a sequence: the library compares one guess with what the model writes, and no more. Of exactly the version that is
 * installed.
 */
export interface SequenceInside extends ContextSequence {
  readonly context: {
    readonly totalSequences: number;
    readonly contextSize: number;
    /** -1: no token. */
    readonly _ctx: { sampleToken(logits: number, sampler: NativeSampler): Promise<Token | -1> };
  };
  readonly model: {
    readonly _model: unknown;
    readonly _llama: {
      readonly _bindings: {
        readonly AddonSampler: (new (model: unknown) => NativeSampler) & {
          acceptGrammarEvaluationStateToken(state: unknown, token: Token): void;
        };
      };
    };
    isEogToken(token: Token): boolean;
  };
  readonly _contextShift: object;
  /**
   * Computes tokens. For each that has `logits`, one after the other, `map` is called with where the logits are. It must not
   * reject.
   */
  _decodeTokens(
    tokens: readonly Token[],
    logits: readonly true[],
    priority: number,
    meter: undefined,
    contextShift: object,
    map: (logits: number) => Promise<unknown>,
  ): Promise<unknown>;
  _resolveSamplerConfig(options: object): object;
}

export interface NativeSampler {
  applyConfig(config: object): void;
  dispose(): void;
}

export interface EmbeddingContext {
  getEmbeddingFor(input: string): Promise<{ readonly vector: readonly number[] }>;
  /** Returns the tokens of `input`, including special ones. */
  calculateInputLength(input: string): number;
}

interface LlamaText {
  tokenize(tokenizer: unknown, option?: "trimLeadingSpace"): Token[];
}

/** A part of a `LlamaText`; an object may contain the texts of special tokens. */
export type LlamaTextValue = string | { readonly value: string };

/** A text, of which parts are special tokens. */
export type StopTrigger = string | readonly (string | Token)[];

export interface ChatWrapper {
  readonly wrapperName: string;
  readonly settings: {
    readonly segments?: { readonly thought?: unknown };
    /** Strings or `LlamaText`, with `{{functionName}}` for the name. */
    readonly functions: {
      readonly call: { readonly prefix: unknown; readonly paramsPrefix: unknown; readonly suffix: unknown };
      /** Absent: one call at a time. */
      readonly parallelism?: {
        readonly call: {
          readonly sectionPrefix: unknown;
          readonly betweenCalls: unknown;
          readonly sectionSuffix: unknown;
        };
      };
    };
  };
  generateContextState(options: {
    chatHistory: readonly ChatHistoryItem[];
    availableFunctions?: Readonly<
      Record<string, { readonly description?: string | undefined; readonly params: unknown }>
    >;
  }): { readonly contextText: LlamaText };
}

export interface ChatWrapperOptions {
  readonly type: "auto" | "jinjaTemplate";
  readonly warningLogs: false;
  readonly customWrapperSettings: {
    readonly qwen?: { readonly thoughts: "discourage" };
    readonly gemma4?: { readonly reasoning: boolean };
    readonly harmony?: { readonly reasoningEffort: "low" | "medium" | "high" };
    readonly jinjaTemplate?: { readonly reasoning: boolean };
  };
}

export type ChatHistoryItem =
  | { readonly type: "system"; readonly text: string }
  | { readonly type: "user"; readonly text: string }
  | { readonly type: "model"; readonly response: ResponseItem[] };

export type ResponseItem =
  | string
  | { readonly type: "segment"; readonly segmentType: "thought"; readonly ended: boolean; readonly text: string }
  | FunctionCallItem;

export interface FunctionCallItem {
  readonly type: "functionCall";
  readonly name: string;
  readonly params: unknown;
  result: string;
  /** It is the first one of a message. */
  readonly startsNewChunk?: boolean;
}

interface LlamaChat {
  generateResponse(
    history: ChatHistoryItem[],
    options: {
      signal: AbortSignal;
      maxTokens: number;
      temperature: number;
      minP: number;
      topK: number;
      topP: number;
      seed?: number;
      grammar?: Grammar;
      repeatPenalty:
        | false
        | {
            lastTokens: number;
            penalty: number;
            frequencyPenalty: number;
            presencePenalty: number;
            penalizeNewLine: true;
          };
      customStopTriggers: readonly StopTrigger[];
      /** Waits with blanks until there is more text. */
      trimWhitespaceSuffix?: boolean;
      budgets?: { thoughtTokens: number; commentTokens: number };
      onResponseChunk: (chunk: {
        readonly type?: "segment" | undefined;
        readonly text: string;
        readonly tokens: readonly Token[];
      }) => void;
    },
  ): Promise<{
    readonly lastEvaluation: { readonly cleanHistory: ChatHistoryItem[] };
    readonly metadata: { readonly stopReason: string; readonly customStopTrigger?: readonly (string | Token)[] };
  }>;
  dispose(options: { disposeSequence: false }): void;
}
