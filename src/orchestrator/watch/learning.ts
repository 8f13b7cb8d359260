import { randomUUID } from "node:crypto";
import { InvalidRequest } from "../api/errors.ts";
import type { EventOf, Events } from "../api/events.ts";
import type { LearnedQuality, Preference, Rating } from "../api/facade-compare.ts";
import type { Log } from "../api/log.ts";
import { advice } from "../api/next-step.ts";
import { type Task, isShell } from "../api/types.ts";
import {
  type EvidenceScope,
  applyPreference,
  feedbackFor,
  isWithin,
  maxAnswers,
  noPreferences,
  outcomeEvidence,
  preferenceEvent,
  preferencesSchema,
  ratedAnswer,
  recentAnswers,
} from "../routing/evidence.ts";
import { type Observation, type QualityState, aged, combined, nothingLearned } from "../routing/quality-state.ts";
import { type JournaledDocument, openDocument, openedOnce } from "../storage/document.ts";
import type { DocumentFiles } from "../storage/document-files.ts";
import { canonicalName } from "../util/model-name.ts";
import { didYouMean } from "../util/nearest.ts";
import type { Timers } from "../util/timers.ts";
import { daysSince, defined, messageOf } from "../util/values.ts";

/** Outcomes within this time are written together: they must not cost a request a disk sync. */
const writeDelayMs = 10_000;
/** So many answers in a row of explored models that nothing was learned from by a pick or a rating end exploration. */
const maxUnrated = 3;
/** Outcomes that are kept while they can't be written. */
const maxWaiting = 1_000;

/** What is on disk, and what changes it. */
type State = Parameters<typeof applyPreference>[0];
type Applied = Parameters<typeof applyPreference>[1];

interface PreferencesParts {
  readonly events: Events;
  readonly log: Log;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly timers: Pick<Timers, "after">;
  /** From 0 to 1. */
  readonly random: () => number;
  readonly files?: DocumentFiles;
}

/**
 * What is learned about the quality of models by task: picks and ratings of the user, which are on disk before they are
 * acknowledged, and outcomes of requests, which are written in batches. The document is read on first use.
 */
export function watchLearning(parts: PreferencesParts): Preferences {
  return new Preferences(parts);
}

class Preferences {
  readonly #parts: PreferencesParts;
  readonly #document: ReturnType<typeof openedOnce<JournaledDocument<State, Applied>>>;
  #waiting: Observation[] = [];
  #cancelWrite: (() => void) | undefined;
  #writing: Promise<void> = Promise.resolve();
  #isClosed = false;
  /** Explored answers since the last pick or rating. */
  #unrated = 0;
  /** Given since the start, oldest first; the document has those of the process before. */
  #answers: State["answers"] = [];
  /** Answers whose rating is being written. */
  readonly #rated = new Set<string>();
  /** What counts for each client, as long as none of these changes. */
  #known:
    | { readonly from: readonly unknown[]; readonly days: number; readonly views: Map<string, QualityState> }
    | undefined;

  constructor(parts: PreferencesParts) {
    this.#parts = parts;
    this.#document = openedOnce(() => openPreferences(parts.log, parts.files));
    parts.events.on(["request ended"], ({ outcomes = [], attempts, client, error }) => {
      if (error === undefined) this.#gave(client, attempts);
      for (const { task, model, outcome } of outcomes) this.observe(outcomeEvidence(task, model, outcome));
    });
  }

