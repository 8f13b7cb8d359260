import { Cancelled, OrchestratorError } from "../api/errors.ts";
import type { ComparedModel } from "../api/facade-compare.ts";
import type { GenerateRequest, GenerateResult } from "../api/facade.ts";
import type { CallerContext } from "../api/types.ts";
import { type GenerationWorld, runGeneration } from "../generation/runner.ts";
import type { OperationContext } from "../jobs/operations.ts";
import { sameModel } from "../util/model-name.ts";
import { type Sample, aggregate } from "./judge.ts";
import { type Contestant, observationsWithoutContention, watchContention } from "./order.ts";

/** The row of one model, and notes about it. */
interface Asked {
  readonly result: ComparedModel;
  readonly notes: readonly string[];
}

/** Asks one model `runs` times; a failure becomes its result. Throws only when the comparison itself is cancelled. */
export async function askModel(
  world: GenerationWorld,
  caller: CallerContext,
  request: GenerateRequest,
  contestant: Contestant,
  runs: number,
  context: OperationContext,
): Promise<Asked> {
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
    observations: observationsWithoutContention(world.observations, watch),
  };
  const result = await runGeneration(background, caller, request, {
    ...context,
    report(progress) {
      watch.check();
      context.report(progress);
    },
  });
  return { result, isContended: watch.wasContended() };
}

function sampleOf(result: GenerateResult, isContended: boolean): Sample {
  const { timing } = result;
  return {
    text: result.text,
    finishReason: result.finishReason,
    ...(result.promptTokens === undefined ? {} : { promptTokens: result.promptTokens }),
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

async function residentBytes(world: GenerationWorld, engineId: string, model: string): Promise<number | undefined> {
  const engine = world.inventory.engines.find(({ id }) => id === engineId);
  if (engine === undefined) return undefined;
  const resident = await world.inventory.resident(engine, 0);
  return resident.find(({ name }) => sameModel(name, model))?.sizeBytes;
}

/** Progress and text of a comparison. */
interface Board {
  /** The context in which one model runs. */
  of(model: string): OperationContext;
  done(result: ComparedModel): void;
}

/**
 * Progress is one line for all models, in the requested order: `a: done, 12.5 tokens/s | b: 40 tokens | c: waits`. In
 * the text, a line `=== a ===` precedes each answer. When models answer at the same time (`isOneByOne` is false), each
 * answer is added once it is complete, so that they don't interleave.
 */
export function createBoard(
  models: readonly { readonly model: string; readonly isRefused: boolean }[],
  context: OperationContext,
  isOneByOne: boolean,
): Board {
  const states = new Map(models.map(({ model, isRefused }) => [model, isRefused ? "failed" : "waits"]));
  const tokens = new Map<string, number>();
  const finished: string[] = [];
  /** Text was added since the last model finished. */
  let isDirty = false;
  const reportAll = () => {
    const message = [...states].map(([model, state]) => `${model}: ${state}`).join(" | ");
    const completionTokens = [...tokens.values()].reduce((sum, each) => sum + each, 0);
    context.report({ message, ...(completionTokens > 0 ? { completionTokens } : {}) });
  };
  const startOver = () => {
    if (isDirty) {
      context.clearText();
      for (const text of finished) context.addText(text);
    }
    isDirty = false;
  };
  return {
    of: (model) => ({
      signal: context.signal,
      report({ message, completionTokens, completedBytes = 0, totalBytes = 0 }) {
        const part = totalBytes > 0 ? ` ${Math.floor((100 * completedBytes) / totalBytes)}%` : "";
        states.set(model, withoutName(message, model) + part);
        if (completionTokens !== undefined) tokens.set(model, completionTokens);
        reportAll();
      },
      addText(delta) {
        if (!isOneByOne) return;
        if (!isDirty) context.addText(headOf(model));
        isDirty = true;
        context.addText(delta);
      },
      addThinking: () => undefined,
      clearText: startOver,
    }),
    done({ model, text, error, tokensPerSecond }) {
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
