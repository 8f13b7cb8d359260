import { Cancelled, OrchestratorError, UnknownJob } from "../errors.ts";
import type { Job, Jobs } from "../facade.ts";
import type { Operation, OperationState } from "../types.ts";

interface Kept {
  readonly operation: Operation<unknown>;
  readonly settled: Promise<void>;
  readonly view: () => Job;
}

/** Keeps operations that their calls have let go of, in memory. */
export function createJobs(now: () => number): Jobs {
  const kept = new Map<string, Kept>();

  const find = (id: string): Kept => {
    const found = kept.get(id);
    if (found === undefined) throw new UnknownJob(`no job ${id}`, { hint: "call job with action list" });
    return found;
  };

  return {
    adopt(caller, { tool, operation, outcome }) {
      let ended: Partial<Job> & { state?: OperationState } = {};
      const settled = outcome.then(
        (result) => {
          ended = { state: "succeeded", result, endedAt: new Date(now()).toISOString() };
        },
        (error: unknown) => {
          const isCancelled = error instanceof Cancelled;
          const text = error instanceof OrchestratorError ? error.message : String(error);
          ended = { state: isCancelled ? "cancelled" : "failed", endedAt: new Date(now()).toISOString() };
          if (!isCancelled) ended = { ...ended, error: text };
        },
      );
      const startedAt = new Date(operation.startedAtMs).toISOString();
      const view = (): Job => {
        const progress = operation.progress();
        const partial = operation.partial();
        return {
          id: operation.id,
          kind: operation.kind,
          title: operation.title,
          tool,
          client: caller.client,
          state: "running",
          startedAt,
          ...(progress === undefined ? {} : { progress }),
          ...(partial === undefined ? {} : { partial }),
          ...ended,
        };
      };
      operation.detach();
      kept.set(operation.id, { operation, settled, view });
      return view();
    },
    list: () => [...kept.values()].map(({ view }) => view()).toReversed(),
    get: (_caller, id) => find(id).view(),
    async wait(caller, id, { maxWaitMs }) {
      const { settled, view } = find(id);
      const bound = AbortSignal.any([caller.signal, AbortSignal.timeout(maxWaitMs)]);
      await Promise.race([settled, new Promise((resolve) => bound.addEventListener("abort", resolve, { once: true }))]);
      return view();
    },
    async cancel(_caller, id) {
      const { operation, settled, view } = find(id);
      operation.cancel();
      await settled;
      return view();
    },
  };
}