  /** For routing, which must work without it: never rejects. */
  async known(task: Task, client: string): Promise<{ readonly picked?: Preference; readonly learned: QualityState }> {
    try {
      const { state } = await this.#document.get();
      const picked = state.preferences.findLast((entry) => entry.task === task);
      return { learned: this.#learned(state, client), ...(picked === undefined ? {} : { picked: shown(picked) }) };
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

  /**
   * A second rating of the same answer replaces the first. An id is kept as far as a surface's own are long. Throws
   * `InvalidRequest` without an answer of the last hour, unless it is forced.
   */
  async rate({ answerId: given, isForced = false, ...rating }: Rating, client: string): Promise<Rating> {
    const { events, now } = this.#parts;
    events.flush();
    const { state, append } = await this.#document.get();
    const answerId = given?.slice(0, maxIdCharacters);
    const known = state.ratings.find((each) => answerId !== undefined && each.answerId === answerId);
    const isRated = (id: string) => this.#rated.has(id) || state.ratings.some((each) => each.of === id);
    const nowMs = now();
    const answer = ratedAnswer([...state.answers, ...this.#answers], { model: rating.model, client, nowMs, isRated });
    if (known === undefined && answer === undefined && !isForced) throw noAnswer(rating.model);
    // The same answer has the same place, whatever came in between.
    const place =
      known ?? defined({ of: answer?.id, client: isShell(client) ? undefined : client.slice(0, maxIdCharacters) });
    const isHint = known === undefined ? answer === undefined : known.isForced === true;
    const stored = {
      ...rating,
      ...defined({ answerId, of: place.of, client: place.client, isForced: isHint ? true : undefined }),
    };
    if (stored.of !== undefined) this.#rated.add(stored.of);
    try {
      await append({ type: "rated", rating: stored, atMs: nowMs });
    } finally {
      if (stored.of !== undefined) this.#rated.delete(stored.of);
    }
    this.#unrated = 0;
    return { ...rating, ...defined({ answerId, isForced: stored.isForced }) };
  }

  /** Counted in memory, written later. */
  observe(observation: Observation): void {
    if (this.#isClosed) return;
    // In place: a copy for each of hundreds of requests would be most of the cost.
    this.#waiting.push(observation);
    if (this.#waiting.length > maxWaiting) this.#waiting.shift();
    this.#cancelWrite ??= this.#parts.timers.after(writeDelayMs, () => void this.#write());
  }

  async learned(client: string): Promise<readonly LearnedQuality[]> {
    const { state } = await this.#document.get();
    return this.#learned(state, client).tasks.flatMap(({ task, models }) =>
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
    const { feedback, clients, observed } = (await this.#document.get()).state;
    const learned = [feedback, observed, ...clients.map((each) => each.learned)].flatMap((each) =>
      each.tasks.flatMap(({ task, models }) => models.map((cell) => ({ task, model: cell.model }))),
    );
    const isWaiting = this.#waiting.some(({ task, scores }) =>
      scores.some((each) => isWithin(scope, task, each.model)),
    );
    if (model !== undefined && !isWaiting && !learned.some((each) => isWithin(scope, each.task, each.model))) {
      const known = [...new Set(learned.map((each) => each.model))];
      throw new InvalidRequest(`nothing was learned about ${model}`, { next: didYouMean(model, known, 3) });
    }
    this.#waiting = this.#waiting.map((observation) => without(observation, scope));
    await (await this.#document.get()).append({ type: "reset", ...scope });
  }

  problems(): readonly string[] {
    return this.#document.problems();
  }

  async close(): Promise<void> {
    this.#parts.events.flush();
    this.#isClosed = true;
    this.#cancelWrite?.();
    await this.#write(recentAnswers(this.#answers, this.#parts.now()));
    await this.#document.close();
  }

  /** Notes which models answered, for ratings. */
  #gave(client: string, attempts: EventOf<"request ended">["attempts"]): void {
    const atMs = this.#parts.now();
    const models = new Set(attempts.flatMap(({ model, error }) => (error === undefined ? [canonicalName(model)] : [])));
    const given = [...models].map((model) => ({ id: randomUUID(), model, client, atMs }));
    this.#answers = [...this.#answers, ...given].slice(-maxAnswers);
  }

  #learned(state: State, client: string): QualityState {
    const { feedback, clients, observed } = state;
    const from = [feedback, clients, observed];
    const days = daysSince(state.agedMs, this.#parts.now());
    if (
      this.#known === undefined ||
      this.#known.days !== days ||
      this.#known.from.some((each, at) => each !== from[at])
    ) {
      this.#known = { from, days, views: new Map() };
    }
    const { views } = this.#known;
    const own = clients.some((each) => each.client === client) ? client : "";
    const view = views.get(own) ?? aged(combined(feedbackFor(own, state), observed), days);
    views.set(own, view);
    return view;
  }

  /** `answers` are kept for the process after this one. */
  #write(answers: State["answers"] = []): Promise<void> {
    this.#cancelWrite = undefined;
    this.#writing = this.#writing.then(async () => {
      const batch = this.#waiting;
      if (batch.length + answers.length === 0) return;
      this.#waiting = [];
      const atMs = this.#parts.now();
      try {
        await (await this.#document.get()).append({ type: "observed", observations: batch, answers, atMs });
      } catch (error) {
        this.#waiting = [...batch, ...this.#waiting].slice(-maxWaiting);
        this.#parts.log.debug(`preferences: not saved: ${messageOf(error)}`);
      }
    });
    return this.#writing;
  }
}

function noAnswer(model: string): InvalidRequest {
  return new InvalidRequest(`${model} gave no answer in the last hour that could be rated`, {
    next: [advice("rate an answer soon after it was given"), { step: "setArgument", argument: "force", to: true }],
  });
}

/** The observation without the scores of some models; one without scores teaches nothing. */
function without(observation: Observation, scope: EvidenceScope): Observation {
  return {
    ...observation,
    scores: observation.scores.filter(({ model }) => !isWithin(scope, observation.task, model)),
  };
}

const shown = ({ evidence: _evidence, ...preference }: State["preferences"][number]): Preference => preference;

/** An id is free text: a long one must not fill the disk. */
const maxIdCharacters = 200;

export function openPreferences(log: Log, files: DocumentFiles | undefined) {
  return openDocument<State, Applied>({
    name: "preferences",
    schemaVersion: 1,
    empty: noPreferences,
    state: preferencesSchema,
    event: preferenceEvent,
    apply: applyPreference,
    log,
    ...defined({ files }),
  });
}
