import type { ExpectedSeconds } from "../api/facade-route.ts";
import type { Candidate, ChoiceRequest } from "./candidate.ts";
import { assumedBytesPerSecond, observedBandwidth } from "./first-models.ts";

/** Length of an answer before it is known. */
export const typicalAnswerTokens = 300;
/** Bytes of a parameter at 4.5 bits, a common quantization. */
const bytesPerParameter = 4.5 / 8;
/**
 * A prompt is read so many times faster than an answer is written: 3 (one core, llama.cpp, SmolLM2 135M) to 10 and more
 * (a graphics card).
 */
const promptFactor = 5;
/** Tokens/s of a model whose size is unknown, because a server of its own holds it. */
const servedSpeed = { prompt: 1000, answer: 30 } as const;

/** Up to which speed the models of one engine are expected to run; what one of them reached, the others can reach. */
interface EngineSpeed {
  /** Bytes of weights that it reads while it writes an answer. */
  readonly bytesPerSecond: number;
  /** Parameters × tokens while it reads a prompt. */
  readonly workPerSecond: number;
}

/**
 * Expected seconds from a request to the end of its answer, for each candidate: of its load, its prompt and its answer.
 * Each follows from what was measured of the model, else from its size and the best speed measured at its engine, else
 * from its size alone.
 */
export function expectation(
  request: ChoiceRequest,
  candidates: readonly Candidate[],
): (candidate: Candidate) => ExpectedSeconds {
  const speeds = engineSpeeds(candidates);
  const answerTokens = request.task === "embedding" ? 0 : (request.answerTokens ?? typicalAnswerTokens);
  return (candidate) => {
    const { isLoaded, reloadSeconds, expectedLoadSeconds, promptTokensPerSecond, tokensPerSecond } = candidate;
    const speed = speeds.get(candidate.engine) ?? speedAt(candidate.bytesPerSecond ?? assumedBytesPerSecond);
    const loadSeconds = isLoaded ? 0 : (reloadSeconds ?? expectedLoadSeconds);
    const work = workOf(candidate);
    const promptSpeed = promptTokensPerSecond ?? (work > 0 ? speed.workPerSecond / work : servedSpeed.prompt);
    const bytes = bytesOf(candidate);
    const answerSpeed = tokensPerSecond ?? (bytes > 0 ? speed.bytesPerSecond / bytes : servedSpeed.answer);
    const promptSeconds = request.promptTokens / promptSpeed;
    const answerSeconds = answerTokens / answerSpeed;
    return {
      loadSeconds,
      promptSeconds,
      answerSeconds,
      totalSeconds: loadSeconds + promptSeconds + answerSeconds,
      isMeasured: tokensPerSecond !== undefined && (isLoaded || reloadSeconds !== undefined),
    };
  };
}

/** The parameter count; if unknown, estimated from the size. */
export function magnitude({ parameterCount, sizeBytes }: Pick<Candidate, "parameterCount" | "sizeBytes">): number {
  return parameterCount ?? sizeBytes / bytesPerParameter;
}

const unmeasured: EngineSpeed = speedAt(assumedBytesPerSecond);

function speedAt(bytesPerSecond: number): EngineSpeed {
  return { bytesPerSecond, workPerSecond: (promptFactor * bytesPerSecond) / bytesPerParameter };
}

function engineSpeeds(candidates: readonly Candidate[]): ReadonlyMap<string, EngineSpeed> {
  const byEngine = new Map<string, Candidate[]>();
  for (const candidate of candidates) {
    const { engine, tokensPerSecond, promptTokensPerSecond } = candidate;
    if (tokensPerSecond === undefined && promptTokensPerSecond === undefined) continue;
    const measured = byEngine.get(engine);
    if (measured === undefined) byEngine.set(engine, [candidate]);
    else measured.push(candidate);
  }
  return new Map(
    Array.from(byEngine, ([engine, measured]) => {
      const reached = observedBandwidth(
        measured.map((candidate) => ({
          tokensPerSecond: candidate.tokensPerSecond,
          activeBytes: bytesOf(candidate),
        })),
      );
      const speed = reached === undefined ? unmeasured : speedAt(reached);
      const works = measured.flatMap((candidate) => {
        const { promptTokensPerSecond } = candidate;
        return promptTokensPerSecond === undefined ? [] : [promptTokensPerSecond * workOf(candidate)];
      });
      return [engine, works.length === 0 ? speed : { ...speed, workPerSecond: Math.max(...works) }] as const;
    }),
  );
}

/** Bytes that one token of the answer reads. */
function bytesOf({ activeBytes, sizeBytes }: Candidate): number {
  return activeBytes ?? sizeBytes;
}

/** Parameters that one token of the prompt is multiplied with: a mixture of experts uses a part of them. */
function workOf(candidate: Candidate): number {
  const { activeBytes, sizeBytes } = candidate;
  if (sizeBytes === 0) return 0;
  return magnitude(candidate) * ((activeBytes ?? sizeBytes) / sizeBytes);
}
