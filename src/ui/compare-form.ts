/** A comparison as its page shows it: what the form checks, and the columns of the answers. */
import type { ResourceData } from "../resources/index.ts";

type Result = ResourceData["ollm://comparisons/{id}"]["results"][number];

export const mostModels = 5;

/** What the daemon would refuse, in terms of the form. */
export function problemOf(text: string, models: readonly string[], maxTokens: string): string | undefined {
  if (text.trim() === "") return "Write what the models are to answer.";
  if (models.length === 1) return "Choose at least two models, or none.";
  if (models.length > mostModels) return `Choose at most ${mostModels} models.`;
  if (maxTokens.trim() !== "" && !/^[1-9]\d*$/.test(maxTokens.trim())) {
    return "Maximum tokens must be a whole number from 1.";
  }
  return undefined;
}

/** A column: what a model has answered so far, or its result. */
export interface Answer {
  readonly model: string;
  readonly text: string;
  /** What it does now: `waits`, `loading 43%`, `12 tokens`; absent when it is done. */
  readonly state?: string;
  readonly result?: Result;
}

/** The columns of a running comparison, from its message and the texts so far: `a: done, 12 tokens/s | b: waits`. */
export function runningAnswers(
  models: readonly string[],
  message: string = "",
  texts: readonly { readonly model: string; readonly text: string }[] = [],
): readonly Answer[] {
  const states = new Map(
    message.split(" | ").flatMap((part) => {
      const at = part.indexOf(": ");
      return at === -1 ? [] : [[part.slice(0, at), part.slice(at + 2)] as const];
    }),
  );
  // The message has each model as its engine spells it; before it comes, the form's own names have to do.
  const hasBoard = models.length === 0 || states.size >= models.length;
  const names = new Set([...(hasBoard ? states.keys() : models), ...texts.map(({ model }) => model)]);
  return [...names].map((model) => ({
    model,
    text: texts.find((each) => each.model === model)?.text ?? "",
    state: states.get(model) ?? "waits",
  }));
}

/** The columns of a comparison that is done. */
export function finishedAnswers(results: readonly Result[]): readonly Answer[] {
  return results.map((result) => ({ model: result.model, text: result.text ?? "", result }));
}
