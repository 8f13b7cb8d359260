import { CheckFailed, GenerationFailed, InvalidRequest, OrchestratorError, undefinedIf } from "../api/errors.ts";
import type { CompareRequest, ComparedModel, Comparison } from "../api/facade-compare.ts";
import type { GenerateRequest } from "../api/facade.ts";
import { advice } from "../api/next-step.ts";
import type { CallerContext, CallerSettings } from "../api/types.ts";
import { listCandidates } from "../generation/candidates.ts";
import { resolve } from "../generation/resolve.ts";
import { chooseRoute } from "../generation/route.ts";
import { type GenerationWorld, planGeneration } from "../generation/runner.ts";
import type { OperationContext } from "../jobs/operations.ts";
import { takesNoMemory } from "../catalog/located-model.ts";
import { classifyTask } from "../routing/classify.ts";
import { sameModel } from "../util/model-name.ts";
import { type Contestant, askModel, askOnce, createBoard, failureText, planOrder } from "./ask-model.ts";
import { type JudgedAnswer, type Verdict, combine, judgedCharacters, ranker } from "./judge.ts";
import { defined } from "../util/values.ts";

/** For all models, instead of their own defaults. */
const defaultTemperature = 0.7;

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
export function fairSettings(settings: CallerSettings): CallerSettings {
  const models = Object.entries(settings.models).map(([pattern, { options: _options, system: _system, ...rest }]) => [
    pattern,
    rest,
  ]);
  return { ...settings, models: Object.fromEntries(models), unset: [] };
}

