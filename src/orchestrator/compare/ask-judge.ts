import type { ComparedModel, Judgement } from "../api/facade-compare.ts";
import { InvalidRequest } from "../api/errors.ts";
import { listCandidates } from "../generation/candidates.ts";
import { planGeneration } from "../generation/plan-generation.ts";
import type { GenerationWorld } from "../generation/runner.ts";
import type { OperationContext } from "../jobs/operations.ts";
import { sameModel } from "../util/model-name.ts";
import type { CallerContext } from "../api/types.ts";
import { askOnce, failureText } from "./ask-model.ts";
import {
  combine,
  type JudgedAnswer,
  judgedCharacters,
  judgeFormat,
  judgePrompt,
  judgeSystem,
  parseVerdict,
  type Verdict,
} from "./judge.ts";

const judgeTokens = 700;

/** A ranking, or a note with the reason why there is none. */
export type Judged = { readonly judgement: Judgement } | { readonly note: string };

/**
 * Has a local model rank the anonymous answers, in the given order and in reverse. Throws only when the comparison
 * itself is cancelled.
 */
export async function askJudge(
  world: GenerationWorld,
  caller: CallerContext,
  ask: { readonly judge: string; readonly prompt: string; readonly results: readonly ComparedModel[] },
  context: OperationContext,
): Promise<Judged> {
  const answers = ask.results.filter(({ error }) => error === undefined);
  if (answers.length < 2) return { note: "no judgement: fewer than two models answered" };
  try {
    const judge = await chooseJudge(world, caller, ask.judge, ask.results, context.signal);
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
  if (
    located.length > 0 &&
    located.every(({ engine, model }) => engine.trust === "remote" || model.trust === "remote")
  ) {
    throw new InvalidRequest(`${judge} can't be the judge: every answer would be sent off this machine`, {
      next: [
        { step: "chooseModel", argument: "judge", that: "on this machine" },
        { step: "setArgument", argument: "judge", to: "auto" },
      ],
    });
  }
  await planGeneration(world, caller, {
    model: judge,
    prompt: judgeSystem,
    maxTokens: judgeTokens,
    useMemory: false,
    privacy: "local_only",
  });
}

/** For `auto`: the largest local model that fits and is not compared, else the largest compared one. */
async function chooseJudge(
  world: GenerationWorld,
  caller: CallerContext,
  judge: string,
  results: readonly ComparedModel[],
  signal: AbortSignal,
): Promise<string | undefined> {
  // The name as the engine spells it. Throws `UnknownModel`.
  if (judge !== "auto") return (await world.inventory.locate(judge))[0]?.model.name;
  const candidates = (await listCandidates(world, true, signal))
    .map(({ candidate }) => candidate)
    .filter((candidate) => candidate.trust === "local" && candidate.fits !== "no" && candidate.coolDown === undefined)
    .filter((candidate) => candidate.capabilities.includes("completion"))
    .toSorted((a, b) => b.sizeBytes - a.sizeBytes);
  const isCompared = ({ model }: { readonly model: string }) =>
    results.some((result) => sameModel(result.model, model));
  return (candidates.find((candidate) => !isCompared(candidate)) ?? candidates[0])?.model;
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
    system: judgeSystem,
    prompt: judgePrompt(prompt, answers),
    format: judgeFormat(answers.length),
    temperature: 0,
    maxTokens: judgeTokens,
    useMemory: false,
    privacy: "local_only" as const,
  };
  // The judge's text must not appear among the answers.
  const silenced = { ...context, addText: () => undefined, addThinking: () => undefined, clearText: () => undefined };
  const { result } = await askOnce(world, caller, request, "local", silenced);
  return parseVerdict(result.text, answers);
}

function judgementOf(
  judge: string,
  answers: readonly JudgedAnswer[],
  verdicts: readonly Verdict[],
  { prompt, results }: { readonly prompt: string; readonly results: readonly ComparedModel[] },
): Judgement {
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
