import { randomUUID } from "node:crypto";
import * as z from "zod";
import { InvalidRequest, StoreFailed, UnknownComparison } from "../api/errors.ts";
import type { Emit } from "../api/events.ts";
import {
  type Comparison,
  type Comparisons,
  type LearnedQuality,
  type Preference,
  type Rating,
  keptComparison,
} from "../api/facade-compare.ts";
import type { CallerContext, Task } from "../api/types.ts";
import type { Log } from "../api/log.ts";
import type { NextStep } from "../api/next-step.ts";
import { didYouMean } from "../util/nearest.ts";
import type { GenerationWorld } from "../generation/runner.ts";
import type { Operations } from "../jobs/operations.ts";
import type { DocumentFiles } from "../storage/document-files.ts";
import { openDocument, openedOnce } from "../storage/document.ts";
import { type EvidenceScope, judgeEvidence, pickEvidence } from "../routing/evidence.ts";
import type { Observation } from "../routing/quality-state.ts";
import { sameModel } from "../util/model-name.ts";
import { checkRequest, runComparison } from "./run-comparison.ts";
import type { createTraining } from "./training.ts";
import { defined } from "../util/values.ts";

interface ComparisonParts {
  /** Clock, log, engines, loader and queue. */
  readonly world: GenerationWorld;
  readonly operations: Operations;
  readonly preferences: {
    /** Those in force: the newest of each task, newest first. */
    list(): Promise<readonly Preference[]>;
    /** Without `evidence` nothing is learned from it. */
    add(preference: Preference, evidence: Observation | undefined): Promise<void>;
    /** Removes the newest preference of the task, with its evidence. `before` is the previous one of its comparison. */
    undo(task: Task): Promise<{ readonly undone: Preference; readonly before?: Preference } | undefined>;
    rate(rating: Rating, client: string): Promise<Rating>;
    observe(observation: Observation): void;
    learned(client: string): Promise<readonly LearnedQuality[]>;
    /** Throws `InvalidRequest` for a model without evidence. */
    reset(scope: EvidenceScope): Promise<void>;
  };
  readonly emit: Emit;
  /** Recorded answers. */
  readonly training: {
    get(): Promise<Pick<ReturnType<typeof createTraining>, "material" | "forget">>;
    /** Notes the rating of an answer, and returns it. */
    rated(rating: Rating): Promise<Rating>;
  };
  readonly files?: DocumentFiles;
}

interface StoredComparisons extends Comparisons {
  /** Files that were set aside, and why. */
  problems(): readonly string[];
  close(): Promise<void>;
}

/** How many comparisons are held in memory while the disk can't be written. */
const maxUnsaved = 5;

