import { Cancelled, type OrchestratorError } from "../api/errors.ts";
import type { ChatMessage } from "../engines/generation.ts";
import { takesNoMemory } from "../catalog/located-model.ts";
import { estimateTokens } from "../routing/tokens.ts";
import { sameModel } from "../util/model-name.ts";
import { requestBudget } from "../generation/budget.ts";
import type { LocatedCandidate } from "../generation/candidates.ts";
import type { Thread } from "../generation/conversations.ts";
import { type LongRequest, answeringPrompt, readingPrompt } from "./parts.ts";
import { buildMessages, countPromptTokens, ownDefaults } from "../generation/prompt.ts";
import { type Resolved, type ResolvedForModel, forModel } from "../generation/resolve.ts";
import { type Route, type RouteSource, chooseRoute } from "../generation/route.ts";
import { type SplitSource, type TextPart, splitTexts } from "./split-text.ts";

/** Windows are used up to this: short texts are read more carefully, and progress is reported. */
const maxWindowTokens = 32_768;
/** Estimates are up to a quarter too low. */
const estimateMargin = 4 / 3;
/** For what was counted: the middle of a file stands for all of it. */
const countMargin = 1.05;
const countedCharacters = 32_768;
/** Limits of the notes on one part. */
const leastNotesTokens = 96;
const mostNotesTokens = 384;
/** Smaller parts are not worth a request: the question takes up the window. */
const leastPartTokens = 128;
/** Room for an answer without a limit. */
const typicalAnswerTokens = 1024;
/** Parts that are read at the same time where the engine batches. */
const maxParallelParts = 4;
/** Tokens that a chat template may add. */
const spareTokens = 32;

/** How a text is read. Sizes in tokens. */
export interface PreparedParts {
  readonly long: LongRequest;
  readonly route: Route;
  /** The model that reads the parts, and why it was chosen. */
  readonly entry: LocatedCandidate;
  readonly reason: string;
  readonly options: ResolvedForModel;
  /** The window that each request fits. */
  readonly windowTokens: number;
  readonly parts: readonly TextPart[];
  readonly totalTokens: number;
  readonly notesTokens: number;
  /** Notes that are joined with one request, and notes from which the answer is given. */
  readonly groupTokens: number;
  readonly joiningTokens: number;
  /** Newest turns of the conversation, for each part. */
  readonly history: readonly ChatMessage[];
  readonly parallel: number;
  readonly countTokens: (text: string, path: string) => number;
}

/**
 * Chooses the model that reads the parts, and splits the text for it: for the context that it is loaded with or would be
 * loaded with by default, which is known to fit in memory. Throws `refusal` if the text can't be read in parts either.
 */
export async function prepareParts(
  world: RouteSource,
  request: Resolved,
  {
    long,
    thread,
    refusal,
  }: { readonly long: LongRequest; readonly thread: Thread | undefined; readonly refusal: OrchestratorError },
  signal: AbortSignal,
): Promise<PreparedParts> {
  const { files: _files, format: _format, ...plain } = request;
  const reading = { ...plain, prompt: readingPrompt(long.question, { passages: [] }), maxTokens: mostNotesTokens };
  const route = await chooseRoute(world, reading, signal, new Set(), thread?.model).catch((error: unknown) => {
    throw error instanceof Cancelled ? error : refusal;
  });
  const [step] = route.chain;
  if (step === undefined) throw refusal;
  const { entry, reason } = step;
  const own = await ownDefaults(world, entry.located, signal);
  const options = forModel(reading, entry.located.model.name, own);
  const windowTokens = windowOf(world, entry, requestBudget(options, entry, noPrompt).contextTokens);

  const history = newestTurns(thread?.history ?? [], windowTokens / 8);
  const sizeOf = (prompt: string) => {
    const messages = buildMessages({ ...plain, prompt }, { system: options.system, history });
    return Math.ceil(countPromptTokens(messages) * estimateMargin) + spareTokens;
  };
  const questionTokens = sizeOf(reading.prompt);
  const roomForNotes = Math.max(leastNotesTokens, Math.min(mostNotesTokens, Math.floor(windowTokens / 8)));
  const partTokens = windowTokens - questionTokens - roomForNotes;
  if (partTokens < leastPartTokens) throw refusal;
  const countTokens = await counterFor(entry, long.sources, windowTokens, signal);
  const parts = splitTexts(long.sources, {
    maxTokens: partTokens,
    frameTokens: frameTokens(long.sources),
    countTokens,
  });
  if (parts.length < 2) throw refusal;

  const answerTokens = Math.min(request.maxTokens ?? typicalAnswerTokens, Math.floor(windowTokens / 3));
  const joiningTokens = windowTokens - sizeOf(answeringPrompt(long.question, [])) - answerTokens;
  const { parallelAnswers } = entry.located.engine;
  const batch = parallelAnswers === undefined ? 1 : (options.maxParallel ?? parallelAnswers);
  return {
    long,
    route,
    entry,
    reason,
    options,
    windowTokens,
    parts,
    totalTokens: parts.reduce((sum, { tokens }) => sum + tokens, 0),
    notesTokens: Math.max(leastNotesTokens, Math.min(roomForNotes, Math.floor(joiningTokens / parts.length) - 16)),
    groupTokens: partTokens,
    joiningTokens: Math.max(joiningTokens, leastPartTokens),
    history,
    // One place is left to other requests.
    parallel: Math.max(1, Math.min(batch - 1, maxParallelParts)),
    countTokens,
  };
}

