import { fairTurn } from "./decide/queue-order.ts";

/** Requests that share turns: background requests of a caller must not delay its others. */
interface Flow {
  readonly caller: string;
  readonly priority: number;
}

/** A waiting request. */
export interface TurnTaker extends Flow {
  /** `now()` at its arrival. */
  readonly arrivedTurn: number;
}

/**
 * Turns of callers (`fairTurn`), computed from the requests that wait now: one that leaves without an answer uses no
 * turn.
 */
export interface FairTurns {
  /** The highest turn that was served. */
  now(): number;
  /** `waiting`: in the order of arrival. */
  of<Request extends TurnTaker>(waiting: readonly Request[]): ReadonlyMap<Request, number>;
  /** A request of `waiting` is served; its caller is charged the first of its turns, whichever request that is for. */
  served(waiting: readonly TurnTaker[], request: TurnTaker): void;
}

export function createFairTurns(): FairTurns {
  let newest = 0;
  /** Flow → its turn that was served last. */
  const last = new Map<string, number>();
  const keyOf = ({ caller, priority }: Flow) => `${priority} ${caller}`;

  function of<Request extends TurnTaker>(waiting: readonly Request[]): ReadonlyMap<Request, number> {
    const previous = new Map(last);
    const turns = new Map<Request, number>();
    for (const request of waiting) {
      const key = keyOf(request);
      const turn = fairTurn(request.arrivedTurn, previous.get(key));
      previous.set(key, turn);
      turns.set(request, turn);
    }
    return turns;
  }

  return {
    now: () => newest,
    of,
    served(waiting, request) {
      const key = keyOf(request);
      const first = waiting.find((each) => keyOf(each) === key) ?? request;
      const turn = of([first]).get(first) ?? newest;
      newest = Math.max(newest, turn);
      last.set(key, turn);
      // Flows without waiting requests that have fallen behind start over.
      const awaited = new Set(waiting.map(keyOf));
      for (const [flow, its] of last) if (its < newest && !awaited.has(flow)) last.delete(flow);
    },
  };
}