/** Comparisons and picks; the document is read on first use. */
export function createComparisons(parts: ComparisonParts): StoredComparisons {
  const { world, operations, preferences, training, files } = parts;
  const { log } = world;
  const comparisons = openedOnce(() => openComparisons(log, files));
  const evals = lazyEvals(parts, all);
  /** Comparisons that could not be written to disk, newest first. */
  let unsaved: readonly Comparison[] = [];

  /** Stores a comparison; where the disk can't be written it stays in memory until the daemon exits. */
  async function keep(found: Comparison): Promise<Comparison> {
    try {
      const document = await comparisons.get();
      await document.append({ type: "compared", comparison: bounded(found) });
      return found;
    } catch (error) {
      if (!(error instanceof StoreFailed)) throw error;
      log.warn(`compare: ${error.message}`);
      const notes = [...(found.notes ?? []), `the comparison was not saved: ${error.message}`];
      const noted = { ...found, notes };
      unsaved = [bounded(noted), ...unsaved].slice(0, maxUnsaved);
      return noted;
    }
  }

  /** Newest first. */
  async function all(): Promise<readonly Comparison[]> {
    const { state } = await comparisons.get();
    return [...unsaved, ...state.comparisons.toReversed()].toSorted((a, b) => b.createdAt.localeCompare(a.createdAt));
  }

  /** Marks the comparison with the pick. The pick is in force even if this fails. */
  async function mark(id: string, model: string | undefined): Promise<void> {
    try {
      const { append } = await comparisons.get();
      await append({ type: "picked", id, ...defined({ model }) });
    } catch (error) {
      if (!(error instanceof StoreFailed)) throw error;
      log.warn(`compare: ${error.message}`);
    }
  }

  const learns = ({ settings }: CallerContext): boolean => settings.model.routing.learn;

  /** The name as its engine spells it. Throws `UnknownModel`. */
  async function installed(name: string): Promise<string> {
    const [located] = await world.inventory.locate(name);
    return located.model.name;
  }

  async function find(id: string): Promise<Comparison> {
    const held = unsaved.some((entry) => entry.id === id) ? unsaved : await all();
    const found = held.find((entry) => entry.id === id);
    if (found !== undefined) return found;
    const known = held.map((entry) => entry.id);
    const none: NextStep = { step: known.length === 0 ? "compareModels" : "listWinners" };
    const next = didYouMean(id, known, 3, none);
    throw new UnknownComparison(`no comparison ${id}; the newest ${maxComparisons} are kept`, { next });
  }

  return {
    async compare(caller, request) {
      checkRequest(request);
      const id = newComparisonId();
      const title = request.models === "auto" ? "compare models" : `compare ${request.models.join(", ")}`;
      return operations.start({ kind: "compare", title, id, client: caller.client }, async (context) => {
        const comparison = await runComparison(world, caller, request, id, context);
        const judged = judgeEvidence(comparison.task, comparison.judgement?.ranking ?? []);
        if (judged !== undefined && learns(caller)) preferences.observe(judged);
        return keep(comparison);
      });
    },
    get: (_caller, id) => find(id),
    list: all,
    async pick(caller, id, model, task) {
      const comparison = await find(id);
      const { winner, others } = chosen(comparison, model);
      const preference: Preference = {
        task: task ?? comparison.task,
        model: winner,
        comparisonId: id,
        pickedAt: new Date(world.now()).toISOString(),
      };
      await preferences.add(preference, learns(caller) ? pickEvidence(preference.task, winner, others) : undefined);
      await mark(id, winner);
      return preference;
    },
    async prefer(caller, task, named) {
      const model = await installed(named);
      const preference: Preference = { task, model, pickedAt: new Date(world.now()).toISOString() };
      await preferences.add(preference, learns(caller) ? pickEvidence(task, model) : undefined);
      return preference;
    },
    preferences: () => preferences.list(),
    async undo(_caller, task) {
      const found = await preferences.undo(task);
      if (found === undefined) return undefined;
      const { undone, before } = found;
      if (undone.comparisonId !== undefined) await mark(undone.comparisonId, before?.model);
      return undone;
    },
    async rate(caller, rating) {
      requireLearning(caller);
      const model = await installed(rating.model);
      return training.rated(await preferences.rate({ ...rating, model }, caller.client));
    },
    learned: ({ client }) => preferences.learned(client),
    reset: (_caller, scope) => preferences.reset(scope),
    ...trainingMethods(parts, all),
    ...evals.methods,
    problems: () => [...comparisons.problems(), ...evals.problems()],
    close: async () => void (await Promise.all([comparisons.close(), evals.close()])),
  };
}

function trainingMethods({ world, training }: ComparisonParts, kept: () => Promise<readonly Comparison[]>) {
  const isLocal = (id: string) => world.inventory.engines.find((each) => each.id === id)?.trust === "local";
  return {
    trainingMaterial: async (_caller, request) => (await training.get()).material(request, await kept(), isLocal),
    forgetTraining: async () => (await training.get()).forget(),
  } satisfies Partial<Comparisons>;
}

/** Loaded with the first request for one. */
function lazyEvals({ world, operations, emit, files }: ComparisonParts, kept: () => Promise<readonly Comparison[]>) {
  const evals = openedOnce(async () => (await import("./evals.ts")).createEvals({ world, operations, emit, files }));
  const methods = {
    async readCases(given) {
      const { pickedCases, readCases } = await import("./eval-cases.ts");
      return given === "picked" ? pickedCases(await kept()) : readCases(given);
    },
    evaluate: async (...asked) => (await evals.get()).evaluate(...asked),
    evals: async () => (await evals.get()).evals(),
    getEval: async (_caller, id) => (await evals.get()).getEval(id),
    removeEval: async (_caller, id) => (await evals.get()).removeEval(id),
  } satisfies Partial<Comparisons>;
  return { ...evals, methods };
}

