import { Cancelled, OrchestratorError } from "../api/errors.ts";
import type { ComparedModel } from "../api/facade-compare.ts";
import type { GenerateRequest, GenerateResult } from "../api/facade.ts";
import type { LoadPlan } from "../api/facade-status.ts";
import type { CallerContext } from "../api/types.ts";
import { type GenerationWorld, runGeneration } from "../generation/runner.ts";
import type { OperationContext } from "../jobs/operations.ts";
import type { Observations } from "../residency/observations.ts";
import { formatBytes } from "../util/format-bytes.ts";
import { sameModel } from "../util/model-name.ts";
import { type Sample, aggregate } from "./judge.ts";
import { defined } from "../util/values.ts";

/** The row of one model, asked `runs` times, and notes about it; a failure becomes its result. Throws only when the comparison itself is cancelled. */
export async function askModel(
  world: GenerationWorld,
  caller: CallerContext,
  request: GenerateRequest,
  contestant: Contestant,
  runs: number,
  context: OperationContext,
) {
  const { model } = contestant;
  const samples: Sample[] = [];
  let { engine } = contestant;
  let notes: readonly string[] = [];
  try {
    for (let run = 1; run <= runs; run += 1) {
      const { result, isContended } = await askOnce(world, caller, { ...request, model }, contestant.domain, context);
      engine = result.engine;
      const isNamed = (note: string) => note.includes(model) || note === caller.project?.waiting;
      notes = result.notes.map((note) => (isNamed(note) ? note : `${model}: ${note}`));
      samples.push(sampleOf(result, isContended));
    }
  } catch (error) {
    const message = failureText(error, world, context.signal);
    if (samples.length === 0) return { result: aggregate({ model, engine }, [], { error: message }), notes: [] };
    notes = [...notes, `${model} failed in run ${samples.length + 1} of ${runs}: ${message}`];
  }
  const memoryBytes = await residentBytes(world, engine, model);
  return { result: aggregate({ model, engine }, samples, { memoryBytes }), notes };
}

/** One generation. Routing does not learn its speed if other requests ran on the same cores at the time. */
export async function askOnce(
  world: GenerationWorld,
  caller: CallerContext,
  request: GenerateRequest,
  domain: string,
  context: OperationContext,
): Promise<{ readonly result: GenerateResult; readonly isContended: boolean }> {
  const watch = watchContention(world, domain);
  const background = {
    ...world,
    isBackground: true,
    isCompared: true,
    observations: observationsWithoutContention(world.observations, watch),
  };
  // Read in parts, its text would no longer be the same request for all models.
  const whole = { ...request, split: "none" } as const;
  const result = await runGeneration(background, caller, whole, {
    ...context,
    background: AbortSignal.abort(),
    report(progress) {
      watch.check();
      context.report(progress);
    },
  });
  return { result, isContended: watch.wasContended() };
}

/** A context that reports how far a run of many is; the texts of answers are not shown while they are made. */
export function silent(context: OperationContext, report: OperationContext["report"]): OperationContext {
  const nothing = (): void => undefined;
  const { signal, background } = context;
  return { signal, background, report, addText: nothing, addThinking: nothing, clearText: nothing, setAnswer: nothing };
}

function sampleOf(result: GenerateResult, isContended: boolean): Sample {
  const { timing } = result;
  return {
    text: result.text,
    finishReason: result.finishReason,
    ...defined({ promptTokens: result.promptTokens, cost: result.cost }),
    completionTokens: result.completionTokens,
    tokensPerSecond: result.tokensPerSecond,
    firstTokenMs: timing.firstTokenMs,
    totalMs: Math.max(0, result.totalMs - timing.queueMs - timing.loadMs),
    loadMs: timing.loadMs,
    isContended,
  };
}

