import type { Timers } from "../async/timers.ts";
import { modelId } from "../inventory/model-id.ts";

/**
 * Models of which requests wait, and that give no token, while their engine may answer for others: one of its processes
 * may hang alone.
 */
export interface Silences {
  /** A request is sent to the model; it may take so long to its first token. */
  begin(engineId: string, model: string, patienceMs: number): Waiting;
  /** A sentence each. */
  problems(engineId: string): readonly string[];
  close(): void;
}

export interface Waiting {
  /** It was heard of. */
  heard(): void;
  end(): void;
}

interface Silence {
  readonly engineId: string;
  readonly model: string;
  waiting: number;
  patienceMs: number;
  lastHeardMs: number;
  cancel: (() => void) | undefined;
  problem: string | undefined;
}

export function createSilences(parts: { readonly timers: Timers; readonly changed: () => void }): Silences {
  const { timers } = parts;
  const silences = new Map<string, Silence>();

  function setProblem(silence: Silence, problem: string | undefined): void {
    if (silence.problem === problem) return;
    silence.problem = problem;
    parts.changed();
  }

  function watch(silence: Silence): void {
    silence.cancel?.();
    const leftMs = silence.lastHeardMs + silence.patienceMs - timers.now();
    if (leftMs > 0) silence.cancel = timers.after(leftMs, () => watch(silence));
    else {
      const { engineId, model, patienceMs } = silence;
      setProblem(silence, `${model} has given no token for ${Math.round(patienceMs / 1_000)} s on ${engineId}`);
    }
  }

  return {
    begin(engineId, model, patienceMs) {
      const id = modelId(engineId, model);
      const known = silences.get(id);
      const fresh = { engineId, model, waiting: 0, patienceMs: 0, lastHeardMs: timers.now() };
      const silence: Silence = known ?? { ...fresh, cancel: undefined, problem: undefined };
      silences.set(id, silence);
      silence.waiting += 1;
      silence.patienceMs = Math.max(silence.patienceMs, patienceMs);
      if (silence.problem === undefined) watch(silence);
      return {
        heard() {
          silence.lastHeardMs = timers.now();
          if (silence.problem === undefined) return;
          setProblem(silence, undefined);
          watch(silence);
        },
        end() {
          silence.waiting -= 1;
          if (silence.waiting > 0) return;
          silence.cancel?.();
          silences.delete(id);
          setProblem(silence, undefined);
        },
      };
    },
    problems: (id) => [...silences.values()].flatMap(({ engineId, problem }) => (engineId === id && problem) || []),
    close() {
      for (const { cancel } of silences.values()) cancel?.();
      silences.clear();
    },
  };
}