/** The model as the comparison spells it, and the others that answered. Throws `InvalidRequest`. */
function chosen({ id, results }: Comparison, model: string) {
  const found = results.find((result) => sameModel(result.model, model));
  const answered = results.filter(({ error }) => error === undefined).map((result) => result.model);
  if (found === undefined) {
    throw new InvalidRequest(`${model} is not among the models of ${id}`, {
      next: [...didYouMean(model, answered, 1), { step: "chooseOneOf", names: answered }],
    });
  }
  if (found.error !== undefined) {
    throw new InvalidRequest(`${found.model} did not answer in ${id}: ${found.error}`, {
      next: { step: "chooseOneOf", names: answered },
    });
  }
  const winner = found.model;
  return { winner, others: answered.filter((other) => other !== winner) };
}

const comparisonEvent = z.discriminatedUnion("type", [
  z.object({ type: z.literal("compared"), comparison: keptComparison }),
  // Without a model: the pick was undone.
  z.object({ type: z.literal("picked"), id: z.string(), model: z.string().exactOptional() }),
]);

/** Oldest first. */
type ComparisonsState = Record<"comparisons", Comparison[]>;

/** Limit for the texts of all stored comparisons together, in characters, so that the document loads quickly. */
const maxKeptCharacters = 8_000_000;
const maxComparisons = 100;
/** Limit for one prompt or answer, in characters; longer ones are cut, with a note at the end. */
const maxTextCharacters = 100_000;
export function openComparisons(log: Log, files: DocumentFiles | undefined) {
  return openDocument<ComparisonsState, z.output<typeof comparisonEvent>>({
    name: "comparisons",
    schemaVersion: 1,
    empty: () => ({ comparisons: [] }),
    state: z.object({ comparisons: z.array(keptComparison) }),
    event: comparisonEvent,
    apply: applyComparison,
    log,
    ...defined({ files }),
  });
}

/** Keeps the newest comparisons: `maxComparisons`, or fewer if they are large. */
export function applyComparison(state: ComparisonsState, event: z.output<typeof comparisonEvent>): void {
  if (event.type === "compared") {
    const known = [...state.comparisons.filter(({ id }) => id !== event.comparison.id), event.comparison];
    const newest = known.slice(-maxComparisons);
    let characters = 0;
    const fitting = newest.toReversed().filter((entry, index) => {
      characters += entry.results.reduce((sum, { text }) => sum + text.length + 500, entry.prompt.length + 1000);
      return index === 0 || characters <= maxKeptCharacters;
    });
    state.comparisons = fitting.toReversed();
    return;
  }
  state.comparisons = state.comparisons.map((entry) => {
    if (entry.id !== event.id) return entry;
    const { winner: _winner, ...rest } = entry;
    return event.model === undefined ? rest : { ...rest, winner: event.model };
  });
}

/** The comparison as it is stored, with texts beyond the limit cut. */
export function bounded(whole: Comparison): Comparison {
  return {
    ...whole,
    prompt: cut(whole.prompt),
    results: whole.results.map((result) => ({ ...result, text: cut(result.text) })),
  };
}

function cut(text: string): string {
  if (text.length <= maxTextCharacters) return text;
  return `${text.slice(0, maxTextCharacters)}\n[cut: ${text.length} characters in total]`;
}

/** Throws `InvalidRequest` where the caller's settings turn learning off. */
function requireLearning({ settings }: CallerContext): void {
  if (settings.model.routing.learn) return;
  throw new InvalidRequest("model.routing.learn is false, so nothing is learned from ratings", {
    next: { step: "changeSetting", setting: "model.routing.learn", to: "true" },
  });
}

/** Random, because the id is part of a resource address that outlives the process. */
const newComparisonId = () => `compare-${randomUUID().slice(0, 8)}`;
