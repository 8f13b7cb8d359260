import type { Engine } from "../engines/engine.ts";
import {
  answerCharacters,
  type Generation,
  type GenerationRequest,
  type GenerationSink,
} from "../engines/generation.ts";
import { GenerationFailed } from "../api/errors.ts";
import { advice } from "../api/next-step.ts";
import { type Repetition, type RepetitionWatch, watchRepetition, withoutRepetition } from "./repetition.ts";

/** A generation; one that was aborted lacks the counts that only the engine has. */
export type BoundedAnswer = Omit<Generation, "promptTokens"> & Partial<Pick<Generation, "promptTokens">>;

interface Part {
  text: string;
  readonly watch: RepetitionWatch;
}

type Problem =
  | { readonly kind: "too_long" }
  | { readonly kind: "repetition"; readonly part: "text" | "thinking"; readonly repetition: Repetition };

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
  const ending = new AbortController();
  const parts: Record<"text" | "thinking", Part> = {
    text: { text: "", watch: watchRepetition() },
    thinking: { text: "", watch: watchRepetition() },
  };
  const limit = answerCharacters(request.maxTokens);
  let pieces = 0;
  let firstTokenAtMs: number | undefined;
  let problem: Problem | undefined;

  const take = (name: "text" | "thinking", delta: string): void => {
    // Text that arrives after the abort is not part of the answer.
    if (problem !== undefined) return;
    firstTokenAtMs ??= steady();
    pieces += 1;
    if (parts.text.text.length + parts.thinking.text.length + delta.length > limit) problem = { kind: "too_long" };
    else {
      parts[name].text += delta;
      sink[name](delta);
      const repetition = parts[name].watch.add(delta);
      if (repetition !== undefined) problem = { kind: "repetition", part: name, repetition };
    }
    if (problem !== undefined) ending.abort(new Error("the answer was aborted"));
  };
  const watched: GenerationSink = {
    text: (delta) => take("text", delta),
    thinking: (delta) => take("thinking", delta),
    phase: (phase) => sink.phase(phase),
  };

  let generation: Generation | undefined;
  try {
    generation = await engine.generate(request, watched, AbortSignal.any([signal, ending.signal]));
  } catch (error) {
    if (problem === undefined || signal.aborted) throw error;
  }
  const found = problem;
  if (found === undefined && generation !== undefined) return { generation, notes: [] };
  if (found?.kind !== "repetition") throw tooLong(request, limit);
  const cut = withoutRepetition(parts[found.part].text, found.repetition);
  const loop = `the same ${found.repetition.periodCharacters} characters ${cut.copies} times`;
  if (request.format !== undefined) throw repeatedJson(request.model, loop);
  const endedAtMs = steady();
  const firstTokenMs = (firstTokenAtMs ?? endedAtMs) - startedAtMs;
  const texts = { text: parts.text.text, thinking: parts.thinking.text, [found.part]: cut.text };
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