function generationOf(request: CompareRequest, settings: CallerSettings): GenerateRequest {
  return {
    prompt: request.prompt,
    ...defined({ system: request.system, files: request.files, maxTokens: request.maxTokens }),
    temperature: settings.options.temperature ?? defaultTemperature,
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

const maxModels = 5;
const maxAutomatic = 3;
const maxRuns = 9;

/** A model that takes part, or the error that keeps it from taking part. */
type Entrant =
  | { readonly model: string; readonly contestant: Contestant }
  | { readonly model: string; readonly error: string };

/** Validates a request before anything is read. Throws `InvalidRequest`. */
export function checkRequest({ prompt, files, models, runs = 1 }: CompareRequest): void {
  if (prompt.trim() === "" && (files?.length ?? 0) === 0) {
    throw new InvalidRequest("prompt is empty", { next: { step: "setArgument", argument: "prompt" } });
  }
  if (!Number.isInteger(runs) || runs < 1 || runs > maxRuns) {
    throw new InvalidRequest(`a comparison asks each model 1 to ${maxRuns} times, not ${runs}`);
  }
  if (models === "auto") return;
  if (models.length < 2 || models.length > maxModels) {
    throw new InvalidRequest(`a comparison takes 2 to ${maxModels} models, not ${models.length}`, {
      next: { step: "listModels" },
    });
  }
  if (models.some((name) => name.trim() === "")) {
    throw new InvalidRequest("the list of models contains an empty name", { next: { step: "listModels" } });
  }
  const twice = models.find((name, index) => models.slice(0, index).some((other) => sameModel(other, name)));
  if (twice !== undefined) {
    throw new InvalidRequest(`duplicate model "${twice}"`, { next: advice("name each model once") });
  }
}

/**
 * Plans each model without side effects: where it would run and what its load would evict. `auto` takes the first
 * models of the route that fit, three at most. Throws `InvalidRequest` when `auto` finds fewer than two.
 */
async function findContestants(
  world: GenerationWorld,
  caller: CallerContext,
  asked: CompareRequest["models"],
  request: GenerateRequest,
  signal: AbortSignal,
): Promise<readonly Entrant[]> {
  const planner = { ...caller, signal };
  if (asked !== "auto") return Promise.all(asked.map((model) => planEntrant(world, planner, request, model)));
  const { model } = caller.settings;
  const routing = { ...model.routing, enabled: true };
  const free = { ...planner, settings: { ...caller.settings, model: { ...model, routing } } };
  const { chain } = await chooseRoute(world, resolve(request, free), signal);
  const found: Entrant[] = [];
  for (const { entry } of chain) {
    const { name } = entry.located.model;
    const entrant = await planEntrant(world, planner, request, name);
    if ("contestant" in entrant && entrant.contestant.fits) found.push(entrant);
    if (found.length === maxAutomatic) break;
  }
  if (found.length < 2) {
    const only = found[0] === undefined ? "none fits" : `only ${found[0].model} fits`;
    throw new InvalidRequest(`a comparison takes at least two models, and ${only} for this prompt`, {
      next: [
        { step: "pullModelThat", that: "that fits this machine" },
        { step: "chooseModel", argument: "models" },
      ],
    });
  }
  return found;
}

/** Throws what the request would. */
export async function contestantOf(
  world: GenerationWorld,
  caller: CallerContext,
  request: GenerateRequest & Required<Pick<GenerateRequest, "model">>,
): Promise<Contestant> {
  const { plan, engine: engineId, model: name } = await planGeneration(world, caller, request);
  const located = await world.inventory.locate(request.model);
  const chosen = located.find(({ engine }) => engine.id === engineId);
  const isElsewhere = chosen !== undefined && takesNoMemory(chosen);
  return {
    model: name,
    engine: engineId,
    // A cloud model shares cores with nothing here, not even with another cloud model.
    domain: isElsewhere ? `cloud ${engineId} ${name}` : (chosen?.engine.memoryDomain ?? "local"),
    isLoaded: plan.isLoaded,
    fits: plan.fits,
    evicts: plan.evict.map((victim) => victim.name).filter((victim) => !sameModel(victim, name)),
    bytes: plan.estimate.predictedBytes,
  };
}

async function planEntrant(world: GenerationWorld, caller: CallerContext, request: GenerateRequest, model: string) {
  try {
    const contestant = await contestantOf(world, caller, { ...request, model });
    return { model: contestant.model, contestant };
  } catch (error) {
    if (!(error instanceof OrchestratorError)) throw error;
    return { model, error: failureText(error, world, caller.signal) };
  }
}

const judgeTokens = 700;

/**
 * Has a local model rank the anonymous answers, in the given order and in reverse. Without a ranking the note says why.
 * Throws only when the comparison itself is cancelled.
 */
async function askJudge(
  world: GenerationWorld,
  caller: CallerContext,
  ask: { readonly judge: string; readonly prompt: string; readonly results: readonly ComparedModel[] },
  context: OperationContext,
): Promise<{ readonly judgement: NonNullable<Comparison["judgement"]> } | { readonly note: string }> {
  const answers = ask.results.filter(({ error }) => error === undefined);
  if (answers.length < 2) return { note: "no judgement: fewer than two models answered" };
  try {
    const judge = await chooseJudge(world, ask.judge, ask.results, context.signal);
    if (judge === undefined) return { note: "no judgement: no local model fits in memory" };
    const verdicts: Verdict[] = [];
    for (const order of [answers, answers.toReversed()]) {
      context.report({ message: `${judge} is judging, order ${verdicts.length + 1} of 2` });
      const verdict = await askVerdict(world, caller, judge, ask.prompt, order, context);
      if (verdict === undefined) return { note: `no judgement: ${judge} did not return a valid ranking` };
      verdicts.push(verdict);
    }
    return { judgement: judgementOf(judge, answers, verdicts, ask) };
  } catch (error) {
    return { note: `no judgement: ${failureText(error, world, context.signal)}` };
  }
}

/**
 * Refuses an unsuitable judge before the models run, which may take minutes. Throws `UnknownModel`, `InvalidRequest` for
 * a model that is not on this machine, and whatever `planGeneration` throws.
 */
export async function checkJudge(world: GenerationWorld, caller: CallerContext, judge: string): Promise<void> {
  if (judge === "auto") return;
  const located = await world.inventory.locate(judge);
  // Answers to a private prompt are private too, whatever `privacy` allows.
  if (located.every(({ engine, model }) => engine.trust === "remote" || model.trust === "remote")) {
    throw new InvalidRequest(`${judge} can't be the judge: every answer would be sent off this machine`, {
      next: [
        { step: "chooseModel", argument: "judge", that: "on this machine" },
        { step: "setArgument", argument: "judge", to: "auto" },
      ],
    });
  }
  await planGeneration(world, caller, {
    model: judge,
    prompt: ranker.system,
    maxTokens: judgeTokens,
    useMemory: false,
    privacy: "local_only",
  });
}

/** For `auto`: the largest local model that fits and is not compared, else the largest compared one. */
export async function chooseJudge(
  world: GenerationWorld,
  judge: string,
  results: readonly Pick<ComparedModel, "model">[],
  signal: AbortSignal,
): Promise<string | undefined> {
  // The name as the engine spells it. Throws `UnknownModel`.
  if (judge !== "auto") return (await world.inventory.locate(judge))[0].model.name;
  const candidates = (await localModels(world, signal)).toSorted((a, b) => b.sizeBytes - a.sizeBytes);
  const isCompared = ({ model }: { readonly model: string }) =>
    results.some((result) => sameModel(result.model, model));
  return (candidates.find((candidate) => !isCompared(candidate)) ?? candidates[0])?.model;
}

/** Those of this machine that can answer now. */
export async function localModels(world: GenerationWorld, signal: AbortSignal) {
  return (await listCandidates(world, true, signal))
    .map(({ candidate }) => candidate)
    .filter(({ trust, fits, coolDown }) => trust === "local" && fits !== "no" && coolDown === undefined)
    .filter(({ capabilities }) => capabilities.includes("completion"));
}

async function askVerdict(
  world: GenerationWorld,
  caller: CallerContext,
  judge: string,
  prompt: string,
  answers: readonly JudgedAnswer[],
  context: OperationContext,
): Promise<Verdict | undefined> {
  const request = {
    model: judge,
    system: ranker.system,
    prompt: ranker.prompt(prompt, answers),
    format: ranker.format(answers.length),
    temperature: 0,
    maxTokens: judgeTokens,
    useMemory: false,
    privacy: "local_only" as const,
  };
  // The judge's text must not appear among the answers.
  const silenced = { ...context, addText: () => undefined, addThinking: () => undefined, clearText: () => undefined };
  const answered = await askOnce(world, caller, request, "local", silenced).catch(undefinedIf(CheckFailed));
  return answered && ranker.read(answered.result.text, answers);
}

function judgementOf(
  judge: string,
  answers: readonly JudgedAnswer[],
  verdicts: readonly Verdict[],
  { prompt, results }: { readonly prompt: string; readonly results: readonly ComparedModel[] },
): NonNullable<Comparison["judgement"]> {
  const { ranking, isAgreed } = combine(
    answers.map(({ model }) => model),
    verdicts,
  );
  const isCut = [prompt, ...answers.map(({ text }) => text)].some((text) => text.length > judgedCharacters);
  const isParty = results.some(({ model }) => sameModel(model, judge));
  const note = [
    `a model's opinion, not a measurement; ${judge} read the anonymous answers in two opposite orders and `,
    isAgreed ? "ranked them the same both times" : "ranked them differently: answers in conflicting positions are tied",
    ...(isParty ? ["; one of the answers is its own, so the ranking is biased"] : []),
    ...(isCut ? [`; it read only the first ${judgedCharacters} characters of long texts`] : []),
  ];
  return { judge, ranking, reason: verdicts[0]?.reason ?? "", note: note.join("") };
}
