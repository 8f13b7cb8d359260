import { randomUUID } from "node:crypto";
import { GenerationFailed } from "../api/errors.ts";
import type { CompareRequest, ComparedModel, Comparison } from "../api/facade-compare.ts";
import type { GenerateRequest } from "../api/facade.ts";
import type { CallerContext, CallerSettings } from "../api/types.ts";
import type { GenerationWorld } from "../generation/runner.ts";
import type { OperationContext } from "../jobs/operations.ts";
import { classifyTask } from "../routing/classify.ts";
import { askJudge, checkJudge } from "./ask-judge.ts";
import { askModel, createBoard } from "./ask-model.ts";
import { type Entrant, findContestants } from "./contestants.ts";
import { planOrder } from "./order.ts";

/** For all models, instead of their own defaults. */
const defaultTemperature = 0.7;

/** Random, because the id is part of a resource address that outlives the process. */
export const newComparisonId = () => `compare-${randomUUID().slice(0, 8)}`;

/**
 * Sends every model the same request under the same conditions, then asks the judge. The work of a `compare` operation.
 * A model that fails has its error as its result. Throws `GenerationFailed` when all of them fail.
 */
export async function runComparison(
  world: GenerationWorld,
  caller: CallerContext,
  request: CompareRequest,
  id: string,
  context: OperationContext,
): Promise<Comparison> {
  const fair = { ...caller, settings: fairSettings(caller.settings) };
  const asked = generationOf(request, caller.settings);
  const { task } = classifyTask({
    prompt: request.prompt,
    fileNames: (request.files ?? []).map(({ path }) => path),
  });
  context.report({ message: "planning the comparison" });
  if (request.judge !== undefined) await checkJudge(world, { ...fair, signal: context.signal }, request.judge);
  const entrants = await findContestants(world, fair, request.models, asked, context.signal);
  const contestants = entrants.flatMap((entrant) => ("contestant" in entrant ? [entrant.contestant] : []));
  const { lanes, sentence } = planOrder(contestants);
  const board = createBoard(
    entrants.map((entrant) => ({ model: entrant.model, isRefused: "error" in entrant })),
    context,
    lanes.length <= 1,
  );
  const notes: string[] = [];
  const answered = new Map<string, ComparedModel>();
  await Promise.all(
    lanes.map(async (lane) => {
      for (const contestant of lane) {
        const own = board.of(contestant.model);
        const { result, notes: found } = await askModel(world, fair, asked, contestant, request.runs ?? 1, own);
        answered.set(contestant.model, result);
        notes.push(...found);
        board.done(result);
      }
    }),
  );
  const results = entrants.map((entrant) => resultOf(entrant, answered));
  refuseIfAllFailed(results);
  const judged =
    request.judge === undefined
      ? undefined
      : await askJudge(world, fair, { judge: request.judge, prompt: request.prompt, results }, context);
  if (judged !== undefined && "note" in judged) notes.push(judged.note);
  const files = (request.files ?? []).map(({ path }) => path);
  return {
    id,
    createdAt: new Date(world.now()).toISOString(),
    prompt: request.prompt,
    task,
    results,
    order: sentence,
    ...(judged !== undefined && "judgement" in judged ? { judgement: judged.judgement } : {}),
    ...(files.length > 0 ? { files } : {}),
    ...(notes.length > 0 ? { notes: [...new Set(notes)] } : {}),
  };
}

/** The settings without options and system prompts of single models, so that all run alike. Memory figures stay. */
function fairSettings(settings: CallerSettings): CallerSettings {
  const models = Object.entries(settings.models).map(([pattern, { options: _options, system: _system, ...rest }]) => [
    pattern,
    rest,
  ]);
  return { ...settings, models: Object.fromEntries(models), unset: [] };
}

function generationOf(request: CompareRequest, settings: CallerSettings): GenerateRequest {
  return {
    prompt: request.prompt,
    ...(request.system === undefined ? {} : { system: request.system }),
    ...(request.files === undefined ? {} : { files: request.files }),
    ...(request.maxTokens === undefined ? {} : { maxTokens: request.maxTokens }),
    temperature: settings.temperature ?? defaultTemperature,
    useMemory: false,
  };
}

function resultOf(entrant: Entrant, answered: ReadonlyMap<string, ComparedModel>): ComparedModel {
  if ("error" in entrant) return { model: entrant.model, engine: "", text: "", error: entrant.error };
  return (
    answered.get(entrant.model) ?? {
      model: entrant.model,
      engine: entrant.contestant.engine,
      text: "",
      error: "not run",
    }
  );
}

function refuseIfAllFailed(results: readonly ComparedModel[]): void {
  if (results.some(({ error }) => error === undefined)) return;
  throw new GenerationFailed(`none of the ${results.length} models answered: ${allErrors(results)}`, {
    next: { step: "listModels" },
  });
}

/** The error of each model. Clauses that all errors share (an engine that is down) appear once, at the end. */
function allErrors(results: readonly ComparedModel[]): string {
  const separator = "; ";
  const clauses = results.map(({ error = "" }) => error.split(separator));
  const shared = (clauses[0] ?? []).filter((clause) => clauses.every((others) => others.includes(clause)));
  const own = results.flatMap(({ model }, index) => {
    const rest = (clauses[index] ?? []).filter((clause) => !shared.includes(clause));
    return rest.length === 0 ? [] : [`${model}: ${rest.join(separator)}`];
  });
  return [...own, ...shared].join(separator);
}
