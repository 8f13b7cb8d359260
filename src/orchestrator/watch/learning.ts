import * as z from "zod";
import { InvalidRequest } from "../api/errors.ts";
import type { Events } from "../api/events.ts";
import type { LearnedQuality, Preference, Rating } from "../api/facade-compare.ts";
import type { Log } from "../api/log.ts";
import { type Task, tasks } from "../api/types.ts";
import {
  type EvidenceScope,
  forgotten,
  isWithin,
  learnFeedback,
  learnOutcome,
  outcomeEvidence,
  ratingEvidence,
} from "../routing/evidence.ts";
import {
  type Observation,
  type QualityState,
  combined,
  nothingLearned,
  qualityStateSchema,
  unlearn,
} from "../routing/quality.ts";
import { type JournaledDocument, openDocument, openedOnce } from "../storage/document.ts";
import type { DocumentFiles } from "../storage/document-files.ts";
import { canonicalName } from "../util/model-name.ts";
import { nearestNames } from "../util/nearest.ts";
import type { Timers } from "../util/timers.ts";
import { messageOf } from "../util/message-of.ts";
import { defined } from "../util/defined.ts";

/** Outcomes within this time are written together: they must not cost a request a disk sync. */
const writeDelayMs = 10_000;
/** So many answers in a row of explored models that nothing was learned from by a pick or a rating end exploration. */
const maxUnrated = 3;
/** Outcomes that are kept while they can't be written. */
const maxWaiting = 1_000;

interface PreferencesParts {
  readonly events: Events;
  readonly log: Log;
  readonly timers: Pick<Timers, "after">;
  /** From 0 to 1. */
  readonly random: () => number;
  readonly files?: DocumentFiles;
}

/**
 * What is learned about the quality of models by task: picks and ratings of the user, which are on disk before they are
 * acknowledged, and outcomes of requests, which are written in batches. The document is read on first use.
 */
/** See `Preferences`. */
export function watchLearning(parts: PreferencesParts): Preferences {
  return new Preferences(parts);
}

class Preferences {
  readonly #parts: PreferencesParts;
  readonly #document: ReturnType<typeof openedOnce<JournaledDocument<PreferencesState, PreferenceEvent>>>;
  #waiting: Observation[] = [];
  #cancelWrite: (() => void) | undefined;
  #writing: Promise<void> = Promise.resolve();
  #isClosed = false;
  /** Explored answers since the last pick or rating. */
  #unrated = 0;
  /** `combined` of these two, which never change. */
  #known: { readonly feedback: QualityState; readonly observed: QualityState; readonly all: QualityState } | undefined;

  constructor(parts: PreferencesParts) {
    this.#parts = parts;
    this.#document = openedOnce(() => openPreferences(parts.log, parts.files));
    parts.events.on(["request ended"], ({ outcomes = [] }) => {
      for (const { task, model, outcome } of outcomes) this.observe(outcomeEvidence(task, model, outcome));
    });
  }

