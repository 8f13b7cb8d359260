import { createHash, randomUUID } from "node:crypto";
import { InvalidRequest, UnknownComparison } from "../api/errors.ts";
import type { Emit } from "../api/events.ts";
import type { Comparisons, Eval, EvalCase } from "../api/facade-compare.ts";
import { advice } from "../api/next-step.ts";
import type { CallerContext } from "../api/types.ts";
import { decide } from "../generation/resolve.ts";
import type { GenerationWorld } from "../generation/runner.ts";
import type { Operations } from "../jobs/operations.ts";
import type { DocumentFiles } from "../storage/document-files.ts";
import { defined } from "../util/values.ts";
import { sameModel } from "../util/model-name.ts";
import { didYouMean } from "../util/nearest.ts";
import { type Contestant, planOrder } from "./ask-model.ts";
import { EvalRun } from "./eval-run.ts";
import { decidedBy, summaryOf } from "./eval-score.ts";
import { type State, answersOf, maxEvals, openEvals } from "./eval-store.ts";
import { checkJudge, chooseJudge, contestantOf, fairSettings, localModels } from "./run-comparison.ts";

const shownMisses = 100;

/** Evals, each with its answers, in `evals.json`. An answer is on disk before the next one is asked for. */
export async function createEvals({
  world,
  operations,
  emit,
  files,
}: {
  readonly world: GenerationWorld;
  readonly operations: Operations;
  readonly emit: Emit;
  readonly files?: DocumentFiles | undefined;
}) {
  const document = await openEvals(world.log, files);

  /** Also where it is not a job, because its client waits: others may look at it. */
  async function append(event: Parameters<typeof document.append>[0], id: string): Promise<void> {
    await document.append(event);
    emit({ kind: "job changed", id, isListChanged: event.type !== "answered" });
  }

  const isRunning = (id: string): boolean => operations.running().some((operation) => operation.id === id);
  const answered = (id: string): State["answers"] => answersOf(document.state, id);
  const viewed = (found: State["evals"][number], isWhole: boolean): Eval =>
    viewOf(found, answered(found.id), { isRunning: isRunning(found.id), isWhole });

  function find(id: string): State["evals"][number] {
    const known = document.state.evals;
    const found = known.find((each) => each.id === id);
    if (found !== undefined) return found;
    const ids = known.map((each) => each.id);
    throw new UnknownComparison(`no eval ${id}; the newest ${maxEvals} are kept`, {
      next: didYouMean(id, ids, 3),
    });
  }

  const evaluate: Comparisons["evaluate"] = async (given, request) => {
    const caller = { ...given, settings: fairSettings(given.settings) };
    if (request.cases.length === 0)
      throw new InvalidRequest("there are no cases", { next: advice("name files with cases") });
    const contestants = await contestantsOf(world, caller, request);
    const models = contestants.map(({ model }) => model);
    const judge = await judgeOf(world, caller, request.cases, models, request.judge);
    const { name, cases, maxTokens, notes = [] } = request;
    const asked = {
      cases,
      models: models.toSorted(),
      maxTokens,
      judge: judge === undefined ? undefined : request.judge,
    };
    const digest = createHash("sha256").update(JSON.stringify(asked)).digest("hex");
    const before = document.state.evals.find((each) => each.digest === digest && each.endedAt === undefined);
    const own: State["evals"][number] = before ?? {
      id: `eval-${randomUUID().slice(0, 8)}`,
      name,
      digest,
      createdAt: new Date(world.now()).toISOString(),
      models,
      ...defined({ judge }),
      cases: cases.map((each) => {
        const { task, profile } = decide(caller, each as Parameters<typeof decide>[1]);
        return { name: each.name, task, profile: profile.name, by: decidedBy(each) };
      }),
      notes: [...notes, ...noteOn(judge, models)],
      runNotes: [],
    };
    const { id } = own;
    const spec = { kind: "compare", title: `eval ${name}`, id, key: `eval ${digest}`, client: caller.client } as const;
    return operations.start(spec, async (context) => {
      if (before === undefined) await append({ type: "started", head: own }, id);
      const keep = (found: State["answers"][number]) => append({ type: "answered", answer: found }, id);
      const { budget } = request;
      const run = new EvalRun({ world, caller, head: own, cases, context, keep, ...defined({ maxTokens, budget }) });
      await run.ask(planOrder(contestants).lanes, answered(id));
      const isEnded =
        answered(id).filter(({ isPending }) => isPending !== true).length === cases.length * models.length;
      const at = isEnded ? new Date(world.now()).toISOString() : undefined;
      await append({ type: "ended", id, notes: [...run.notes], ...defined({ at }) }, id);
      return viewOf(find(id), answered(id), { isRunning: false, isWhole: true });
    });
  };

  return {
    evaluate,
    evals: () => document.state.evals.toReversed().map((each) => viewed(each, false)),
    getEval: (id: string) => viewed(find(id), true),
    async removeEval(id: string) {
      find(id);
      if (isRunning(id)) throw new InvalidRequest(`${id} is running`, { next: advice("cancel it first") });
      await append({ type: "removed", id }, id);
    },
    problems: document.problems,
    close: () => document.close(),
  };
}

