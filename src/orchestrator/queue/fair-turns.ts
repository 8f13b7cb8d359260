import { fairTurn } from "../scheduler/queue-order.ts";

/** Whose turn counts as one: what a caller has in the background must not set back what it waits for. */
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
 * Turns of callers (`fairTurn`), reckoned with who waits now: whoever leaves without an answer hasn't used a turn up.
 */
export interface FairTurns {
  /** The turn that was served last. */
  now(): number;
  /** `waiting`: in the order of arrival. */
  of<Request extends TurnTaker>(waiting: readonly Request[]): ReadonlyMap<Request, number>;
  /** One of `waiting` is served; its caller is charged the first turn that it had, whichever request that was for. */
  served(waiting: readonly TurnTaker[], request: TurnTaker): void;
}

export function createFairTurns(): FairTurns {
  let newest = 0;
  /** Flow → the turn of its that was served last. */
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
      // Who waits for nothing and is behind anyway begins anew.
      const awaited = new Set(waiting.map(keyOf));
      for (const [flow, its] of last) if (its < newest && !awaited.has(flow)) last.delete(flow);
    },
  };
}
