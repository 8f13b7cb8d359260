import type { ComparedModel } from "../api/facade-compare.ts";
import type { FinishReason } from "../api/types.ts";

/** One answer of one model, with its measurements. */
export interface Sample {
  readonly text: string;
  readonly finishReason: FinishReason;
  readonly promptTokens?: number;
  readonly completionTokens: number;
  /** 0: unknown. */
  readonly tokensPerSecond: number;
  readonly firstTokenMs: number;
  /** Without loading and waiting. */
  readonly totalMs: number;
  readonly loadMs: number;
  readonly isContended: boolean;
}

/**
 * One row of the table from all runs of a model: the first answer and the medians of the figures. Contended runs count
 * only when there are no others. `loadMs` is that of the first run.
 */
export function aggregate(
  contestant: { readonly model: string; readonly engine: string },
  samples: readonly Sample[],
  more: { readonly memoryBytes?: number | undefined; readonly error?: string | undefined } = {},
): ComparedModel {
  const { model, engine } = contestant;
  const memory = more.memoryBytes === undefined ? {} : { memoryBytes: more.memoryBytes };
  const [first] = samples;
  if (first === undefined) return { model, engine, text: "", error: more.error ?? "not run", ...memory };
  const quiet = samples.filter((sample) => !sample.isContended);
  const counted = quiet.length > 0 ? quiet : samples;
  const speeds = counted.map((sample) => sample.tokensPerSecond).filter((speed) => speed > 0);
  const speed = median(speeds);
  return {
    model,
    engine,
    text: first.text,
    ...(first.promptTokens === undefined ? {} : { promptTokens: first.promptTokens }),
    completionTokens: Math.round(median(counted.map((sample) => sample.completionTokens)) ?? 0),
    ...(speed === undefined ? {} : { tokensPerSecond: speed }),
    ...timesOf(counted[0] ?? first, counted),
    loadMs: first.loadMs,
    ...memory,
    finishReason: first.finishReason,
    ...(counted.length > 1 ? { runs: counted.length } : {}),
    ...(quiet.length === 0 ? { isContended: true } : {}),
  };
}

/**
 * Later runs find the prompt in the engine's cache, which few engines report, so `firstTokenMs` is that of the first
 * run. The time after the first token is the median of all runs.
 */
function timesOf(first: Sample, samples: readonly Sample[]): { firstTokenMs: number; totalMs: number } {
  const restMs = median(samples.map((sample) => Math.max(0, sample.totalMs - sample.firstTokenMs))) ?? 0;
  return { firstTokenMs: first.firstTokenMs, totalMs: first.firstTokenMs + restMs };
}

/** The mean of the two middle values for an even count; undefined for an empty list. */
export function median(values: readonly number[]): number | undefined {
  const sorted = values.toSorted((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)];
  if (upper === undefined || sorted.length % 2 === 1) return upper;
  return ((sorted[sorted.length / 2 - 1] ?? upper) + upper) / 2;
}