  /** For routing, which must work without it: never rejects. */
  async known(task: Task): Promise<{ readonly picked?: Preference; readonly learned: QualityState }> {
    try {
      const { state } = await this.#document.get();
      const picked = state.preferences.findLast((entry) => entry.task === task);
      return { learned: this.#learned(state), ...(picked === undefined ? {} : { picked: shown(picked) }) };
    } catch (error) {
      this.#parts.log.warn(`preferences: ${messageOf(error)}`);
      return { learned: nothingLearned };
    }
  }

  /** A random number for `chooseModel`, unless answers are not rated, so that exploring teaches nothing. */
  chance(): number | undefined {
    return this.#unrated < maxUnrated ? this.#parts.random() : undefined;
  }

  explored(): void {
    this.#unrated += 1;
  }

  /** Those in force: the newest of each task, newest first. */
  async list(): Promise<readonly Preference[]> {
    const { state } = await this.#document.get();
    return state.preferences
      .toReversed()
      .filter((entry, index, rest) => rest.findIndex(({ task }) => task === entry.task) === index)
      .map(shown);
  }

  /** Adds a preference; without `evidence` nothing is learned from it. */
  async add(preference: Preference, evidence: Observation | undefined): Promise<void> {
    const stored = { ...preference, ...defined({ evidence }) };
    await (await this.#document.get()).append({ type: "preferred", preference: stored });
    this.#unrated = 0;
  }

  /** Removes the newest preference of the task, with its evidence. `before` is the previous one of its comparison. */
  async undo(task: Task): Promise<{ readonly undone: Preference; readonly before?: Preference } | undefined> {
    const document = await this.#document.get();
    const last = document.state.preferences.findLast((entry) => entry.task === task);
    if (last === undefined) return undefined;
    await document.append({ type: "undone", task });
    const before = document.state.preferences.findLast(
      (entry) => entry.comparisonId !== undefined && entry.comparisonId === last.comparisonId,
    );
    return { undone: shown(last), ...(before === undefined ? {} : { before: shown(before) }) };
  }

  /** A second rating of the same answer replaces the first. An id is kept as far as a surface's own are long. */
  async rate({ answerId, ...rating }: Rating): Promise<void> {
    const stored = { ...rating, ...(answerId === undefined ? {} : { answerId: answerId.slice(0, maxIdCharacters) }) };
    await (await this.#document.get()).append({ type: "rated", rating: stored });
    this.#unrated = 0;
  }

  /** Counted in memory, written later. */
  observe(observation: Observation): void {
    if (this.#isClosed) return;
    // In place: a copy for each of hundreds of requests would be most of the cost.
    this.#waiting.push(observation);
    if (this.#waiting.length > maxWaiting) this.#waiting.shift();
    this.#cancelWrite ??= this.#parts.timers.after(writeDelayMs, () => void this.#write());
  }

  async learned(): Promise<readonly LearnedQuality[]> {
    const { state } = await this.#document.get();
    return this.#learned(state).tasks.flatMap(({ task, models }) =>
      models.map(({ model, single, compared }) => {
        const answers = single.answers + compared.answers;
        return { task: task as Task, model, answers, score: (single.sum + compared.sum) / answers };
      }),
    );
  }

  /** Forgets what was learned, not what was picked. Throws `InvalidRequest` for a model without evidence. */
  async reset(scope: EvidenceScope): Promise<void> {
    const { model } = scope;
    this.#parts.events.flush();
    const learned = await this.learned();
    const isWaiting = this.#waiting.some(({ task, scores }) =>
      scores.some((each) => isWithin(scope, task, each.model)),
    );
    if (model !== undefined && !isWaiting && !learned.some((each) => isWithin(scope, each.task, each.model))) {
      const names = nearestNames(model, [...new Set(learned.map((each) => each.model))], 3);
      throw new InvalidRequest(`nothing was learned about ${model}`, {
        ...(names.length > 0 && { next: { step: "didYouMean", names } }),
      });
    }
    this.#waiting = this.#waiting.map((observation) => without(observation, scope));
    await (await this.#document.get()).append({ type: "reset", ...scope });
  }

  problems(): readonly string[] {
    return this.#document.found()?.problems ?? [];
  }

  async close(): Promise<void> {
    this.#parts.events.flush();
    this.#isClosed = true;
    this.#cancelWrite?.();
    await this.#write();
    await (await this.#document.opened())?.close();
  }

  #learned({ feedback, observed }: PreferencesState): QualityState {
    if (this.#known?.feedback !== feedback || this.#known.observed !== observed) {
      this.#known = { feedback, observed, all: combined(feedback, observed) };
    }
    return this.#known.all;
  }

  #write(): Promise<void> {
    this.#cancelWrite = undefined;
    this.#writing = this.#writing.then(async () => {
      const batch = this.#waiting;
      if (batch.length === 0) return;
      this.#waiting = [];
      try {
        await (await this.#document.get()).append({ type: "observed", observations: batch });
      } catch (error) {
        this.#waiting = [...batch, ...this.#waiting].slice(-maxWaiting);
        this.#parts.log.debug(`preferences: not saved: ${messageOf(error)}`);
      }
    });
    return this.#writing;
  }
}

/** The observation without the scores of some models; one without scores teaches nothing. */
function without(observation: Observation, scope: EvidenceScope): Observation {
  return {
    ...observation,
    scores: observation.scores.filter(({ model }) => !isWithin(scope, observation.task, model)),
  };
}

const task = z.enum(tasks);

const observationSchema = z.object({
  task: z.string(),
  scores: z.array(z.object({ model: z.string(), score: z.number() })).readonly(),
  weight: z.number(),
}) satisfies z.ZodType<Observation>;

/** A preference, with what was learned from it, which an undo takes back. */
const storedPreference = z.object({
  task,
  model: z.string(),
  comparisonId: z.string().exactOptional(),
  pickedAt: z.iso.datetime(),
  evidence: observationSchema.exactOptional(),
});
type StoredPreference = z.output<typeof storedPreference>;

const storedRating = z.object({
  task,
  model: z.string(),
  isGood: z.boolean(),
  answerId: z.string().exactOptional(),
}) satisfies z.ZodType<Rating>;

const shown = ({ evidence: _evidence, ...preference }: StoredPreference): Preference => preference;

interface PreferencesState {
  /** Oldest first; the newest of a task is in force. */
  preferences: StoredPreference[];
  /** Those whose answer is known, oldest first. */
  ratings: Rating[];
  /** What picks and ratings taught. */
  feedback: QualityState;
  /** What outcomes and judges showed. */
  observed: QualityState;
}

const event = z.discriminatedUnion("type", [
  z.object({ type: z.literal("preferred"), preference: storedPreference }),
  z.object({ type: z.literal("undone"), task }),
  z.object({ type: z.literal("rated"), rating: storedRating }),
  z.object({ type: z.literal("observed"), observations: z.array(observationSchema).readonly() }),
  z.object({ type: z.literal("reset"), task: z.string().exactOptional(), model: z.string().exactOptional() }),
]);
type PreferenceEvent = z.output<typeof event>;

/** Picks stored per task; older ones can't be restored by undo, and their evidence stays. */
const maxPicks = 20;
/** An id is free text: a long one must not fill the disk. */
const maxIdCharacters = 200;
/** Ratings that a later one of the same answer replaces; the evidence of older ones stays. */
const maxRatings = 200;

export const noPreferences = (): PreferencesState => ({
  preferences: [],
  ratings: [],
  feedback: nothingLearned,
  observed: nothingLearned,
});

/** Version 1 had the preferences alone. */
export function openPreferences(
  log: Log,
  files: DocumentFiles | undefined,
): Promise<JournaledDocument<PreferencesState, PreferenceEvent>> {
  return openDocument<PreferencesState, PreferenceEvent>({
    name: "preferences",
    schemaVersion: 2,
    empty: noPreferences,
    state: z.object({
      preferences: z.array(storedPreference),
      ratings: z.array(storedRating).default([]),
      feedback: qualityStateSchema.default(nothingLearned),
      observed: qualityStateSchema.default(nothingLearned),
    }),
    event,
    apply: applyPreference,
    log,
    ...defined({ files }),
  });
}

export function applyPreference(state: PreferencesState, given: PreferenceEvent): void {
  switch (given.type) {
    case "preferred": {
      const { preference } = given;
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
      rate(state, given.rating);
      return;
    case "observed":
      state.observed = given.observations.reduce(learnOutcome, state.observed);
      return;
    case "reset":
      forget(state, given);
  }
}

function rate(state: PreferencesState, rating: Rating): void {
  const { answerId } = rating;
  if (answerId !== undefined) {
    const first = state.ratings.find((entry) => entry.answerId === answerId);
    if (first !== undefined) state.feedback = unlearn(state.feedback, evidenceOf(first));
    state.ratings = [...state.ratings.filter((entry) => entry !== first), rating].slice(-maxRatings);
  }
  state.feedback = learnFeedback(state.feedback, evidenceOf(rating));
}

const evidenceOf = ({ task: of, model, isGood }: Rating): Observation => ratingEvidence(of, model, isGood);

/** Also what an undo or a second rating would take back: it is gone already. */
function forget(state: PreferencesState, scope: EvidenceScope): void {
  state.feedback = forgotten(state.feedback, scope);
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
