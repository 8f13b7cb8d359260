import type { ComparedModel, Judgement } from "../facade-compare.ts";
import { InvalidRequest } from "../errors.ts";
import { listCandidates } from "../generation/candidates.ts";
import { planGeneration } from "../generation/plan-generation.ts";
import type { GenerationWorld } from "../generation/runner.ts";
import type { OperationContext } from "../operations/operations.ts";
import { sameModel } from "../store/model-name.ts";
import type { CallerContext } from "../types.ts";
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

/** A ranking, or why there is none: a judge that fails spoils nothing. */
export type Judged = { readonly judgement: Judgement } | { readonly note: string };

/**
 * Has a local model rank the answers, blind, in the order given and in the opposite one. Throws only when the
 * comparison itself is cancelled.
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
    if (judge === undefined) return { note: "no judgement: no local model fits that could judge" };
    const verdicts: Verdict[] = [];
    for (const order of [answers, answers.toReversed()]) {
      context.report({ message: `${judge} judges, order ${verdicts.length + 1} of 2` });
      const verdict = await askVerdict(world, caller, judge, ask.prompt, order, context);
      if (verdict === undefined) return { note: `no judgement: ${judge} answered without a ranking that makes sense` };
      verdicts.push(verdict);
    }
    return { judgement: judgementOf(judge, answers, verdicts, ask) };
  } catch (error) {
    return { note: `no judgement: ${failureText(error, world, context.signal)}` };
  }
}

/**
 * A judge that can't judge is refused before the models are asked: they may take minutes. Throws `UnknownModel`,
 * `InvalidRequest` for one that isn't on this machine, and what else keeps it from answering at all.
 */
export async function checkJudge(world: GenerationWorld, caller: CallerContext, judge: string): Promise<void> {
  if (judge === "auto") return;
  const located = await world.inventory.locate(judge);
  // What models wrote of a private prompt is as private, whatever `privacy` allows.
  if (
    located.length > 0 &&
    located.every(({ engine, model }) => engine.trust === "remote" || model.trust === "remote")
  ) {
    throw new InvalidRequest(`${judge} can't judge: it would read every answer, and it doesn't run on this machine`, {
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

/** `auto`: the largest local model that fits and isn't compared, else the largest that is. */
async function chooseJudge(
  world: GenerationWorld,
  caller: CallerContext,
  judge: string,
  results: readonly ComparedModel[],
  signal: AbortSignal,
): Promise<string | undefined> {
  // The name as the engine has it; a wrong one throws with the nearest.
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
  // The judge's own text is none of the answers.
  const unheard = { ...context, addText: () => undefined, addThinking: () => undefined, clearText: () => undefined };
  const { result } = await askOnce(world, caller, request, "local", unheard);
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
  const said = [
    `a model's opinion, not a measurement; ${judge} saw the answers without names, in two opposite orders, and `,
    isAgreed ? "ranked them alike both times" : "ranked them differently: what it disagreed on with itself is a tie",
    ...(isParty ? ["; it judged an answer of its own, so its ranking says little"] : []),
    ...(isCut ? [`; it read only the first ${judgedCharacters} characters of long texts`] : []),
  ];
  return { judge, ranking, reason: verdicts[0]?.reason ?? "", note: said.join("") };
}
