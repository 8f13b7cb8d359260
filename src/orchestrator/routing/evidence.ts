import type { Outcome } from "../api/events.ts";
import { canonicalName } from "../util/model-name.ts";
import { type Observation, type QualityState, faded, learn } from "./quality.ts";

/**
 * Scores and weights of outcomes. All weigh little, because each says little. What says nothing about the model is no
 * outcome: an engine that is unreachable, a full queue, a budget, a cancelled request, a lack of memory.
 */
const outcomes = {
  /** It matches its schema, as most engines enforce while they generate. */
  valid: { score: 1, weight: 0.05 },
  /** It passed a check of what it says: quotes, or agreement. */
  checked: { score: 1, weight: 0.2 },
  /** It had to be shown that it does not match its schema. */
  corrected: { score: 0, weight: 0.1 },
  /** It failed its check, or does not match its schema even when corrected. */
  invalid: { score: 0, weight: 0.2 },
  /** The most certain sign: a loop is no answer. */
  repetition: { score: 0, weight: 0.2 },
  /** At a limit that the request did not set: the model's window, or a setting. */
  length: { score: 0, weight: 0.05 },
  /** The engine failed while it generated; another model had to answer, or none did. */
  failed: { score: 0, weight: 0.1 },
} as const satisfies Readonly<Record<Outcome, { readonly score: number; readonly weight: number }>>;

/** A user's judgement about an answer counts fully. */
const ratingWeight = 1;
/** A pick also does; but an answer that another one beats may still be good, so it is not rated 0. */
const beaten = 0.25;
/** The ranking is a model's opinion, and small judges are often wrong. */
const judgeWeight = 0.25;
/**
 * All outcomes of a model for one task together count at most this many answers, so that a thousand requests of a program
 * don't outweigh a few judgements of the user, and outcomes alone cause no load. Older ones fade.
 */
const mostOutcomes = 3;
/** The last 30 or so ratings and picks of a model for one task count: each new one takes a thirtieth of the older ones. */
const mostFeedback = 30;

export function ratingEvidence(task: string, model: string, isGood: boolean): Observation {
  return { task, scores: [{ model: canonicalName(model), score: isGood ? 1 : 0 }], weight: ratingWeight };
}

/** `others` are the models of a comparison that answered, too; a pick without a comparison has none. */
export function pickEvidence(task: string, winner: string, others: readonly string[] = []): Observation {
  const scores = [
    { model: canonicalName(winner), score: 1 },
    ...others.map((model) => ({ model: canonicalName(model), score: beaten })),
  ];
  return { task, scores, weight: 1 };
}

/** `ranking` is best first, with ties in one inner list; undefined if it ranks nothing. */
export function judgeEvidence(task: string, ranking: readonly (readonly string[])[]): Observation | undefined {
  if (ranking.length < 2) return undefined;
  const scores = ranking.flatMap((tied, at) =>
    tied.map((model) => ({ model: canonicalName(model), score: 1 - ((1 - beaten) * at) / (ranking.length - 1) })),
  );
  return { task, scores, weight: judgeWeight };
}

export function outcomeEvidence(task: string, model: string, outcome: Outcome): Observation {
  const { score, weight } = outcomes[outcome];
  return { task, scores: [{ model: canonicalName(model), score }], weight };
}

/** Learns an outcome; older outcomes of the same models fade. */
export function learnOutcome(state: QualityState, observation: Observation): QualityState {
  return learnFading(state, observation, mostOutcomes);
}

/** Learns a rating or a pick; older ones of the same models fade. */
export function learnFeedback(state: QualityState, observation: Observation): QualityState {
  return learnFading(state, observation, mostFeedback);
}

function learnFading(state: QualityState, observation: Observation, mostAnswers: number): QualityState {
  const { task, scores } = observation;
  return faded(learn(state, observation), { task, models: scores.map(({ model }) => model), mostAnswers });
}

/** The task and the model to forget; without them everything is. */
export interface EvidenceScope {
  readonly task?: string;
  readonly model?: string;
}

/** Whether evidence about this model belongs to it. */
export function isWithin({ task, model }: EvidenceScope, ofTask: string, name: string): boolean {
  return (task === undefined || task === ofTask) && (model === undefined || canonicalName(model) === name);
}

export function forgotten(state: QualityState, scope: EvidenceScope): QualityState {
  return {
    tasks: state.tasks.flatMap(({ task, models }) => {
      const rest = models.filter(({ model }) => !isWithin(scope, task, model));
      return rest.length === 0 ? [] : [{ task, models: rest }];
    }),
  };
}
