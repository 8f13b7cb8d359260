import type { DocumentFiles } from "../documents/files.ts";
import { InvalidRequest, StoreFailed, UnknownComparison } from "../errors.ts";
import type { Comparison, Comparisons, Preference } from "../facade-compare.ts";
import type { Task } from "../facade.ts";
import type { GenerationWorld } from "../generation/runner.ts";
import type { NextStep } from "../next-step.ts";
import type { Operations } from "../operations/operations.ts";
import { sameModel } from "../store/model-name.ts";
import { nearestNames } from "../text/nearest.ts";
import { checkRequest } from "./contestants.ts";
import { bounded, maxComparisons, openComparisons, openPreferences } from "./kept.ts";
import { newComparisonId, runComparison } from "./run-comparison.ts";

export interface ComparisonParts {
  /** Its clock, log, engines, loader and queue. */
  readonly world: GenerationWorld;
  readonly operations: Operations;
  readonly files?: DocumentFiles;
}

export interface ComparisonsWithPreferences extends Comparisons {
  /** What the user prefers for the task; undefined before any was picked. Never throws. */
  preferred(task: Task): Promise<Preference | undefined>;
  /** What was set aside, and why. */
  problems(): readonly string[];
  close(): Promise<void>;
}

/** How many are in memory alone while the disk takes none. */
const mostUnkept = 5;

/** Comparisons and picks, kept in two documents that are read when they are first needed. */
export function createComparisons({ world, operations, files }: ComparisonParts): ComparisonsWithPreferences {
  const { log } = world;
  const comparisons = once(() => openComparisons(log, files));
  const preferences = once(() => openPreferences(log, files));
  /** Newest first; those that the disk didn't take. */
  let unkept: readonly Comparison[] = [];

  /** A comparison that took minutes is worth more than its place on the disk: it is there while the daemon lives. */
  async function keep(found: Comparison): Promise<Comparison> {
    try {
      const document = await comparisons.get();
      await document.append({ type: "compared", comparison: bounded(found) });
      return found;
    } catch (error) {
      if (!(error instanceof StoreFailed)) throw error;
      log.warn(`compare: ${error.message}`);
      const told = { ...found, notes: [...(found.notes ?? []), `it could not be kept: ${error.message}`] };
      unkept = [bounded(told), ...unkept].slice(0, mostUnkept);
      return told;
    }
  }

  /** Newest first. */
  async function all(): Promise<readonly Comparison[]> {
    const { state } = await comparisons.get();
    return [...unkept, ...state.comparisons.toReversed()].toSorted((a, b) => b.createdAt.localeCompare(a.createdAt));
  }

  /** The pick itself holds whether or not the comparison can be marked with it. */
  async function mark(id: string, model: string | undefined): Promise<void> {
    try {
      const { append } = await comparisons.get();
      await append({ type: "picked", id, ...(model === undefined ? {} : { model }) });
    } catch (error) {
      if (!(error instanceof StoreFailed)) throw error;
      log.warn(`compare: ${error.message}`);
    }
  }

  async function find(id: string): Promise<Comparison> {
    const held = unkept.some((entry) => entry.id === id) ? unkept : await all();
    const found = held.find((entry) => entry.id === id);
    if (found !== undefined) return found;
    const known = held.map((entry) => entry.id);
    const nearest = nearestNames(id, known, 3);
    const next: NextStep =
      known.length === 0
        ? { step: "compareModels" }
        : nearest.length > 0
          ? { step: "didYouMean", names: nearest }
          : { step: "listWinners" };
    throw new UnknownComparison(`no comparison ${id}; the newest ${maxComparisons} are kept`, { next });
  }

  return {
    async compare(caller, request) {
      checkRequest(request);
      const id = newComparisonId();
      const title = request.models === "auto" ? "compare models" : `compare ${request.models.join(", ")}`;
      return operations.start({ kind: "compare", title, id }, async (context) =>
        keep(await runComparison(world, caller, request, id, context)),
      );
    },
    get: (_caller, id) => find(id),
    list: all,
    async pick(_caller, id, model, task) {
      const comparison = await find(id);
      const picked = chosen(comparison, model);
      const preference: Preference = {
        task: task ?? comparison.task,
        model: picked,
        comparisonId: id,
        pickedAt: new Date(world.now()).toISOString(),
      };
      await (await preferences.get()).append({ type: "preferred", preference });
      await mark(id, picked);
      return preference;
    },
    preferences: async () => newestOfEach((await preferences.get()).state.preferences),
    async undo(_caller, task) {
      const document = await preferences.get();
      const last = document.state.preferences.findLast((entry) => entry.task === task);
      if (last === undefined) return undefined;
      await document.append({ type: "undone", task });
      const before = document.state.preferences.findLast((entry) => entry.comparisonId === last.comparisonId);
      await mark(last.comparisonId, before?.model);
      return last;
    },
    async preferred(task) {
      try {
        return (await preferences.get()).state.preferences.findLast((entry) => entry.task === task);
      } catch (error) {
        // Routing must go on without it.
        log.warn(`preferences: ${error instanceof Error ? error.message : String(error)}`);
        return undefined;
      }
    },
    problems: () => [comparisons, preferences].flatMap(({ found }) => found()?.problems ?? []),
    async close() {
      const opened = [comparisons.opened(), preferences.opened()].filter((document) => document !== undefined);
      await Promise.all(opened.map(async (document) => (await document).close()));
    },
  };
}

/** The name as the comparison has it. Throws `InvalidRequest`. */
function chosen({ id, results }: Comparison, model: string): string {
  const found = results.find((result) => sameModel(result.model, model));
  const answered = results.filter(({ error }) => error === undefined).map((result) => result.model);
  if (found === undefined) {
    const [nearest] = nearestNames(model, answered, 1);
    throw new InvalidRequest(`${model} is none of the models of ${id}`, {
      next: [
        ...(nearest === undefined ? [] : [{ step: "didYouMean", names: [nearest] } as const]),
        { step: "chooseOneOf", names: answered },
      ],
    });
  }
  if (found.error !== undefined) {
    throw new InvalidRequest(`${found.model} did not answer in ${id}: ${found.error}`, {
      next: { step: "chooseOneOf", names: answered },
    });
  }
  return found.model;
}

/** What holds: the newest of each task, the newest first. */
function newestOfEach(all: readonly Preference[]): readonly Preference[] {
  return all.toReversed().filter((entry, index, rest) => rest.findIndex(({ task }) => task === entry.task) === index);
}

/** Opened at the first use, and again when that failed. */
function once<Document>(open: () => Promise<Document>) {
  let pending: Promise<Document> | undefined;
  let document: Document | undefined;
  return {
    get() {
      pending ??= open().then(
        (found) => (document = found),
        (error: unknown) => {
          pending = undefined;
          throw error;
        },
      );
      return pending;
    },
    opened: () => pending,
    found: () => document,
  };
}
