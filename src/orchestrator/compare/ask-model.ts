import { Cancelled, OrchestratorError } from "../errors.ts";
import type { ComparedModel } from "../facade-compare.ts";
import type { GenerateRequest, GenerateResult } from "../facade.ts";
import { type GenerationWorld, runGeneration } from "../generation/runner.ts";
import type { OperationContext } from "../operations/operations.ts";
import { sameModel } from "../store/model-name.ts";
import type { CallerContext } from "../types.ts";
import { aggregate, type Sample } from "./aggregate.ts";
import { quietObservations, watchContention } from "./contention.ts";
import type { Contestant } from "./order.ts";

/** What became of one model, and what should be said beside its row. */
export interface Asked {
  readonly result: ComparedModel;
  readonly notes: readonly string[];
}

/** Asks one model, `runs` times. Throws only when the comparison itself is cancelled: its failure is its result. */
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

/** One generation; what others compute meanwhile on its cores is noticed, and then routing doesn't learn its speed. */
export async function askOnce(
  world: GenerationWorld,
  caller: CallerContext,
  request: GenerateRequest,
  domain: string,
  context: OperationContext,
): Promise<{ readonly result: GenerateResult; readonly isContended: boolean }> {
  const watch = watchContention(world, domain);
  const quiet = { ...world, isBackground: true, observations: quietObservations(world.observations, watch) };
  const result = await runGeneration(quiet, caller, request, {
    ...context,
    report(progress) {
      watch.look();
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

/** Throws when it is the comparison that was cancelled, or when the failure is none of the model's. */
export function failureText(error: unknown, world: Pick<GenerationWorld, "log">, signal: AbortSignal): string {
  if (signal.aborted) throw new Cancelled("the comparison was cancelled", { cause: signal.reason });
  if (error instanceof OrchestratorError) return withNearest(error);
  // A defect spoils one model's row, and must be found all the same.
  world.log.warn(`compare: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  return "internal error; see the daemon's log";
}

/** The message, with the nearest names: of the next steps, the only part that is a fact and fits into a stored text. */
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
