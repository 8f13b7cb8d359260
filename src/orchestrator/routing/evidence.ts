import * as z from "zod";
import type { Outcome } from "../api/events.ts";
import { type Rating, keptPreference, keptRating } from "../api/facade-compare.ts";
import { tasks } from "../api/types.ts";
import { canonicalName } from "../util/model-name.ts";
import { daysSince } from "../util/values.ts";
import {
  type Observation,
  type QualityState,
  aged,
  combined,
  faded,
  learn,
  nothingLearned,
  observationSchema,
  qualityStateSchema,
  unlearn,
} from "./quality-state.ts";

/**
 * Scores and weights of outcomes. All weigh little, because each says little. What says nothing about the model is no
 * outcome: an engine that is unreachable, a full queue, a budget, a cancelled request, a lack of memory.
 */
const outcomes = {
  /** It matches its schema, as most engines enforce while they generate. */
  valid: { score: 1, weight: 0.05 },
  /** What it quotes or states was found in the files, or its answers agree. */
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
/**
 * What one client's ratings of a model for one task count at most for other clients: too little to displace the model
 * there, however often it rates.
 */
const mostOfOthers = 3;
/** So old may an answer be that is rated. */
const ratableMs = 3_600_000;

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

/** What counts for one client. */
export function feedbackFor(
  client: string,
  { feedback, clients }: Pick<PreferencesState, "feedback" | "clients">,
): QualityState {
  return clients.reduce(
    (sum, each) => combined(sum, each.client === client ? each.learned : ofOthers(each.learned)),
    feedback,
  );
}

function ofOthers(learned: QualityState): QualityState {
  return learned.tasks.reduce(
    (state, { task, models }) =>
      faded(state, { task, models: models.map(({ model }) => model), mostAnswers: mostOfOthers }),
    learned,
  );
}

const givenAnswer = z.object({ id: z.string(), model: z.string(), client: z.string(), atMs: z.number() });
/** An answer that was given. */
type GivenAnswer = z.output<typeof givenAnswer>;

/**
 * The answer that a client rates: of the model's answers of the last hour the newest that isn't rated yet, its own ones
 * first. Without such a one, the newest: another rating of it replaces the first.
 */
export function ratedAnswer(
  answers: readonly GivenAnswer[],
  asked: { readonly model: string; readonly client: string; readonly nowMs: number; isRated(id: string): boolean },
): GivenAnswer | undefined {
  const model = canonicalName(asked.model);
  const order = (answer: GivenAnswer) => (asked.isRated(answer.id) ? 2 : 0) + (answer.client === asked.client ? 0 : 1);
  return recentAnswers(answers, asked.nowMs)
    .filter((answer) => answer.model === model)
    .toSorted((a, b) => order(a) - order(b) || b.atMs - a.atMs)[0];
}

export function recentAnswers(answers: readonly GivenAnswer[], nowMs: number): readonly GivenAnswer[] {
  return answers.filter(({ atMs }) => nowMs - atMs <= ratableMs);
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

const task = z.enum(tasks);

/** With what was learned from it, which an undo takes back. */
const storedPreference = keptPreference.extend({ evidence: observationSchema.exactOptional() });
const storedRating = keptRating.extend({
  /** The id of the answer; absent: without one. */
  of: z.string().exactOptional(),
  /** Absent: the user's own. */
  client: z.string().exactOptional(),
});
type StoredRating = z.output<typeof storedRating>;

export const preferenceEvent = z.discriminatedUnion("type", [
  z.object({ type: z.literal("preferred"), preference: storedPreference }),
  z.object({ type: z.literal("undone"), task }),
  z.object({ type: z.literal("rated"), rating: storedRating, atMs: z.number().exactOptional() }),
  z.object({
    type: z.literal("observed"),
    observations: z.array(observationSchema).readonly(),
    answers: z.array(givenAnswer).readonly().exactOptional(),
    atMs: z.number().exactOptional(),
  }),
  z.object({ type: z.literal("reset"), task: z.string().exactOptional(), model: z.string().exactOptional() }),
]);
type PreferenceEvent = z.output<typeof preferenceEvent>;

/** Picks stored per task; older ones can't be restored by undo, and their evidence stays. */
const maxPicks = 20;
/** Ratings that a later one of the same answer replaces; the evidence of older ones stays. */
const maxRatings = 200;
/** Answers that can be rated; older ones can't. */
export const maxAnswers = 200;
/** Clients whose ratings are kept apart, those that rated last. */
const maxClients = 20;
const dayMs = 86_400_000;

export const preferencesSchema = z.object({
  /** Oldest first; the newest of a task is in force. */
  preferences: z.array(storedPreference),
  /** Those whose answer is known, oldest first. */
  ratings: z.array(storedRating),
  /** What ratings and picks of the user taught, which count for every client, and those of each other client. */
  feedback: qualityStateSchema,
  clients: z.array(z.object({ client: z.string(), learned: qualityStateSchema })),
  /** What outcomes, judges and ratings without an answer showed. */
  observed: qualityStateSchema,
  /** Those of the last hour of the process before. */
  answers: z.array(givenAnswer).readonly(),
  /** The time up to which what was learned has faded. */
  agedMs: z.number().exactOptional(),
});
type PreferencesState = z.output<typeof preferencesSchema>;

export const noPreferences = (): PreferencesState => ({
  preferences: [],
  ratings: [],
  feedback: nothingLearned,
  clients: [],
  observed: nothingLearned,
  answers: [],
});

export function applyPreference(state: PreferencesState, given: PreferenceEvent): void {
  switch (given.type) {
    case "preferred": {
      const { preference } = given;
      age(state, Date.parse(preference.pickedAt));
      const same = state.preferences.filter((entry) => entry.task === preference.task);
      const oldest = same.length >= maxPicks ? same[0] : undefined;
      state.preferences = [...state.preferences.filter((entry) => entry !== oldest), preference];
      if (preference.evidence !== undefined) state.feedback = learnFeedback(state.feedback, preference.evidence);
      return;
    }
    case "undone": {
      const last = state.preferences.findLast((entry) => entry.task === given.task);
      state.preferences = state.preferences.filter((entry) => entry !== last);
      if (last?.evidence !== undefined) state.feedback = unlearn(state.feedback, last.evidence);
      return;
    }
    case "rated":
      age(state, given.atMs);
      rate(state, given.rating);
      return;
    case "observed":
      age(state, given.atMs);
      if (given.answers !== undefined) state.answers = [...state.answers, ...given.answers].slice(-maxAnswers);
      state.observed = given.observations.reduce(learnOutcome, state.observed);
      return;
    case "reset":
      forget(state, given);
  }
}

function rate(state: PreferencesState, rating: StoredRating): void {
  const { answerId, of } = rating;
  if (answerId !== undefined || of !== undefined) {
    const first = state.ratings.find(
      (entry) => (of !== undefined && entry.of === of) || (answerId !== undefined && entry.answerId === answerId),
    );
    if (first !== undefined) change(state, first, unlearn);
    state.ratings = [...state.ratings.filter((entry) => entry !== first), rating].slice(-maxRatings);
  }
  change(state, rating, rating.isForced === true ? learnOutcome : learnFeedback);
}

/** Changes the part of the state that the rating belongs to. */
function change(state: PreferencesState, rating: StoredRating, by: typeof unlearn): void {
  const { client, isForced } = rating;
  const evidence = evidenceOf(rating);
  if (isForced === true) state.observed = by(state.observed, evidence);
  else if (client === undefined) state.feedback = by(state.feedback, evidence);
  else {
    const before = state.clients.find((each) => each.client === client)?.learned ?? nothingLearned;
    const others = state.clients.filter((each) => each.client !== client);
    state.clients = [...others, { client, learned: by(before, evidence) }].slice(-maxClients);
  }
}

/** Fades what was learned before, up to the day of an event. */
function age(state: PreferencesState, atMs: number | undefined): void {
  if (atMs === undefined) return;
  const days = daysSince(state.agedMs, atMs);
  if (days > 0) {
    state.feedback = aged(state.feedback, days);
    state.clients = state.clients.map(({ client, learned }) => ({ client, learned: aged(learned, days) }));
    state.observed = aged(state.observed, days);
  }
  state.agedMs = (state.agedMs ?? atMs) + days * dayMs;
}

const evidenceOf = ({ task: of, model, isGood }: Rating): Observation => ratingEvidence(of, model, isGood);

/** Also what an undo or a second rating would take back: it is gone already. */
function forget(state: PreferencesState, scope: EvidenceScope): void {
  state.feedback = forgotten(state.feedback, scope);
  state.clients = state.clients.map(({ client, learned }) => ({ client, learned: forgotten(learned, scope) }));
  state.observed = forgotten(state.observed, scope);
  state.ratings = state.ratings.filter((entry) => !isWithin(scope, entry.task, canonicalName(entry.model)));
  state.preferences = state.preferences.map((entry) => {
    const { evidence } = entry;
    if (evidence === undefined) return entry;
    // A forgotten model loses its name, not its score: the others were learned against the mean of their comparison.
    const scores = evidence.scores.map(({ model, score }) => ({
      model: isWithin(scope, evidence.task, model) ? "" : model,
      score,
    }));
    return { ...entry, evidence: { ...evidence, scores } };
  });
}
