/**
 * What the pipeline needs of the rooms around it, and what it hands them: types only. It is the one file of this room that
 * `checks/` and `reading/` import; the wiring hands in what they implement, and loads it with the first request that needs it.
 */
import type { BatchItem, BatchUnit } from "../api/facade-batches.ts";
import type { CheckResult, GroundedValues, PartsRead } from "../api/facade-answers.ts";
import type { ChatMessage } from "../api/chat.ts";
import type { Cost } from "../api/cost.ts";
import type { OrchestratorError } from "../api/errors.ts";
import type { MemoryInjection } from "../api/facade-recall.ts";
import type { GenerateRequest, GenerateResult } from "../api/facade.ts";
import type { Generation } from "../engines/generation.ts";
import type { OperationContext } from "../jobs/operations.ts";
import type { Candidate } from "../routing/candidate.ts";
import type { LocatedCandidate } from "./candidates.ts";
import type { ResolvedForModel } from "../routing/model-overrides.ts";
import type { Resolved } from "./resolve.ts";
import type { Route } from "./route.ts";

export type { Resolved } from "./resolve.ts";

/** What one model answered. */
export interface Answered {
  /** The options that it was asked with. */
  readonly options: ResolvedForModel;
  /** One that was aborted lacks the counts that only the engine has. */
  readonly generation: Omit<Generation, "promptTokens"> & Partial<Pick<Generation, "promptTokens">>;
  readonly cost: Cost | undefined;
  readonly notes: readonly string[];
  readonly queueMs: number;
  readonly loadMs: number;
  readonly memory: MemoryInjection | undefined;
  readonly values?: GroundedValues;
}

/** One request to a model. */
export interface ModelTurn {
  readonly request: Resolved;
  /** Question and answer that precede it, after the conversation. */
  readonly before?: readonly ChatMessage[];
  /** The answer that it corrects: the remembered entries stay the same, and with them the prefix. */
  readonly corrects?: Answered | undefined;
  readonly context: OperationContext;
}

/** A model that is asked until an answer passes. */
export interface JudgedModel {
  readonly name: string;
  /** It answers several requests at the same time. */
  readonly isParallel: boolean;
  ask(turn: ModelTurn): Promise<Answered>;
}

export interface Judged {
  readonly answered: Answered;
  readonly check?: CheckResult;
  /** The check has no end: nothing is known of the answer, and another model's would not be checked, either. */
  readonly isUnchecked?: boolean;
}

/** What all answers took together, where one did not suffice. */
export interface Spent extends Pick<Answered, "cost" | "queueMs" | "loadMs"> {
  readonly promptTokens?: number;
  readonly cachedPromptTokens?: number;
  readonly completionTokens: number;
  readonly firstTokenMs: number;
  readonly notes: readonly string[];
}

/** A model of a chain that may be asked. */
export interface ChainStep {
  readonly entry: { readonly candidate: Candidate };
}

/** The whole files, and what is asked about them: prompts may be made of parts. */
export interface Quoted {
  readonly files: GenerateRequest["files"];
  readonly question: string;
}

/** Whose request it is: a caller's checks run one after the other. */
export interface Asking {
  readonly caller: string;
  readonly signal: AbortSignal;
  /** Other models than those of the chain. Absent: none may be asked. */
  readonly others?: {
    /** All that there are. */
    list(): Promise<readonly Candidate[]>;
    /** Asks the model that `request` names, in its own turn: a part of the same request. */
    ask(request: Resolved, isInConversation: boolean): Promise<{ readonly answered: Answered }>;
  };
}

/** What an answer has to pass. */
export interface Judge {
  /** The request as models get it: with instructions, a format, limits. */
  readonly request: Resolved;
  /** Throws `CheckFailed` for an answer that does not match its format, and what asking throws. */
  ask(model: JudgedModel, request: Resolved, context: OperationContext): Promise<Judged>;
  /** The steps of a chain that may do better than the model that failed. */
  stepsAfter<Step extends ChainStep>(waiting: readonly Step[], failed: Candidate): readonly Step[];
  /** What all answers took together; undefined for a single one. */
  spent(answers: readonly Answered[]): Spent | undefined;
}

