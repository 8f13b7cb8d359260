import { draw, type Machine, type Random, shuffled } from "./machine.ts";

interface Trace {
  readonly requests: readonly number[];
  /**
   * Chance of each model at a request that isn't for the model of the last one again; where requests depend on the past
   * otherwise, absent. All that the best online policy needs to know.
   */
  readonly weights?: readonly number[];
}

export type Family = (modelCount: number, length: number, random: Random) => Trace;

/** Popularity by Zipf's law, exponent 1. */
function popularity(count: number, random: Random): readonly number[] {
  return shuffled(
    Array.from({ length: count }, (_unused, index) => 1 / (index + 1)),
    random,
  );
}

/** Mean number of requests of a session. */
const sessionLength = 8;
const pipelineCount = 4;
const mostStageRequests = 3;

export const families = {
  /** Each request for itself. */
  zipf(modelCount, length, random) {
    const weights = popularity(modelCount, random);
    return { requests: Array.from({ length }, () => draw(weights, random)), weights };
  },

  /** A conversation stays with its model; the next one chooses by popularity. */
  sessions(modelCount, length, random) {
    const weights = popularity(modelCount, random);
    const requests: number[] = [];
    let model = draw(weights, random);
    while (requests.length < length) {
      requests.push(model);
      if (random() < 1 / sessionLength) model = draw(weights, random);
    }
    return { requests, weights };
  },

  /** Agents that go through the 3 to 5 models of their pipeline, one run after the other. */
  pipelines(modelCount, length, random) {
    const requests: number[] = [];
    const next = createPipelines(modelCount, random);
    while (requests.length < length) requests.push(next());
    return { requests };
  },
} as const satisfies Record<string, Family>;

/**
 * Agents that each go round a pipeline of their own, one request list an agent; together they need more models than fit,
 * since otherwise there is nothing to decide. Throws where none were found that do.
 */
export function loopingAgents(
  { models, capacityBytes }: Machine,
  agentCount: number,
  length: number,
  random: Random,
): readonly (readonly number[])[] {
  for (let draws = 0; draws < 1_000; draws += 1) {
    const pipelines = Array.from({ length: agentCount }, () => drawPipeline(models.length, random));
    const needed = [...new Set(pipelines.flat())].reduce((sum, index) => sum + (models[index]?.bytes ?? 0), 0);
    if (needed <= capacityBytes) continue;
    return pipelines.map((pipeline) => {
      const requests: number[] = [];
      while (requests.length < length) requests.push(...runOf(pipeline, random));
      return requests.slice(0, length);
    });
  }
  throw new Error(`what ${agentCount} agents need of ${models.length} models always fits in ${capacityBytes} bytes`);
}

function drawPipeline(modelCount: number, random: Random): readonly number[] {
  const all = Array.from({ length: modelCount }, (_unused, index) => index);
  return shuffled(all, random).slice(0, 3 + Math.floor(random() * 3));
}

/** 1 to 3 requests of each stage in turn. */
function runOf(pipeline: readonly number[], random: Random): readonly number[] {
  return pipeline.flatMap((model) => Array.from({ length: 1 + Math.floor(random() * mostStageRequests) }, () => model));
}

/** One source of requests: runs of pipelines, some more frequent than others, without an end. */
function createPipelines(modelCount: number, random: Random): () => number {
  const pipelines = Array.from({ length: pipelineCount }, () => drawPipeline(modelCount, random));
  const weights = popularity(pipelineCount, random);
  let ahead: readonly number[] = [];
  return () => {
    if (ahead.length === 0) ahead = runOf(pipelines[draw(weights, random)] ?? [], random);
    const [next = 0, ...rest] = ahead;
    ahead = rest;
    return next;
  };
}
