import { GenerationFailed } from "../api/errors.ts";
import { advice } from "../api/next-step.ts";
import type { Engine } from "../engines/engine.ts";
import type { Generation, GenerationRequest, GenerationSink } from "../engines/generation.ts";
import type { OperationContext } from "../jobs/operations.ts";
import type { RequestMonitor } from "../residency/health.ts";
import { estimateTokens } from "../routing/tokens.ts";
import type { Answered } from "./ports.ts";
import { type Repetition, watchRepetition, withoutRepetition } from "./repetition.ts";

/** Passes an answer on and reports its progress, until it is too long or repeats itself. */
export class AnswerSink implements GenerationSink {
  readonly #model: string;
  readonly #context: OperationContext;
  readonly #sign: RequestMonitor;
  readonly limit: number;
  readonly steady: () => number;
  /** Aborts the request: with the call, or because of the problem. */
  readonly #ending = new AbortController();
  readonly #watches = { text: watchRepetition(), thinking: watchRepetition() };
  readonly texts = { text: "", thinking: "", calls: "" };
  pieces = 0;
  firstTokenAtMs: number | undefined;
  /** Called with the first token. */
  begun: (() => void) | undefined;
  problem:
    | { readonly kind: "too_long" }
    | { readonly kind: "repetition"; readonly part: "text" | "thinking"; readonly repetition: Repetition }
    | undefined;
  #lastPhase: string | undefined;

  /** `limit` in characters; `steady` in milliseconds. */
  constructor(model: string, context: OperationContext, sign: RequestMonitor, limit: number, steady: () => number) {
    this.#model = model;
    this.#context = context;
    this.#sign = sign;
    this.limit = limit;
    this.steady = steady;
  }

  get ending(): AbortSignal {
    return this.#ending.signal;
  }

  get hasText(): boolean {
    return this.pieces > 0;
  }

  /** Estimated: a piece may be one token or many. */
  get tokens(): number {
    const { thinking, text, calls } = this.texts;
    return Math.max(this.pieces, estimateTokens(thinking + text + calls));
  }

  text(delta: string): void {
    this.#take("text", delta);
  }

  thinking(delta: string): void {
    this.#take("thinking", delta);
  }

  /** Passed on with the result, once they are checked. */
  toolCall({ name = "", arguments: json }: Parameters<NonNullable<GenerationSink["toolCall"]>>[0]): void {
    this.#take("calls", name + json);
  }

  phase(phase: Parameters<GenerationSink["phase"]>[0]): void {
    // The same phase again: a part of the prompt was read, or it is still paused.
    if (phase === this.#lastPhase) return this.#sign.progress();
    this.#lastPhase = phase;
    const words = {
      loading: `loading ${this.#model}`,
      prefill: `${this.#model} is reading the prompt`,
      decode: `${this.#model} is answering`,
      paused: `${this.#model} is paused for another request`,
    };
    this.#context.report({ message: words[phase], model: this.#model });
  }

  end(reason: unknown): void {
    this.#ending.abort(reason);
  }

  #take(part: "text" | "thinking" | "calls", delta: string): void {
    // Text that arrives after the abort is not part of the answer.
    if (this.problem !== undefined) return;
    if (this.firstTokenAtMs === undefined) this.begun?.();
    this.firstTokenAtMs ??= this.steady();
    const { texts } = this;
    if (texts.text.length + texts.thinking.length + texts.calls.length + delta.length > this.limit)
      this.problem = { kind: "too_long" };
    else {
      const model = this.#model;
      texts[part] += delta;
      this.pieces += 1;
      if (part === "text") this.#context.addText(delta);
      else if (part === "thinking") this.#context.addThinking(delta);
      this.#sign.token();
      const message = `${model}: ${this.pieces} ${this.pieces === 1 ? "token" : "tokens"}`;
      this.#context.report({ message, completionTokens: this.pieces, model });
      // The arguments of calls may repeat themselves: files are written with them.
      const isCall = part === "calls" || (part === "text" && this.#context.holdsText?.() === true);
      const repetition = isCall ? undefined : this.#watches[part].add(delta);
      if (!isCall && repetition !== undefined) this.problem = { kind: "repetition", part, repetition };
    }
    if (this.problem !== undefined) this.end(new Error("the answer was aborted"));
  }
}

/** For work whose output is not shown. */
export const unseen: Omit<OperationContext, "signal" | "background"> = {
  report: () => undefined,
  addText: () => undefined,
  addThinking: () => undefined,
  clearText: () => undefined,
  setAnswer: () => undefined,
};

/**
 * Sends a request to an engine and aborts it once the answer, or the thinking before it, repeats itself; the text is then
 * cut before the loop, with a note. Throws `GenerationFailed` for an answer longer than `maxTokens` allows and for
 * repetition in JSON, and whatever the engine throws.
 */
export async function boundedAnswer(
  engine: Pick<Engine, "generate">,
  request: GenerationRequest,
  sink: AnswerSink,
  signal: AbortSignal,
): Promise<Pick<Answered, "generation" | "notes">> {
  const { limit, steady } = sink;
  const startedAtMs = steady();
  const onAbort = (): void => sink.end(signal.reason);
  if (signal.aborted) onAbort();
  else signal.addEventListener("abort", onAbort, { once: true });

  let generation: Generation | undefined;
  try {
    generation = await engine.generate(request, sink, sink.ending);
  } catch (error) {
    if (sink.problem === undefined || signal.aborted) throw error;
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
  const { problem: found, pieces, firstTokenAtMs, texts: parts } = sink;
  if (found === undefined && generation !== undefined) return { generation, notes: [] };
  if (found?.kind !== "repetition") throw tooLong(request, limit);
  const cut = withoutRepetition(parts[found.part], found.repetition);
  const loop = `the same ${found.repetition.periodCharacters} characters ${cut.copies} times`;
  if (request.format !== undefined) throw repeatedJson(request.model, loop);
  const endedAtMs = steady();
  const firstTokenMs = (firstTokenAtMs ?? endedAtMs) - startedAtMs;
  const texts = { ...parts, [found.part]: cut.text };
  return {
    generation: {
      completionTokens: pieces,
      loadMs: 0,
      firstTokenMs,
      prefillMs: firstTokenMs,
      decodeMs: endedAtMs - startedAtMs - firstTokenMs,
      totalMs: endedAtMs - startedAtMs,
      ...generation,
      text: texts.text,
      ...(texts.thinking === "" ? {} : { thinking: texts.thinking }),
      finishReason: "repetition",
    },
    notes: [
      found.part === "thinking"
        ? `${request.model} repeated itself while thinking (${loop}): it was stopped before an answer`
        : `${request.model} repeated itself (${loop}): the answer is cut before the repetition`,
    ],
  };
}

function tooLong({ model, maxTokens }: GenerationRequest, limit: number): GenerationFailed {
  return new GenerationFailed(
    `the answer of ${model} exceeds ${limit} characters: its engine ignores the limit of ${maxTokens} tokens`,
    { next: [{ step: "chooseModel" }, { step: "lowerArgument", argument: "maxTokens" }] },
  );
}

function repeatedJson(model: string, loop: string): GenerationFailed {
  return new GenerationFailed(`${model} repeated itself (${loop}) before its JSON was complete`, {
    next: advice("use a larger model, a simpler schema or a higher temperature"),
  });
}