function viewOf(
  { id, name, createdAt, endedAt, models, judge, cases, notes, runNotes }: State["evals"][number],
  answers: State["answers"],
  { isRunning, isWhole }: { readonly isRunning: boolean; readonly isWhole: boolean },
): Eval {
  const by = { values: 0, format: 0, quotes: 0, command: 0, judge: 0, nothing: 0 };
  for (const each of cases) by[each.by] += 1;
  const summary = isWhole ? summaryOf({ models, cases }, answers) : { rows: [], verdicts: [], misses: [] };
  return {
    id,
    name,
    createdAt,
    ...defined({ endedAt, judge }),
    isRunning,
    models,
    cases: cases.length,
    answered: answers.filter(({ isPending }) => isPending !== true).length,
    decidedBy: by,
    // Those of the last run say why answers are missing, which another run may fill.
    notes: [...notes, ...(isRunning ? [] : runNotes)],
    ...summary,
    misses: summary.misses.slice(0, shownMisses),
  };
}

/** Where each model would answer. Nothing is asked before all are known to be there, and allowed. */
async function contestantsOf(
  world: GenerationWorld,
  caller: CallerContext,
  { models, budget }: Parameters<Comparisons["evaluate"]>[1],
): Promise<readonly (Contestant & { readonly isRemote: boolean })[]> {
  const names = models === "auto" ? (await localModels(world, caller.signal)).map(({ model }) => model) : models;
  const found: (Contestant & { readonly isRemote: boolean })[] = [];
  for (const name of names) {
    const located = await world.inventory.locate(name);
    const isRemote = located.every(({ engine, model }) => engine.trust === "remote" || model.trust === "remote");
    const request = {
      model: name,
      prompt: "-",
      useMemory: false,
      ...(!isRemote && { privacy: "local_only" as const }),
    };
    const contestant = await contestantOf(world, caller, request);
    if (found.some(({ model }) => sameModel(model, contestant.model))) {
      throw new InvalidRequest(`duplicate model "${name}"`, { next: advice("name each model once") });
    }
    const prices = located.map(({ engine, model }) => engine.pricesOf?.(model.name));
    if (budget !== undefined && isRemote && prices.some((each) => each === undefined)) {
      throw new InvalidRequest(`${name} has no prices in the settings, so a budget can't limit what it costs`, {
        next: advice("add its prices to the settings, or leave out the budget"),
      });
    }
    found.push({ ...contestant, isRemote });
  }
  if (found.length > 0) return found;
  throw new InvalidRequest("there is no model on this machine that fits", {
    next: [
      { step: "pullModelThat", that: "that fits this machine" },
      { step: "chooseModel", argument: "models" },
    ],
  });
}

/** The model that judges, if a case needs one. Throws for one that can't. */
async function judgeOf(
  world: GenerationWorld,
  caller: CallerContext,
  cases: readonly EvalCase[],
  models: readonly string[],
  named: string | undefined,
): Promise<string | undefined> {
  if (!cases.some((each) => decidedBy(each) === "judge")) {
    if (named === undefined) return undefined;
    throw new InvalidRequest("no case has anything to judge", { next: { step: "omitArgument", argument: "judge" } });
  }
  const asked = named ?? "auto";
  await checkJudge(world, caller, asked);
  const judge = await chooseJudge(
    world,
    asked,
    models.map((model) => ({ model })),
    caller.signal,
  );
  if (judge !== undefined) return judge;
  throw new InvalidRequest("some cases need a judge, and no model on this machine fits", {
    next: { step: "pullModelThat", that: "that fits this machine" },
  });
}

function noteOn(judge: string | undefined, models: readonly string[]): readonly string[] {
  if (judge === undefined) return [];
  const own = models.some((model) => sameModel(model, judge)) ? "; it judges its own answers, too" : "";
  return [`${judge} is the judge: a model's opinion, not a measurement${own}`];
}
