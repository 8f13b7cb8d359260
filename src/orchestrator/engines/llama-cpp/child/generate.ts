import type { ThinkLevel } from "../../../api/types.ts";
import { answerCharacters, firstTokens, likelihoodsOf } from "../../generation.ts";
import { Calls } from "./calls.ts";
import { type RenderedPrompt, promptOf } from "./chat-template.ts";
import { ChildFailure, throwIfAborted } from "./failure.ts";
import { alternatives, JsonGrammar } from "./json-grammar.ts";
import type {
  ChatWrapper,
  ContextSequence,
  Grammar,
  Llama,
  LlamaModel,
  NodeLlamaCpp,
  Token,
} from "./node-llama-cpp.ts";
import type { ChildEvent, GenerateDone, GenerateRequest } from "./protocol.ts";
import type { PromptFiles } from "./prompt-files.ts";
import {
  Conversations,
  createEvictedPrompts,
  type Pause,
  reportReevaluation,
  type SequenceParts,
} from "./sequences.ts";
import type { DecodeThreads } from "./threads.ts";
import type { Turns } from "./turns.ts";
import { defined, messageOf } from "../../../util/values.ts";

interface GeneratorParts extends SequenceParts {
  readonly library: NodeLlamaCpp;
  readonly llama: Llama;
  readonly model: LlamaModel;
  /** Window of one sequence. */
  readonly contextTokens: number;
  readonly decodeThreads: DecodeThreads;
  readonly templateFor: (think: ThinkLevel | undefined) => ChatWrapper;
  readonly prefill: Prefill;
  readonly files: PromptFiles;
}

/** Tokens that a wrapper may add around thoughts. */
const thoughtMarkTokens = 16;

/** Computes as many answers at the same time as there are sequences. */
export function createGenerator(parts: GeneratorParts) {
  const { llama, model, contextTokens } = parts;
  const conversations = new Conversations(parts);
  const evicted = createEvictedPrompts();

  async function generate(
    request: GenerateRequest,
    emit: (event: ChildEvent) => void,
    signal: AbortSignal,
    pause: Pause,
  ): Promise<GenerateDone> {
    throwIfAborted(signal);
    const { format, choices, toolChoice = "auto" } = request;
    // A grammar from the first token on has no place for thoughts.
    const hasFormat = (format ?? choices) !== undefined || toolChoice !== "auto";
    const rendered = promptOf(model, parts.templateFor, { ...request, hasFormat });
    const { wrapper, tokens: prompt } = rendered;
    const calls = request.tools && new Calls({ ...parts, wrapper }, request.tools, request);
    const grammar = await grammarFor(llama, request.format, calls);
    const marks = wrapper.settings.segments?.thought === undefined ? 0 : thoughtMarkTokens;
    const roomTokens = contextTokens - prompt.length - marks - 1;
    if (roomTokens < 1) {
      throw new ChildFailure("prompt_too_long", "prompt too long", { promptTokens: prompt.length, contextTokens });
    }

    const reportPrefill = () => emit({ type: "phase", phase: "prefill" });
    reportPrefill();
    // Pieces of other sizes differ in their last bits.
    pause.isBehind = request.isBehind === true && !isHeldAnswer(request);
    const startedAt = performance.now();
    const { sequence, release } = await conversations.claim(prompt, request.sequences, pause, signal);
    let isHeld = false;
    try {
      const beforeLast = prompt.slice(0, -1);
      const { firstDifferentIndex } = sequence.compareContextTokens(beforeLast);
      evicted.note(sequence.contextTokens, firstDifferentIndex);
      const use = { ...request, pause, signal, contextTokens, progressed: reportPrefill };
      const restoredPromptTokens = await parts.files.prepare(sequence, beforeLast, use);
      await reportReevaluation(sequence.adaptStateToTokens(beforeLast, false), firstDifferentIndex, reportPrefill);
      isHeld = true;
      const cachedPromptTokens = sequence.nextTokenIndex;
      const recomputedTokens = evicted.missedTokens(beforeLast, cachedPromptTokens);
      const unread = beforeLast.slice(cachedPromptTokens);
      const mayLeave = request.choices === undefined && !isHeldAnswer(request);
      await parts.prefill(sequence, unread, pause, signal, reportPrefill, mayLeave);
      await pause.pass();
      const pausedInPrefillMs = pause.pausedMs;

      const { firstTokenAt, endedAt, ...answer } = await decode(
        parts,
        { ...request, maxTokens: Math.min(request.maxTokens, roomTokens) },
        { ...rendered, sequence, grammar, calls },
        emit,
        signal,
        pause,
      );
      return {
        ...answer,
        promptTokens: prompt.length,
        cachedPromptTokens,
        restoredPromptTokens,
        recomputedTokens,
        sequences: conversations.count,
        prefillMs: firstTokenAt - startedAt - pausedInPrefillMs,
        decodeMs: endedAt - firstTokenAt - (pause.pausedMs - pausedInPrefillMs),
      };
    } finally {
      if (isHeld) parts.files.ended(sequence, request);
      release();
    }
  }

  return { generate, conversations };
}

