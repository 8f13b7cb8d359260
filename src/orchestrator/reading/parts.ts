import type { RouteExplanation } from "../api/facade-route.ts";
import type { Cost } from "../api/cost.ts";
import { type OrchestratorError, PromptTooLong } from "../api/errors.ts";
import type { GenerateRequest, GenerateResult } from "../api/facade.ts";
import type { NextStep } from "../api/next-step.ts";
import type { LongText, ReadingModel } from "../generation/ports.ts";
import { estimateTokens } from "../routing/tokens.ts";
import { frameFile } from "../util/file-name.ts";
import { counted, formatAmount } from "../util/format-bytes.ts";
import { type Passage, type SplitSource, type TextPart, linesOf, splitTexts } from "./split-text.ts";
import { defined, getOrInsert } from "../util/values.ts";

/** What is asked, apart from the text that it is asked about. */
interface LongRequest {
  readonly question: string;
  readonly sources: readonly SplitSource[];
}

/** Longer paragraphs of a prompt are text to read, not the question about it. */
const maxQuestionTokens = 256;

/**
 * The question and the texts of a request: the prompt and the files. A prompt without files is split only if the request
 * says so: its first and its last paragraph are the question, as far as they are short, and what is between them is the
 * text. Throws `refusal`, with the next step, if the request must not be read in parts.
 */
export function longRequest(request: GenerateRequest, refusal: OrchestratorError): LongRequest {
  const { prompt, files = [], split, images = [], audio = [] } = request;
  if (images.length > 0 || audio.length > 0) throw refusal;
  if (split === "none") throw withStep(refusal, { step: "omitArgument", argument: "split" });
  if (files.length > 0) return { question: prompt, sources: files };
  if (split !== "auto") throw withStep(refusal, { step: "setArgument", argument: "split", to: "auto" });
  const long = longPrompt(prompt.trim());
  if (long === undefined) throw withStep(refusal, { step: "nameFileIn", argument: "files" });
  return long;
}

/** A refusal for the length of a prompt, with another next step. */
function withStep(refusal: OrchestratorError, step: NextStep): OrchestratorError {
  if (!(refusal instanceof PromptTooLong)) return refusal;
  return new PromptTooLong(refusal.message, refusal, { next: [...refusal.next, step], cause: refusal });
}

/** Undefined for a prompt without a paragraph that may be the question, or without another one. */
function longPrompt(prompt: string): LongRequest | undefined {
  const first = prompt.slice(0, /\n[^\S\n]*\n/.exec(prompt)?.index ?? prompt.length);
  const last = prompt.slice(lastParagraph(prompt));
  if (first.length === prompt.length) return undefined;
  const isShort = (paragraph: string) => estimateTokens(paragraph) <= maxQuestionTokens;
  const start = isShort(first) ? first.length : 0;
  const end = isShort(last) ? prompt.length - last.length : prompt.length;
  const question = [...(start > 0 ? [first] : []), ...(end < prompt.length ? [last] : [])];
  if (question.length === 0 || end <= start) return undefined;
  return { question: question.join("\n\n"), sources: [{ path: "prompt", text: prompt.slice(start, end) }] };
}

/** Where the last paragraph of a trimmed text begins. */
function lastParagraph(text: string): number {
  let start = text.length;
  while (start > 0) {
    const newline = text.lastIndexOf("\n", start - 2);
    if (text.slice(newline + 1, start).trim() === "") return start;
    start = newline + 1;
  }
  return 0;
}

/** A longer question is not repeated. */
const maxRepeatedTokens = 64;

/**
 * The prompt for one part. It is the same for all parts up to the text, so that the engine reads that prefix once. Small
 * models follow what is at the end, and describe the task instead of the text if there is much about it.
 */
export function readingPrompt(question: string, part: Pick<TextPart, "passages">): string {
  const asked = question.trim();
  const again = estimateTokens(asked) <= maxRepeatedTokens ? asked : "Do what is asked before the text.";
  return [
    "This is one part of a long text. It is read for this:",
    asked,
    "Only what this part says about it is needed: facts, names, numbers, copied exactly. " +
      `If it says nothing about it, write only: ${nothing}`,
    `${part.passages.map(framed).join("")}${again} Use the facts, names and numbers above, in a few short sentences.`,
    "Notes on this part:",
  ].join("\n\n");
}

const nothing = "NOTHING";

