import { GenerationFailed } from "../api/errors.ts";
import { advice } from "../api/next-step.ts";
import type { Engine } from "../engines/engine.ts";
import {
  type Generation,
  type GenerationRequest,
  type GenerationSink,
  answerCharacters,
} from "../engines/generation.ts";
import { type Repetition, watchRepetition, withoutRepetition } from "./repetition.ts";

/** A generation; one that was aborted lacks the counts that only the engine has. */
export type BoundedAnswer = Omit<Generation, "promptTokens"> & Partial<Pick<Generation, "promptTokens">>;

type Problem =
  | { readonly kind: "too_long" }
  | { readonly kind: "repetition"; readonly part: "text" | "thinking"; readonly repetition: Repetition };

/** Passes an answer on until it is too long or repeats itself. */
class BoundedSink implements GenerationSink {
  readonly #sink: GenerationSink;
  readonly #limit: number;
  readonly #steady: () => number;
  /** Aborts the request: with the call, or because of the problem. */
  readonly #ending = new AbortController();
  readonly #watches = { text: watchRepetition(), thinking: watchRepetition() };
  readonly texts = { text: "", thinking: "" };
  pieces = 0;
  firstTokenAtMs: number | undefined;
  problem: Problem | undefined;

  constructor(sink: GenerationSink, limit: number, steady: () => number) {
    this.#sink = sink;
    this.#limit = limit;
    this.#steady = steady;
  }

  get ending(): AbortSignal {
    return this.#ending.signal;
  }

  text(delta: string): void {
    this.#take("text", delta);
  }

  thinking(delta: string): void {
    this.#take("thinking", delta);
  }

  phase(phase: Parameters<GenerationSink["phase"]>[0]): void {
    this.#sink.phase(phase);
  }

  end(reason: unknown): void {
    this.#ending.abort(reason);
  }

  #take(part: "text" | "thinking", delta: string): void {
    // Text that arrives after the abort is not part of the answer.
    if (this.problem !== undefined) return;
    this.firstTokenAtMs ??= this.#steady();
    this.pieces += 1;
    const { texts } = this;
    if (texts.text.length + texts.thinking.length + delta.length > this.#limit) this.problem = { kind: "too_long" };
    else {
      texts[part] += delta;
      this.#sink[part](delta);
      const repetition = this.#watches[part].add(delta);
      if (repetition !== undefined) this.problem = { kind: "repetition", part, repetition };
    }
    if (this.problem !== undefined) this.end(new Error("the answer was aborted"));
  }
}

/**
 * Sends a request to an engine and aborts it once the answer, or the thinking before it, repeats itself; the text is then
 * cut before the loop, with a note. Throws `GenerationFailed` for an answer longer than `maxTokens` allows and for
 * repetition in JSON, and whatever the engine throws. `steady` in milliseconds.
 */
export async function boundedAnswer(
  engine: Pick<Engine, "generate">,
  request: GenerationRequest,
  sink: GenerationSink,
  signal: AbortSignal,
  steady: () => number,
): Promise<{ readonly generation: BoundedAnswer; readonly notes: readonly string[] }> {
  const startedAtMs = steady();
  const limit = answerCharacters(request.maxTokens);
  const bounded = new BoundedSink(sink, limit, steady);
  const onAbort = (): void => bounded.end(signal.reason);
  if (signal.aborted) onAbort();
  else signal.addEventListener("abort", onAbort, { once: true });

  let generation: Generation | undefined;
  try {
    generation = await engine.generate(request, bounded, bounded.ending);
  } catch (error) {
    if (bounded.problem === undefined || signal.aborted) throw error;
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
  const { problem: found, pieces, firstTokenAtMs, texts: parts } = bounded;
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
