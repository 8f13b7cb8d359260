import type { DocumentFiles } from "../documents/files.ts";
import { InvalidRequest, StoreFailed, UnknownComparison } from "../errors.ts";
import type { Comparison, Comparisons, Preference } from "../facade-compare.ts";
import type { Task } from "../facade.ts";
import type { GenerationWorld } from "../generation/runner.ts";
import type { Operations } from "../operations/operations.ts";
import { sameModel } from "../store/model-name.ts";
import { nearestNames } from "../text/nearest.ts";
import { checkRequest } from "./contestants.ts";
import { bounded, openComparisons, openPreferences } from "./kept.ts";
import { newComparisonId, runComparison } from "./run-comparison.ts";

export interface ComparisonParts {
  /** Its clock, log, engines, loader and queues. */
  readonly world: GenerationWorld;
  readonly operations: Operations;
  readonly files?: DocumentFiles;
}

export interface ComparisonsWithPreferences extends Comparisons {
  /** What the user prefers for the task; undefined before any was picked. Never throws. */
  preferred(task: Task): Promise<Preference | undefined>;
  close(): Promise<void>;
}

/** Comparisons and picks, kept in two documents that are read when they are first needed. */
export function createComparisons({ world, operations, files }: ComparisonParts): ComparisonsWithPreferences {
  const { log } = world;
  const comparisons = once(() => openComparisons(log, files));
  const preferences = once(() => openPreferences(log, files));

  /** A comparison that took minutes is worth more than its place on the disk. */
  async function keep(found: Comparison): Promise<Comparison> {
    try {
      const document = await comparisons.get();
      await document.append({ type: "compared", comparison: bounded(found) });
      return found;
    } catch (error) {
      if (!(error instanceof StoreFailed)) throw error;
      log.warn(`compare: ${error.message}`);
      return { ...found, notes: [...(found.notes ?? []), `it could not be kept: ${error.message}`] };
    }
  }

  async function find(id: string): Promise<Comparison> {
    const { state } = await comparisons.get();
    const found = state.comparisons.find((entry) => entry.id === id);
    if (found !== undefined) return found;
    const known = state.comparisons.map((entry) => entry.id).toReversed();
    const nearest = nearestNames(id, known, 3);
    const hint =
      known.length === 0
        ? "call compare first"
        : `${nearest.length > 0 ? `nearest: ${nearest.join(", ")}` : `newest: ${known.slice(0, 3).join(", ")}`}; the newest 100 are kept`;
    throw new UnknownComparison(`no comparison ${id}`, { hint });
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
    list: async () => (await comparisons.get()).state.comparisons.toReversed(),
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
      await (await comparisons.get()).append({ type: "picked", id, model: picked });
      return preference;
    },
    preferences: async () => newestOfEach((await preferences.get()).state.preferences),
    async undo(_caller, task) {
      const document = await preferences.get();
      const last = document.state.preferences.findLast((entry) => entry.task === task);
      if (last === undefined) return undefined;
      await document.append({ type: "undone", task });
      const { state, append } = await comparisons.get();
      const isKept = state.comparisons.some(({ id, winner }) => id === last.comparisonId && winner === last.model);
      if (isKept) await append({ type: "picked", id: last.comparisonId });
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
      hint:
        nearest === undefined
          ? `pick one of ${answered.join(", ")}`
          : `nearest: ${nearest}; there are ${answered.join(", ")}`,
    });
  }
  if (found.error !== undefined) {
    throw new InvalidRequest(`${found.model} did not answer in ${id}: ${found.error}`, {
      hint: `pick one of ${answered.join(", ")}`,
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
  return {
    get() {
      pending ??= open().catch((error: unknown) => {
        pending = undefined;
        throw error;
      });
      return pending;
    },
    opened: () => pending,
  };
}
