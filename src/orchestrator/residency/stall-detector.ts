import { modelId } from "../models/located-model.ts";
import type { Timers } from "../util/timers.ts";

/**
 * Detects models that produce no token for waiting requests while their engine may still answer for others: a single
 * process of an engine may hang.
 */
export interface StallDetector {
  /** A request was sent to the model; its first token may take `patienceMs`. */
  begin(engineId: string, model: string, patienceMs: number): Waiting;
  /** One sentence for each stalled model. */
  problems(engineId: string): readonly string[];
  close(): void;
}

export interface Waiting {
  /** The model made progress. */
  progress(): void;
  end(): void;
}

interface WatchedModel {
  readonly engineId: string;
  readonly model: string;
  waiting: number;
  patienceMs: number;
  lastProgressMs: number;
  cancel: (() => void) | undefined;
  problem: string | undefined;
}

export function createStallDetector(parts: { readonly timers: Timers; readonly changed: () => void }): StallDetector {
  const { timers } = parts;
  const models = new Map<string, WatchedModel>();

  function setProblem(watched: WatchedModel, problem: string | undefined): void {
    if (watched.problem === problem) return;
    watched.problem = problem;
    parts.changed();
  }

  function watch(watched: WatchedModel): void {
    watched.cancel?.();
    const leftMs = watched.lastProgressMs + watched.patienceMs - timers.now();
    if (leftMs > 0) watched.cancel = timers.after(leftMs, () => watch(watched));
    else {
      const { engineId, model, patienceMs } = watched;
      setProblem(watched, `${model} has produced no token for ${Math.round(patienceMs / 1_000)} s on ${engineId}`);
    }
  }

  return {
    begin(engineId, model, patienceMs) {
      const id = modelId(engineId, model);
      const known = models.get(id);
      const fresh = { engineId, model, waiting: 0, patienceMs: 0, lastProgressMs: timers.now() };
      const watched: WatchedModel = known ?? { ...fresh, cancel: undefined, problem: undefined };
      models.set(id, watched);
      watched.waiting += 1;
      watched.patienceMs = Math.max(watched.patienceMs, patienceMs);
      if (watched.problem === undefined) watch(watched);
      return {
        progress() {
          watched.lastProgressMs = timers.now();
          if (watched.problem === undefined) return;
          setProblem(watched, undefined);
          watch(watched);
        },
        end() {
          watched.waiting -= 1;
          if (watched.waiting > 0) return;
          watched.cancel?.();
          models.delete(id);
          setProblem(watched, undefined);
        },
      };
    },
    problems: (id) => [...models.values()].flatMap(({ engineId, problem }) => (engineId === id && problem) || []),
    close() {
      for (const { cancel } of models.values()) cancel?.();
      models.clear();
    },
  };
}