/** The error text for one model's row. Throws `Cancelled` when the comparison itself was cancelled. */
export function failureText(error: unknown, world: Pick<GenerationWorld, "log">, signal: AbortSignal): string {
  if (signal.aborted) throw new Cancelled("the comparison was cancelled", { cause: signal.reason });
  if (error instanceof OrchestratorError) return withNearest(error);
  // A defect: it fails only this model's row, but must be logged.
  world.log.warn(`compare: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  return "internal error; see the daemon's log";
}

/** The message with the nearest names, the only fact among the next steps: the result is stored as text. */
function withNearest({ message, next }: OrchestratorError): string {
  const names = next.flatMap((step) => (step.step === "didYouMean" ? step.names : []));
  return names.length === 0 ? message : `${message} (nearest: ${names.join(", ")})`;
}

export async function residentBytes(
  world: GenerationWorld,
  engineId: string,
  model: string,
): Promise<number | undefined> {
  const engine = world.inventory.engines.find(({ id }) => id === engineId);
  if (engine === undefined) return undefined;
  const loaded = await world.loaded.of(engine, 0);
  return loaded.find(({ name }) => sameModel(name, model))?.sizeBytes;
}

/**
 * Progress is one line for all models, in the requested order: `a: done, 12.5 tokens/s | b: 40 tokens | c: waits`. In
 * the text, a line `=== a ===` precedes each answer. When models answer at the same time (`isOneByOne` is false), each
 * answer is added once it is complete, so that they don't interleave. Each answer so far is also set by itself.
 */
export function createBoard(
  models: readonly { readonly model: string; readonly isRefused: boolean }[],
  context: OperationContext,
  isOneByOne: boolean,
) {
  const states = new Map(models.map(({ model, isRefused }) => [model, isRefused ? "failed" : "waits"]));
  const tokens = new Map<string, number>();
  const answers = new Map<string, string>();
  const finished: string[] = [];
  /** Text was added since the last model finished. */
  let isDirty = false;
  const reportAll = () => {
    const message = [...states].map(([model, state]) => `${model}: ${state}`).join(" | ");
    const completionTokens = [...tokens.values()].reduce((sum, each) => sum + each, 0);
    context.report({ message, ...(completionTokens > 0 ? { completionTokens } : {}) });
  };
  const setAnswer = (model: string, text: string) => {
    answers.set(model, text);
    context.setAnswer(model, text);
  };
  const startOver = () => {
    if (isDirty) {
      context.clearText();
      for (const text of finished) context.addText(text);
    }
    isDirty = false;
  };
  return {
    /** The context in which one model runs. */
    of: (model: string): OperationContext => ({
      signal: context.signal,
      background: context.background,
      report({ message, completionTokens, completedBytes = 0, totalBytes = 0 }) {
        const part = totalBytes > 0 ? ` ${Math.floor((100 * completedBytes) / totalBytes)}%` : "";
        states.set(model, withoutName(message, model) + part);
        if (completionTokens !== undefined) tokens.set(model, completionTokens);
        reportAll();
      },
      addText(delta) {
        setAnswer(model, (answers.get(model) ?? "") + delta);
        if (!isOneByOne) return;
        if (!isDirty) context.addText(headOf(model));
        isDirty = true;
        context.addText(delta);
      },
      addThinking: () => undefined,
      clearText() {
        setAnswer(model, "");
        startOver();
      },
      setAnswer: context.setAnswer,
    }),
    done({ model, text, error, tokensPerSecond }: ComparedModel): void {
      setAnswer(model, text);
      const speed = tokensPerSecond === undefined ? "done" : `done, ${tokensPerSecond.toFixed(1)} tokens/s`;
      states.set(model, error === undefined ? speed : "failed");
      startOver();
      const section = `${headOf(model)}${error === undefined ? text : `failed: ${error}`}\n\n`;
      finished.push(section);
      context.addText(section);
      reportAll();
    },
  };
}

/** The message without the model's name, which precedes it anyway: `a: loading (2.1 GB)`. */
function withoutName(message: string, model: string): string {
  const own = [`${model}: `, `${model} `].find((head) => message.startsWith(head));
  if (own !== undefined) return message.slice(own.length);
  const [verb, name, ...rest] = message.split(" ");
  return verb === "loading" && name === model ? [verb, ...rest].join(" ") : message;
}

function headOf(model: string): string {
  return `=== ${model} ===\n`;
}

/** A model that takes part, as planned before the comparison begins. */
export interface Contestant extends Pick<LoadPlan, "model" | "engine" | "isLoaded" | "fits"> {
  /** Models of one domain share cores and memory; `local` is this machine. */
  readonly domain: string;
  /** Names of models that would be unloaded to make room. */
  readonly evicts: readonly string[];
  /** Predicted memory. */
  readonly bytes: number;
}

/**
 * The order with the fewest loads, and a sentence that describes it. `lanes` run in parallel; models that share cores are in
 * one, and run in sequence:
 *
 * 1. loaded models, before anything can unload them, so that each model is loaded at most once;
 * 2. models that fit beside everything else, smallest first;
 * 3. models whose load unloads others, largest last: the unloaded models have answered by then;
 * 4. models that don't seem to fit; if they really don't, they fail without unloading anything.
 */
export function planOrder<Entry extends Contestant>(contestants: readonly Entry[]) {
  const domains = new Map<string, Entry[]>();
  for (const entry of contestants) domains.set(entry.domain, [...(domains.get(entry.domain) ?? []), entry]);
  const lanes = [...domains.values()].map((lane) =>
    lane.toSorted((a, b) => stepOf(a) - stepOf(b) || a.bytes - b.bytes),
  );
  return { lanes, sentence: lanes.map(laneWords).join("; at the same time ") };
}

function stepOf({ isLoaded, fits, evicts }: Contestant): number {
  if (isLoaded) return 1;
  if (!fits) return 4;
  return evicts.length === 0 ? 2 : 3;
}

function laneWords(lane: readonly Contestant[]): string {
  const [only] = lane;
  if (lane.length === 1 && only !== undefined) return `${only.model} on ${only.engine} (${why(only)})`;
  const names = lane.map((entry) => `${entry.model} (${why(entry)})`);
  return `one after another, with the fewest loads: ${names.join(", then ")}`;
}

function why(entry: Contestant): string {
  if (entry.isLoaded) return "already loaded";
  const size = entry.bytes > 0 ? `, ${formatBytes(entry.bytes)}` : "";
  switch (stepOf(entry)) {
    case 4:
      return `does not seem to fit${size}`;
    case 3:
      return `unloads ${entry.evicts.join(" and ")}${size}`;
    default:
      return entry.bytes > 0 ? `fits beside loaded models${size}` : "uses no memory here";
  }
}

/**
 * Detects whether other requests run on the same cores while one model answers; `check` is called at each step. `domain` is
 * the memory domain of the answering engine; more than one running request there is contention.
 */
function watchContention(world: Pick<GenerationWorld, "queues">, domain: string) {
  let wasContended = false;
  return {
    check() {
      wasContended ||= runningIn(world, domain) > 1;
    },
    wasContended: () => wasContended,
  };
}

function runningIn({ queues }: Pick<GenerationWorld, "queues">, domain: string): number {
  return queues
    .snapshot()
    .filter(({ located }) => located.engine.memoryDomain === domain)
    .reduce((sum, { running }) => sum + running, 0);
}

/** Observations that ignore speeds measured under contention, which would mislead routing. */
export function observationsWithoutContention(
  observations: Observations,
  watch: ReturnType<typeof watchContention>,
): Observations {
  return {
    ...observations,
    generated(key, completionTokens, decodeMs, timing) {
      watch.check();
      // A decode time of 0 still counts as an answer, which ends a cool-down after failures.
      if (watch.wasContended()) observations.generated(key, completionTokens, 0);
      else observations.generated(key, completionTokens, decodeMs, timing);
    },
  };
}