/** A passage in its frame, below the header of its table. */
export function framed(passage: Passage): string {
  const under = passage.headings.length === 0 ? "" : `, under ${passage.headings.join(" > ")}`;
  const text = `${passage.header ?? ""}${passage.text}`;
  return frameFile({ path: `${passage.path} (${linesOf(passage)}${under})`, text });
}

/** What was noted on one part, or on several. */
export interface PartNotes {
  readonly name: string;
  readonly text: string;
  readonly tokens: number;
}

/** Several notes become fewer. */
export function joiningPrompt(question: string, notes: readonly PartNotes[]): string {
  return [
    "These are notes on parts of a long text, written for this task:",
    `<task>\n${question.trim()}\n</task>`,
    notes.map(noted).join("\n\n"),
    "Join the notes: keep all facts, names and numbers, leave out repetitions.",
  ].join("\n\n");
}

/** The question is answered from the notes. */
export function answeringPrompt(question: string, notes: readonly PartNotes[]): string {
  const said = notes.length === 0 ? "(No part of the text says anything about it.)" : notes.map(noted).join("\n\n");
  return [`These are notes on the parts of a long text, in their order:`, said, question.trim()].join("\n\n");
}

function noted({ name, text }: PartNotes): string {
  return `## ${name}\n${text.trim()}`;
}

/** Consecutive notes in groups of at most `maxTokens`, of two at least, so that there are fewer afterwards. */
export function groupsOf(notes: readonly PartNotes[], maxTokens: number): readonly (readonly PartNotes[])[] {
  const groups: PartNotes[][] = [];
  let tokens = 0;
  for (const note of notes) {
    const last = groups.at(-1);
    if (last !== undefined && (tokens + note.tokens <= maxTokens || last.length < 2)) {
      last.push(note);
      tokens += note.tokens;
    } else {
      groups.push([note]);
      tokens = note.tokens;
    }
  }
  return groups;
}

/** Notes beyond these are counted. */
const maxNotes = 5;

/** The last answer with the notes, tokens, times, costs and attempts of all `results` that it took. */
export function totalOf(results: readonly GenerateResult[], last: GenerateResult): GenerateResult {
  const sum = (amount: (result: GenerateResult) => number | undefined) =>
    results.reduce((total, result) => total + (amount(result) ?? 0), 0);
  const cached = ({ cachedPromptTokens }: GenerateResult) => cachedPromptTokens;
  const isCached = results.some((result) => cached(result) !== undefined);
  const [cost] = costsOf(results);
  return {
    ...last,
    notes: notesOf(results),
    promptTokens: sum(({ promptTokens }) => promptTokens),
    ...(isCached && { cachedPromptTokens: sum(cached) }),
    completionTokens: sum(({ completionTokens }) => completionTokens),
    ...defined({ cost }),
    timing: {
      queueMs: sum(({ timing }) => timing.queueMs),
      loadMs: sum(({ timing }) => timing.loadMs),
      firstTokenMs: last.timing.firstTokenMs,
    },
    // Its list of models is made only if it is read.
    route: Object.defineProperties(
      {},
      {
        ...Object.getOwnPropertyDescriptors(last.route),
        attempts: { value: grouped(results.flatMap(({ route }) => route.attempts)), enumerable: true },
      },
    ) as GenerateResult["route"],
  };
}

/** The notes of all, each once. */
function notesOf(results: readonly GenerateResult[]): readonly string[] {
  const others = costsOf(results).slice(1);
  const all = [
    ...new Set(results.flatMap(({ notes }) => notes)),
    ...others.map(({ amount, currency }) => `other requests cost ${formatAmount(amount, currency)}`),
  ];
  const more = all.length - maxNotes;
  return more <= 1 ? all : [...all.slice(0, maxNotes), `${counted(more, "note")} more`];
}

/** By currency. */
function costsOf(results: readonly GenerateResult[]): readonly Cost[] {
  const costs = new Map<string, Cost>();
  for (const { cost } of results) {
    if (cost === undefined) continue;
    const before = costs.get(cost.currency);
    costs.set(cost.currency, {
      ...cost,
      ...before,
      amount: cost.amount + (before?.amount ?? 0),
      ...(cost.isEstimated === true && { isEstimated: true }),
    });
  }
  return [...costs.values()];
}

