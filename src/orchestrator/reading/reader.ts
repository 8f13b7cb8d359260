import {
  BudgetExceeded,
  Cancelled,
  CheckFailed,
  GenerationFailed,
  OrchestratorError,
  PromptTooLong,
} from "../api/errors.ts";
import { itemsOf } from "./items.ts";
import type { PartsProgress, PartsRead } from "../api/facade-answers.ts";
import type { GenerateResult } from "../api/facade.ts";
import type { Progress } from "../api/types.ts";
import { estimateTokens } from "../routing/tokens.ts";
import { counted } from "../util/format-bytes.ts";
import { answerOnePlace } from "./one-place.ts";
import type { Resolved, LongAsk, Reader } from "../generation/ports.ts";
import {
  type PartNotes,
  type PreparedParts,
  totalOf,
  answeringPrompt,
  groupsOf,
  joiningPrompt,
  longRequest,
  prepareParts,
  readingPrompt,
  splitAgain,
} from "./parts.ts";
import { answerFromRows, queryRequest } from "./rows.ts";
import type { TextPart } from "./split-text.ts";
import { defined } from "../util/values.ts";

/** Failed parts before the call fails because no more parts than these were read. */
const minFailures = 3;
/** How often notes are joined, and how often the last prompt is shortened. */
const maxRounds = 6;

const notInPlace = "the parts that match the question best did not answer it, so all parts were read";

/**
 * Reads a text in parts, each with a request of its own, and answers from the notes. One model reads all parts; where it
 * fails, the next one of the route takes over. A part that fails twice is missing, and the answer says so; the call fails
 * if more parts failed than were read.
 */
export const reader: Reader = {
  planQuery: queryRequest,

  async query(ask, read) {
    const found = await answerFromRows(ask);
    if (found === undefined) return read();
    // The turn of a conversation keeps the question, not the table.
    if ("result" in found) return { question: ask.request.prompt, ...found };
    const { failure, totals } = found;
    const note = `no query answers this, so a model read the rows and may have miscounted (${failure})`;
    ask.context.report({ message: note });
    const { result, ...rest } = await read();
    totals.push(result);
    const total = totalOf(totals, result);
    return { ...rest, result: { ...total, notes: [note, ...total.notes] } };
  },

  async plan(text) {
    const { model, parts } = await prepareParts(text, longRequest(text.request, text.refusal));
    return { model, parts: { total: parts.length } };
  },

  async answer(asked) {
    const long = longRequest(asked.request, asked.refusal);
    asked.context.report({ message: "the text exceeds the context window: splitting it" });
    const result = await new PartsRun(asked, await prepareParts(asked, long)).run();
    return { result, question: long.question };
  },

  items: itemsOf,
};

class PartsRun {
  readonly #asked: LongAsk;
  readonly #prepared: PreparedParts;
  readonly #totals: GenerateResult[] = [];
  readonly #startedAtMs: number;
  /** Names of the parts that were read. */
  #done: readonly string[] = [];
  #doneTokens = 0;
  /** Grows when a part is split again. */
  #total: number;
  readonly #missing: { readonly part: string; readonly reason: string }[] = [];
  #missedTokens = 0;
  /** The model that reads; another one after it failed. */
  #model: string;
  #firstError: OrchestratorError | undefined;
  /** Nothing more can be paid. */
  #spent: BudgetExceeded | undefined;
  #cutNotes = 0;
  /** Why the notes are the answer. */
  #unanswered: string | undefined;

  constructor(asked: LongAsk, prepared: PreparedParts) {
    this.#asked = asked;
    this.#prepared = prepared;
    this.#startedAtMs = asked.steady();
    this.#total = prepared.parts.length;
    this.#model = prepared.model.entry.located.model.name;
  }