/** Whether it should be the same each time. */
const isHeldAnswer = ({ sampling: { temperature, seed } }: GenerateRequest) => temperature === 0 || seed !== undefined;

/** Generates the answer to an evaluated prompt, of which the last token is left. */
async function decode(
  parts: GeneratorParts,
  request: GenerateRequest,
  prompt: RenderedPrompt & {
    readonly sequence: ContextSequence;
    readonly grammar: Grammar | undefined;
    readonly calls: Calls | undefined;
  },
  emit: (event: ChildEvent) => void,
  signal: AbortSignal,
  pause: Pause,
): Promise<
  Pick<
    GenerateDone,
    "text" | "thinking" | "toolCalls" | "finishReason" | "stopText" | "likelihoods" | "completionTokens"
  > & {
    readonly firstTokenAt: number;
    readonly endedAt: number;
  }
> {
  const { sequence, calls } = prompt;
  const { decodeThreads } = parts;
  const begin = () => {
    emit({ type: "phase", phase: "decode" });
    decodeThreads.begin();
  };
  begin();
  pause.resumed = begin;
  pause.isHeld = isHeldAnswer(request);
  // What is computed in one batch differs in its last bits from what isn't.
  pause.mostGuesses = request.sampling.mostGuesses ?? (pause.isHeld ? 0 : Number.POSITIVE_INFINITY);
  if (request.choices !== undefined) return chosen(parts, request.choices, prompt, emit, pause);
  const outputBefore = sequence.tokenMeter.usedOutputTokens;
  const written = () => sequence.tokenMeter.usedOutputTokens - outputBefore;
  const answer = { text: "", thinking: "", firstTokenAt: undefined as number | undefined, characters: 0 };
  // A vocabulary may contain texts of any length; an answer that is too long must not reach the daemon.
  const tooLong = new AbortController();
  const limit = answerCharacters(request.maxTokens);
  const until = AbortSignal.any([signal, tooLong.signal]);
  const pass = (delta: Extract<ChildEvent, { type: "delta" }>) => {
    const { text = "", thinking = "", call } = delta;
    answer.firstTokenAt ??= performance.now();
    answer.characters += text.length + thinking.length + (call?.arguments.length ?? 0);
    if (answer.characters > limit)
      tooLong.abort(new ChildFailure("failed", `its answer has more than ${limit} characters`));
    if (tooLong.signal.aborted) return;
    answer.text += text;
    answer.thinking += thinking;
    emit(delta);
  };
  try {
    const said =
      calls?.isForced === true
        ? { history: prompt.history, finishReason: "stop" as const, stopText: undefined, beginsCall: true }
        : await respond(parts, request, prompt, calls?.triggers ?? [], pass, until);
    const { customStopTriggers: _stop, repeatPenalty: _repeated, ...sampler } = samplerOptions(request);
    const writing = {
      history: said.history,
      sequence,
      sampler,
      maxTokens: request.maxTokens - written(),
      async evaluate(tokens: readonly Token[]) {
        // It doesn't wait for itself.
        parts.turns.leave(pause);
        await parts.prefill(sequence, tokens, pause, until, () => emit({ type: "phase", phase: "decode" }));
        pause.resumed = begin;
        begin();
      },
    };
    const called =
      calls !== undefined && said.beginsCall
        ? await calls.write(writing, (call) => pass({ type: "delta", call }), until)
        : { toolCalls: [], ...defined({ finishReason: said.finishReason, stopText: said.stopText }) };
    const endedAt = performance.now();
    const { text, thinking, firstTokenAt = endedAt } = answer;
    return { text, thinking, ...called, completionTokens: written(), firstTokenAt, endedAt };
  } catch (error) {
    throwIfAborted(signal);
    tooLong.signal.throwIfAborted();
    throw error;
  }
}

/** Text and thoughts, to the end of the answer or to one of the `triggers`. */
async function respond(
  { library }: GeneratorParts,
  request: GenerateRequest,
  { sequence, grammar, wrapper, history, needsThoughtBudget }: Parameters<typeof decode>[2],
  triggers: Calls["triggers"],
  pass: (delta: Extract<ChildEvent, { type: "delta" }>) => void,
  signal: AbortSignal,
): Promise<
  Pick<GenerateDone, "finishReason" | "stopText"> & Pick<RenderedPrompt, "history"> & { readonly beginsCall: boolean }
> {
  const chat = new library.LlamaChat({ contextSequence: sequence, chatWrapper: wrapper });
  const { customStopTriggers, ...sampler } = samplerOptions(request);
  try {
    const { lastEvaluation, metadata } = await chat.generateResponse(history, {
      ...sampler,
      customStopTriggers: [...customStopTriggers, ...triggers],
      ...defined({ grammar }),
      ...(triggers.length > 0 && { trimWhitespaceSuffix: true }),
      ...(needsThoughtBudget ? { budgets: { thoughtTokens: 0, commentTokens: Number.POSITIVE_INFINITY } } : {}),
      signal,
      maxTokens: request.maxTokens,
      onResponseChunk({ text, type }) {
        if (text !== "") pass(type === "segment" ? { type: "delta", thinking: text } : { type: "delta", text });
      },
    });
    signal.throwIfAborted();
    const [stop, ...more] = metadata.customStopTrigger ?? [];
    const stopText = more.length === 0 ? customStopTriggers.find((each) => each === stop) : undefined;
    return {
      history: lastEvaluation.cleanHistory,
      finishReason: metadata.stopReason === "maxTokens" ? "length" : "stop",
      ...defined({ stopText }),
      beginsCall: stop !== undefined && stopText === undefined,
    };
  } finally {
    chat.dispose({ disposeSequence: false });
  }
}