/** Equal attempts once, with their number. */
function grouped(attempts: RouteExplanation["attempts"]): RouteExplanation["attempts"] {
  const counts = new Map<string, { readonly attempt: RouteExplanation["attempts"][number]; count: number }>();
  for (const attempt of attempts) {
    const key = JSON.stringify(attempt);
    getOrInsert(counts, key, () => ({ attempt, count: 0 })).count += 1;
  }
  return [...counts.values()].map(({ attempt, count }) =>
    count === 1 ? attempt : { ...attempt, outcome: `${attempt.outcome} (${counted(count, "request")})` },
  );
}

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
  /** Reads the parts. */
  readonly model: ReadingModel;
  readonly parts: readonly TextPart[];
  readonly totalTokens: number;
  readonly notesTokens: number;
  /** Notes that are joined with one request, and notes from which the answer is given. */
  readonly groupTokens: number;
  readonly joiningTokens: number;
  readonly parallel: number;
  readonly countTokens: (text: string, path: string) => number;
}

/**
 * Chooses the model that reads the parts, and splits the text for it: for the context that it is loaded with or would be
 * loaded with by default, which is known to fit in memory. Throws
 * `refusal` if the text can't be read in parts, either.
 */
export async function prepareParts(
  { request, refusal, signal, choose }: LongText,
  long: LongRequest,
): Promise<PreparedParts> {
  const { files: _files, format: _format, ...plain } = request;
  const reading = { ...plain, prompt: readingPrompt(long.question, { passages: [] }), maxTokens: mostNotesTokens };
  const model = await choose(reading);
  const { windowTokens } = model;
  const sizeOf = (prompt: string) => Math.ceil(model.sizeOf(prompt) * estimateMargin) + spareTokens;
  const questionTokens = sizeOf(reading.prompt);
  const roomForNotes = Math.max(leastNotesTokens, Math.min(mostNotesTokens, Math.floor(windowTokens / 8)));
  const partTokens = windowTokens - questionTokens - roomForNotes;
  if (partTokens < leastPartTokens) throw refusal;
  const countTokens = await counterFor(model, long.sources, signal);
  const parts = splitTexts(long.sources, {
    maxTokens: partTokens,
    frameTokens: frameTokens(long.sources),
    countTokens,
  });
  if (parts.length < 2) throw refusal;

  const answerTokens = Math.min(request.maxTokens ?? typicalAnswerTokens, Math.floor(windowTokens / 3));
  const joiningTokens = windowTokens - sizeOf(answeringPrompt(long.question, [])) - answerTokens;
  return {
    long,
    model,
    parts,
    totalTokens: parts.reduce((sum, { tokens }) => sum + tokens, 0),
    notesTokens: Math.max(leastNotesTokens, Math.min(roomForNotes, Math.floor(joiningTokens / parts.length) - 16)),
    groupTokens: partTokens,
    joiningTokens: Math.max(joiningTokens, leastPartTokens),
    // One place is left to other requests.
    parallel: Math.max(1, Math.min(model.parallel - 1, maxParallelParts)),
    countTokens,
  };
}

/** Pieces of a part that the engine found too long; none if it is too small for that. */
export function splitAgain({ countTokens }: PreparedParts, part: TextPart): readonly TextPart[] {
  const maxTokens = Math.floor(part.tokens / 2);
  if (maxTokens < leastPartTokens) return [];
  return splitTexts(part.passages, { maxTokens, frameTokens: frameTokens(part.passages), countTokens });
}

/**
 * Estimates tokens, corrected by the tokenizer's count where the model is loaded. Where the window is wider than the
 * context no estimate is lowered: a request whose estimate exceeds the context would reload the model.
 */
async function counterFor(
  { entry: { located, candidate }, windowTokens, vocabularySize }: ReadingModel,
  sources: readonly SplitSource[],
  signal: AbortSignal,
): Promise<PreparedParts["countTokens"]> {
  const { engine, model } = located;
  const estimated = (text: string): number => estimateTokens(text, vocabularySize);
  const factors = new Map<string, number>();
  for (const { path, text } of sources) {
    const start = Math.max(0, Math.floor((text.length - countedCharacters) / 2));
    const sample = text.slice(start, start + countedCharacters);
    const exact = sample === "" ? undefined : await engine.tokenizer?.count(model.name, sample, signal);
    if (exact === undefined) continue;
    const factor = (exact * countMargin) / Math.max(1, estimated(sample));
    factors.set(path, candidate.contextTokens > windowTokens ? Math.max(1, factor) : factor);
  }
  return (text, path) => Math.ceil(estimated(text) * (factors.get(path) ?? estimateMargin));
}

/** What the frame of a passage takes at most. */
function frameTokens(sources: readonly SplitSource[]): number {
  const paths = sources.map(({ path }) => estimateTokens(path));
  return Math.ceil((Math.max(0, ...paths) + 80) * estimateMargin);
}