  async run(): Promise<GenerateResult> {
    const place = await this.#onePlace();
    if (place?.isFound === true) return place.result;
    this.#report(`reading ${counted(this.#total, "part")} with ${this.#model}`);
    const read = await this.#readAll();
    const result = await this.#final(await this.#joined(read, this.#prepared.joiningTokens));
    const { notesTokens, model } = this.#prepared;
    const notes = [
      ...(this.#unanswered === undefined ? [] : [`these are the notes on the parts: ${this.#unanswered}`]),
      ...(this.#cutNotes === 0
        ? []
        : [`the notes on ${counted(this.#cutNotes, "part")} were cut at ${counted(notesTokens, "token")}`]),
    ];
    const missed = this.#missedTokens / this.#prepared.totalTokens;
    const parts: PartsRead = {
      total: this.#total,
      ...(missed === 0 ? {} : { share: Math.round((1 - missed) * 1_000) / 1_000 }),
      ...(this.#missing.length === 0 ? {} : { missing: this.#missing }),
    };
    const total = totalOf(this.#totals, result);
    return {
      ...total,
      ...(result.model === model.entry.located.model.name ? { reason: model.reason } : {}),
      notes: [...(place === undefined ? [] : [notInPlace]), ...total.notes, ...notes],
      totalMs: this.#asked.steady() - this.#startedAtMs,
      parts,
    };
  }

  /** The answer to a question about one place. A failure is that of the picked passages: all parts are read then. */
  async #onePlace(): ReturnType<typeof answerOnePlace> {
    const { context } = this.#asked;
    const report = (progress: Progress) => this.#report(progress.message, progress);
    try {
      const place = await answerOnePlace({ ...this.#asked, context: { ...context, report } }, this.#prepared);
      if (place?.isFound === false) this.#totals.push(place.result);
      return place;
    } catch (error) {
      failureIn(error, context.signal);
      return undefined;
    }
  }

  /** Notes on all parts, in their order; several parts at a time where the engine batches. */
  async #readAll(): Promise<readonly PartNotes[]> {
    const { parts, parallel } = this.#prepared;
    const read: (readonly PartNotes[])[] = [];
    const stop = new AbortController();
    const signal = AbortSignal.any([this.#asked.context.signal, stop.signal]);
    let next = 0;
    const work = async (): Promise<void> => {
      for (let index = next++; index < parts.length; index = next++) {
        read[index] = await this.#read(parts[index] as TextPart, index + 1, signal);
      }
    };
    const workers = Array.from({ length: Math.min(parallel, parts.length) }, work);
    try {
      await Promise.all(workers);
    } catch (error) {
      stop.abort(error);
      await Promise.allSettled(workers);
      throw error;
    }
    return read.flat();
  }

  /** Notes on one part; none if it has nothing to do with the question, or is missing. */
  async #read(part: TextPart, number: number, signal: AbortSignal): Promise<readonly PartNotes[]> {
    const { long } = this.#prepared;
    let failure: OrchestratorError | undefined = this.#spent;
    for (let attempt = 0; attempt < 2 && this.#spent === undefined; attempt += 1) {
      const what = `part ${number} of ${this.#total} (${part.name})`;
      try {
        const prompt = readingPrompt(long.question, part);
        const result = await this.#note(prompt, attempt > 0, what, signal);
        this.#done = [...this.#done, part.name];
        this.#doneTokens += part.tokens;
        if (result.finishReason === "length") this.#cutNotes += 1;
        this.#report(`${what} is read`);
        return noNotes.test(result.text) ? [] : [{ name: part.name, text: result.text, tokens: tokensIn(result) }];
      } catch (error) {
        failure = failureIn(error, signal);
        const pieces = isTooLong(failure) ? splitAgain(this.#prepared, part) : [];
        if (pieces.length > 1) return this.#readPieces(pieces, number, signal);
      }
    }
    if (failure !== undefined) this.#fail(part, failure);
    return [];
  }

  /** A part that the engine found too long. */
  async #readPieces(pieces: readonly TextPart[], number: number, signal: AbortSignal): Promise<readonly PartNotes[]> {
    this.#total += pieces.length - 1;
    const notes: PartNotes[] = [];
    for (const piece of pieces) notes.push(...(await this.#read(piece, number, signal)));
    return notes;
  }

  #fail(part: TextPart, error: OrchestratorError): void {
    this.#missing.push({ part: part.name, reason: error.message });
    this.#missedTokens += part.tokens;
    this.#firstError ??= error;
    const [failed, read] = [this.#missing.length, this.#done.length];
    // What was paid for is used, even if it is little.
    if (error instanceof BudgetExceeded && read > 0) this.#spent = error;
    else if (failed > read && failed >= Math.min(minFailures, this.#total)) {
      const first = this.#firstError;
      throw new GenerationFailed(
        `${failed} of ${counted(this.#total, "part")} could not be read, the first because ${first.message}`,
        { next: first.next, cause: first },
      );
    }
  }

  /** Asks for notes: the model that reads all parts, or for the second time any model of the route. */
  async #note(prompt: string, isRetry: boolean, what: string, signal: AbortSignal): Promise<GenerateResult> {
    const { request, context } = this.#asked;
    const { model: chosen, notesTokens } = this.#prepared;
    const { files: _files, format: _format, check: _check, complexity: _complexity, ...kept } = request;
    const { needs: _needs, random: _random, continueId: _id, keepAliveSeconds = 0, model: _asked, ...plain } = kept;
    const model = isRetry ? request.model : this.#model;
    const maxTokens = isRetry ? notesTokens * 2 : notesTokens;
    const asked: Resolved = {
      ...plain,
      ...defined({ model }),
      prompt,
      maxTokens,
      memoryTokens: 0,
      split: "none",
      // After the last request only, or each part would load the model.
      ...(keepAliveSeconds === 0 ? {} : { keepAliveSeconds }),
      // Its limit of tokens would be spent before the notes begin.
      ...(chosen.entry.candidate.capabilities.includes("thinking") ? { think: false } : {}),
    };
    const result = await this.#asked.answer({
      request: asked,
      history: chosen.history,
      context: {
        signal,
        background: context.background,
        report: (progress) => this.#report(`${what}: ${progress.message}`, progress),
        addText: () => undefined,
        addThinking: () => undefined,
        clearText: () => undefined,
        setAnswer: () => undefined,
      },
    });
    this.#totals.push(result);
    this.#model = result.model;
    if (result.text.trim() === "" && result.finishReason === "length") {
      throw new GenerationFailed(`${result.model} reached ${counted(maxTokens, "token")} before it wrote any notes`);
    }
    return result;
  }

  /** Fewer notes, until all of them fit one prompt. */
  async #joined(notes: readonly PartNotes[], maxTokens: number): Promise<readonly PartNotes[]> {
    const { long, groupTokens } = this.#prepared;
    let joined = notes;
    for (let round = 0; round < maxRounds && joined.length > 1 && tokensOf(joined) > maxTokens; round += 1) {
      if (this.#spent !== undefined) break;
      const groups = groupsOf(joined, groupTokens);
      const next: PartNotes[] = [];
      for (const [index, group] of groups.entries()) {
        const [first, second] = group;
        if (first === undefined || second === undefined || this.#spent !== undefined) {
          next.push(...group);
          continue;
        }
        const name = `${first.name} and ${group.length - 1} more`;
        const what = `joining notes, ${index + 1} of ${groups.length} (${name})`;
        const result = await this.#joinOnce(joiningPrompt(long.question, group), name, what);
        if (result !== undefined) next.push({ name, text: result.text, tokens: tokensIn(result) });
        else if (this.#spent !== undefined) next.push(...group);
      }
      joined = next;
    }
    return joined;
  }

  /** Undefined if it fails twice: then the notes are named as missing, or are kept as they are if nothing can be paid. */
  async #joinOnce(prompt: string, name: string, what: string): Promise<GenerateResult | undefined> {
    const { signal } = this.#asked.context;
    try {
      return await this.#note(prompt, false, what, signal);
    } catch (first) {
      failureIn(first, signal);
      try {
        return await this.#note(prompt, true, what, signal);
      } catch (error) {
        const failure = failureIn(error, signal);
        if (failure instanceof BudgetExceeded) this.#spent = failure;
        else this.#missing.push({ part: `the notes on ${name}`, reason: failure.message });
        return undefined;
      }
    }
  }

  /** The answer from the notes; if it fails, the notes themselves, where no form is prescribed. */
  async #final(notes: readonly PartNotes[]): Promise<GenerateResult> {
    const { request, context } = this.#asked;
    const { files: _files, ...rest } = request;
    let left = notes;
    for (let round = 1, maxTokens = this.#prepared.joiningTokens; ; round += 1, maxTokens /= 2) {
      const prompt = answeringPrompt(this.#prepared.long.question, left);
      const reporting = {
        ...context,
        report: (progress: Progress) => this.#report(`answering from the notes: ${progress.message}`, progress),
      };
      try {
        const result = await this.#asked.answer({
          request: { ...rest, prompt, split: "none" },
          quoted: { files: this.#prepared.long.sources, question: this.#prepared.long.question },
          context: reporting,
        });
        this.#totals.push(result);
        return result;
      } catch (error) {
        const failure = failureIn(error, this.#asked.context.signal);
        const isLast = left.length < 2 || round === maxRounds || this.#spent !== undefined;
        if (!isTooLong(failure) || isLast) return this.#notesInstead(left, failure);
        left = await this.#joined(left, maxTokens / 2);
      }
    }
  }

  /** The notes themselves, which took long to get, or were paid for. Throws the failure where they can't be the answer. */
  #notesInstead(notes: readonly PartNotes[], failure: OrchestratorError): GenerateResult {
    const last = this.#totals.at(-1);
    if (last === undefined || notes.length === 0 || failure instanceof CheckFailed) throw failure;
    if (this.#asked.request.format !== undefined) throw failure;
    const text = notes.map(({ name, text: noted }) => `## ${name}\n${noted.trim()}`).join("\n\n");
    this.#unanswered = failure.message;
    this.#asked.context.clearText();
    this.#asked.context.addText(text);
    return { ...last, text };
  }

  #report(message: string, { completionTokens }: Partial<Progress> = {}): void {
    const parts: PartsProgress = {
      done: this.#done,
      total: this.#total,
      doneTokens: this.#doneTokens,
      totalTokens: this.#prepared.totalTokens,
    };
    this.#asked.context.report({ message, parts, ...defined({ completionTokens }) });
  }
}

/** Throws what ends the whole call: a cancel, or a defect. */
function failureIn(error: unknown, signal: AbortSignal): OrchestratorError {
  if (signal.aborted || !(error instanceof OrchestratorError) || error instanceof Cancelled) throw error;
  return error;
}

function isTooLong(error: OrchestratorError): boolean {
  return error instanceof PromptTooLong || error.cause instanceof PromptTooLong;
}

/** By the engine's count, or by the estimate that decides on the context of the next request; with their heading. */
function tokensIn({ text, completionTokens }: GenerateResult): number {
  return Math.max(completionTokens, estimateTokens(text)) + 16;
}

function tokensOf(notes: readonly PartNotes[]): number {
  return notes.reduce((sum, { tokens }) => sum + tokens, 0);
}

/** Notes that say that their part has nothing to do with the task. */
const noNotes = /^\W*(?:NOTHING|none|n\/a)?\W*$/i;