const noPrompt = { promptTokens: 0, isExact: true };

/** Pieces of a part that the engine found too long; none if it is too small for that. */
export function splitAgain({ countTokens }: PreparedParts, part: TextPart): readonly TextPart[] {
  const maxTokens = Math.floor(part.tokens / 2);
  if (maxTokens < leastPartTokens) return [];
  return splitTexts(part.passages, { maxTokens, frameTokens: frameTokens(part.passages), countTokens });
}

/** The context for each request: that of the loaded model, else that of a load. */
function windowOf(world: RouteSource, { located, candidate }: LocatedCandidate, defaultTokens: number): number {
  const { engine, model } = located;
  if (takesNoMemory(located)) return Math.min(candidate.contextTokens, maxWindowTokens);
  const resident = world.inventory.lastResident(engine).find(({ name }) => sameModel(name, model.name));
  const loadedTokens = Math.min(resident?.contextTokens ?? 0, maxWindowTokens);
  return Math.min(candidate.contextTokens, Math.max(defaultTokens, loadedTokens));
}

/** The newest turns that fit. */
function newestTurns(history: readonly ChatMessage[], maxTokens: number): readonly ChatMessage[] {
  let from = history.length;
  while (from >= 2 && countPromptTokens(history.slice(from - 2)) <= maxTokens) from -= 2;
  return history.slice(from);
}

/**
 * Estimates tokens, corrected by the tokenizer's count where the model is loaded. Where the window is wider than the
 * context no estimate is lowered: a request whose estimate exceeds the context would reload the model.
 */
async function counterFor(
  { located, candidate }: LocatedCandidate,
  sources: readonly SplitSource[],
  windowTokens: number,
  signal: AbortSignal,
): Promise<PreparedParts["countTokens"]> {
  const { engine, model } = located;
  const factors = new Map<string, number>();
  for (const { path, text } of sources) {
    const start = Math.max(0, Math.floor((text.length - countedCharacters) / 2));
    const sample = text.slice(start, start + countedCharacters);
    const exact = sample === "" ? undefined : await engine.tokenizer?.count(model.name, sample, signal);
    if (exact === undefined) continue;
    const factor = (exact * countMargin) / Math.max(1, estimateTokens(sample));
    factors.set(path, candidate.contextTokens > windowTokens ? Math.max(1, factor) : factor);
  }
  return (text, path) => Math.ceil(estimateTokens(text) * (factors.get(path) ?? estimateMargin));
}

/** What the frame of a passage takes at most. */
function frameTokens(sources: readonly SplitSource[]): number {
  const paths = sources.map(({ path }) => estimateTokens(path));
  return Math.ceil((Math.max(0, ...paths) + 80) * estimateMargin);
}
