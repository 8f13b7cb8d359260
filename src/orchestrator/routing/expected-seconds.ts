import type { Task } from "../api/types.ts";
import type { ExpectedSeconds } from "../api/facade-route.ts";
import type { Candidate, ChoiceRequest } from "./candidate.ts";
import { isBaseName, isCodeName } from "./database.ts";
import { assumedBytesPerSecond, observedBandwidth } from "./first-models.ts";
import { getOrInsert } from "../util/values.ts";

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

const unmeasured = speedAt(assumedBytesPerSecond);

/** Bytes of weights that an engine reads while it writes an answer; parameters × tokens while it reads a prompt. */
function speedAt(bytesPerSecond: number) {
  return { bytesPerSecond, workPerSecond: (promptFactor * bytesPerSecond) / bytesPerParameter };
}

/** Up to which speed the models of one engine are expected to run; what one of them reached, the others can reach. */
function engineSpeeds(candidates: readonly Candidate[]) {
  const byEngine = new Map<string, Candidate[]>();
  for (const candidate of candidates) {
    const { engine, tokensPerSecond, promptTokensPerSecond } = candidate;
    if (tokensPerSecond === undefined && promptTokensPerSecond === undefined) continue;
    getOrInsert(byEngine, engine, () => []).push(candidate);
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

/** Below this many bits of a weight answers get worse: 0.5 doublings for each bit (perplexities in llama.cpp's pull request 1684). */
const fineBits = 4.2;
/** Where the release of a model is unknown. */
const typicalRelease = "2024-06";
/** In so many months the parameters that an answer of the same quality takes halve. */
const halvingMonths = 10;

/** What a model was made for, or against, in doublings of its parameters. */
const suits = {
  code: 2,
  alsoCode: 0.5,
  task: 1.5,
  thinking: 1,
  otherCode: -2,
  longThought: -2,
  base: -6,
  unknown: -1,
} as const;
/** How much a wait counts, in doublings for each doubling of the seconds beyond the first few. */
const patience = { low: 1.2, medium: 0.5, high: 0.25 } as const;
const promptly = 10;
/** As quickly as people read. */
const readableTokensPerSecond = 5;
/** What the place of its family in the profile counts: the first, and each place after it less. */
const listedFamily = { first: 0.6, step: 0.3 };
/** What unloading another model costs: a later request may load it again. */
const eviction = 0.3;

const codeTasks: ReadonlySet<Task> = new Set<Task>(["code", "debugging", "code_review"]);
/** They think before each answer, and can't be told not to. */
const thinkers = /(?:^|[-/])(?:r1|magistral|qwq|exaone-deep|deepcoder)|reasoning|thinking/i;

/**
 * How good the answers of a model are expected to be, without any rating: log2 of the parameters, in billions, of a dense
 * model of January 2023 that answers as well.
 *
 * - √(total × active parameters): the dense model that a mixture of experts equals (a rule of thumb of Mistral's,
 *   in line with "Unified scaling laws for routed language models", Clark et al., 2022).
 * - a doubling each 10 months after January 2023: among released models the parameters for the same score halved each 3.3
 *   months ("Densing law of LLMs", Xiao et al., 2024); those that people install improve more slowly.
 * - less where weights have fewer than 4 bits.
 */
function strengthOf(candidate: Pick<Candidate, "parameterCount" | "sizeBytes" | "activeBytes" | "released">): number {
  const { sizeBytes, activeBytes = sizeBytes, parameterCount, released = typicalRelease } = candidate;
  const total = Math.max(1e6, magnitude(candidate));
  const share = sizeBytes === 0 ? 1 : activeBytes / sizeBytes;
  const bits = parameterCount === undefined || sizeBytes === 0 ? fineBits : (8 * sizeBytes) / parameterCount;
  const coarse = Math.max(0, fineBits - bits) / 2;
  return Math.log2((total * Math.sqrt(share)) / 1e9) + monthsSince2023(released) / halvingMonths - coarse;
}

/** A month like `2024-07`, counted from January 2023. */
function monthsSince2023(month: string): number {
  const [year = "2024", number = "1"] = month.split("-");
  return 12 * (Number(year) - 2023) + Number(number) - 1;
}

/** Its strength at a task: more if it was made for that, less if it was made for something else. */
export function strengthAt(
  candidate: Parameters<typeof strengthOf>[0] &
    Pick<Candidate, "model" | "profiles" | "hasStatedProfiles" | "capabilities" | "isKnown">,
  task: Task,
): number {
  const { model, profiles, capabilities } = candidate;
  const isMadeFor = profiles.length === 1 ? profiles[0] : undefined;
  const isCodeTask = codeTasks.has(task);
  let fit = 0;
  if (isMadeFor === "code") fit += isCodeTask ? suits.code : suits.otherCode;
  else if (isMadeFor === task) fit += suits.task;
  else if (isCodeTask && profiles.includes("code")) fit += suits.alsoCode;
  if (task === "reasoning") fit += capabilities.includes("thinking") || thinkers.test(model) ? suits.thinking : 0;
  else if (thinkers.test(model)) fit += suits.longThought;
  if (isBaseName(model)) fit += suits.base;
  if (!candidate.isKnown && candidate.hasStatedProfiles !== true && !(isCodeTask && isCodeName(model)))
    fit += suits.unknown;
  return strengthOf(candidate) + fit;
}

/**
 * What is left of the strength after the wait: which of two models an expert takes. A wait counts by its length, and again
 * where the answer is written more slowly than it can be read.
 */
export function meritOf(
  candidate: Candidate,
  { totalSeconds, answerSeconds }: ExpectedSeconds,
  { task, profile, complexity, answerTokens = typicalAnswerTokens }: ChoiceRequest,
): number {
  // Vectors of one index come from one model; a larger one rarely finds more.
  if (task === "embedding") return candidate.isLoaded ? 0 : -totalSeconds;
  const isFast = (profile.base ?? profile.name) === "fast";
  const slowness = (readableTokensPerSecond * answerSeconds) / Math.max(1, answerTokens);
  const wait = Math.log2(1 + totalSeconds / promptly) + 2 * Math.max(0, Math.log2(slowness));
  const place = profile.families.indexOf(candidate.family ?? "");
  const family = place < 0 ? 0 : Math.max(0, listedFamily.first - place * listedFamily.step);
  const cost = candidate.fits === "after_eviction" ? eviction : 0;
  return strengthAt(candidate, task) + family - cost - patience[complexity ?? (isFast ? "low" : "medium")] * wait;
}