/** The likeliest of the choices, by the probabilities of the first token. */
async function chosen(
  { model, turns }: GeneratorParts,
  choices: readonly string[],
  { sequence, tokens }: { readonly sequence: ContextSequence; readonly tokens: readonly Token[] },
  emit: (event: ChildEvent) => void,
  pause: Pause,
): ReturnType<typeof decode> {
  const last = tokens
    .slice(-1)
    .map((token): [Token, { generateNext: { probabilities: true } }] => [
      token,
      { generateNext: { probabilities: true } },
    ]);
  const [evaluated] = await turns.token(pause, sequence.context, () => sequence.controlledEvaluate(last));
  const likeliest = [...(evaluated?.next.probabilities ?? [])].slice(0, firstTokens);
  const likelihoods = likelihoodsOf(
    choices,
    likeliest.map(([token, probability]) => ({ token: model.detokenize([token]), logprob: Math.log(probability) })),
  );
  const [[text] = [""]] = Object.entries(likelihoods ?? {}).toSorted(([, one], [, other]) => other - one);
  emit({ type: "delta", text });
  const now = performance.now();
  const answer = { text, thinking: "", toolCalls: [], finishReason: "stop", completionTokens: 1 } as const;
  return { ...answer, ...defined({ likelihoods }), firstTokenAt: now, endedAt: now };
}

function samplerOptions({ sampling }: GenerateRequest) {
  const hasPenalty = sampling.repeatPenalty !== 1 || sampling.frequencyPenalty !== 0 || sampling.presencePenalty !== 0;
  return {
    temperature: sampling.temperature,
    topP: sampling.topP,
    topK: sampling.topK,
    minP: sampling.minP,
    ...defined({ seed: sampling.seed }),
    customStopTriggers: sampling.stop,
    // Always set, because the library's default differs.
    repeatPenalty:
      hasPenalty && sampling.repeatLastTokens > 0
        ? {
            lastTokens: sampling.repeatLastTokens,
            penalty: sampling.repeatPenalty,
            frequencyPenalty: sampling.frequencyPenalty,
            presencePenalty: sampling.presencePenalty,
            penalizeNewLine: true as const,
          }
        : (false as const),
  };
}

/** For an answer that is JSON of a format, or begins with a call. */
async function grammarFor(llama: Llama, format: GenerateRequest["format"], calls: Calls | undefined) {
  if (format === undefined) return undefined;
  const grammar = new JsonGrammar(true);
  const value = grammar.valueOf(format);
  try {
    return await llama.createGrammar({ grammar: grammar.text(alternatives([value, calls?.beginning ?? []].flat())) });
  } catch (error) {
    throw new ChildFailure("bad_format", messageOf(error), { cause: error });
  }
}

/** Calls `progressed` after each piece. `mayLeave`: the last piece may be left for the batch of the first token. */
type Prefill = (
  sequence: ContextSequence,
  tokens: readonly Token[],
  pause: Pause,
  signal: AbortSignal,
  progressed: () => void,
  mayLeave?: boolean,
) => Promise<void>;

/**
 * Evaluates prompts piece by piece and checks for cancellation in between, because one evaluation can't be interrupted
 * (17–35 s for 3,000 tokens with a 460M model). `measured` takes how long the tokens of a prompt took, if they are a whole
 * batch at least.
 */
export function createPrefill(options: {
  readonly batchTokens: number;
  readonly turns: Turns;
  readonly measured: (tokens: number, ms: number) => void;
}): Prefill {
  const { batchTokens, turns } = options;
  return async (sequence, tokens, pause, signal, progressed, mayLeave = false) => {
    pause.resumed = progressed;
    let [start, computedMs, lastAt] = [0, 0, performance.now()];
    const read = async (count: number) => {
      if (signal.aborted || pause.isAsked) return 0;
      const piece = tokens.slice(start, start + count);
      await sequence.evaluateWithoutGeneratingNewTokens(piece);
      return piece.length;
    };
    while (start < tokens.length) {
      throwIfAborted(signal);
      await pause.pass();
      // Beside others it would be a gap in their answers.
      if (mayLeave && tokens.length - start < batchTokens && turns.isOnly(pause)) break;
      const piece = await turns.piece(sequence.context, tokens.length - start, lastAt, read, pause.isBehind);
      [start, computedMs, lastAt] = [start + piece.tokens, computedMs + piece.ms, performance.now()];
      progressed();
    }
    throwIfAborted(signal);
    if (start >= batchTokens) options.measured(start, computedMs);
  };
}