/**
 * The judge of a request that has a format or a check. Quotes are looked for in the `quoted` files, else in its own. Throws
 * `InvalidRequest` for a format that can't be used, or a check that can't be made.
 */
export type Judging = (request: Resolved, asking: Asking, quoted?: Quoted) => Promise<Judge>;

/** The model that reads a long text. Sizes in tokens. */
export interface ReadingModel {
  readonly route: Route;
  readonly entry: LocatedCandidate;
  /** Why it was chosen. */
  readonly reason: string;
  readonly options: ResolvedForModel;
  /** The window that each request fits. */
  readonly windowTokens: number;
  /** How many requests it answers at the same time. */
  readonly parallel: number;
  /** Newest turns of the conversation, for each part. */
  readonly history: readonly ChatMessage[];
  readonly vocabularySize: number | undefined;
  /** The estimated size of a prompt with the system prompt and these turns. */
  sizeOf(prompt: string): number;
}

/** A request whose text exceeds the windows of all models that may answer. */
export interface LongText {
  readonly request: Resolved;
  /** Why it was refused as a whole. */
  readonly refusal: OrchestratorError;
  readonly signal: AbortSignal;
  /** Chooses the model for requests like this one. Throws `refusal` if there is none. */
  choose(reading: Resolved): Promise<ReadingModel>;
}

/** A long text that is to be answered. */
export interface LongAsk extends LongText {
  readonly context: OperationContext;
  readonly steady: () => number;
  /** How similar texts are to a query by meaning, in their order: of as many as a local embedding model compares in time. */
  similarities(query: string, texts: readonly string[]): Promise<readonly number[]>;
  /** Answers one request that fits a window, by the models of its route; with `history` instead of the whole conversation. */
  answer(part: {
    readonly request: Resolved;
    readonly context: OperationContext;
    readonly history?: readonly ChatMessage[];
    readonly quoted?: Quoted;
  }): Promise<GenerateResult>;
}

/** A question about the rows of tables. */
export interface RowsAsk extends Pick<LongAsk, "request" | "context" | "steady" | "answer"> {
  /** Answers a request of its own: to write a query. */
  write(part: { readonly request: GenerateRequest; readonly context: OperationContext }): Promise<GenerateResult>;
}

export interface Recorder {
  /** Keeps an answer for training, if the user wants that for its task. */
  readonly record?: (
    asked: {
      readonly request: Resolved;
      readonly thread?: { readonly history: readonly ChatMessage[] } | undefined;
      readonly world: { readonly isCompared?: boolean };
    },
    result: GenerateResult,
  ) => void;
}

/** An answer from files, with the question apart from the text if it isn't the request itself. */
export interface ReadAnswer {
  readonly result: GenerateResult;
  readonly question?: string;
}

/** What to do with tables, and with a text that is too long: those throw `refusal` if it can't be read in parts, either. */
export interface Reader {
  /** The request for a query over the rows; undefined if the question is none about rows. */
  planQuery(request: Resolved, signal: AbortSignal): Promise<GenerateRequest | undefined>;
  /** Answers a question about rows by a query, any other one, and one for which no model writes a query, by `read`. */
  query(ask: RowsAsk, read: () => Promise<ReadAnswer>): Promise<ReadAnswer>;
  plan(text: LongText): Promise<{ readonly model: ReadingModel; readonly parts: PartsRead }>;
  /** With the question, apart from the text. */
  answer(ask: LongAsk): Promise<Required<ReadAnswer>>;
  /** Files as the texts of which each is asked about. Throws `InvalidRequest`. */
  items(files: NonNullable<GenerateRequest["files"]>, unit?: BatchUnit): readonly BatchItem[];
}
