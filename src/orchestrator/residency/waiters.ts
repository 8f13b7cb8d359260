import { Cancelled } from "../api/errors.ts";
import type { LoadResult } from "../api/facade.ts";
import type { Waiting } from "./queue-view.ts";
import type { QueueRequest, Use } from "./queue-world.ts";

/** A waiting request, and the callbacks that answer it. */
export interface Waiter extends Waiting {
  /** Undefined if the model is only to be loaded. */
  readonly grant: ((use: Use) => void) | undefined;
  readonly loaded: (result: LoadResult) => void;
  readonly reject: (error: unknown) => void;
  /** The last reasons for the wait that its caller and the log of decisions got. */
  reported: string | undefined;
  noted: string | undefined;
  /** Whether its expected wait was compared with `maxWaitMs`. */
  isChecked: boolean;
}

/** The waiting requests, in the order of their arrival. */
export interface Waiters {
  all(): readonly Waiter[];
  ofModel(id: string): readonly Waiter[];
  has(waiter: Waiter): boolean;
  /** Rejects at once if the signal is already aborted; calls `onAbort` if it is aborted during the wait. */
  add<Result>(
    request: QueueRequest,
    arrival: Pick<Waiter, "arrivedMs" | "arrivedTurn">,
    onAbort: (waiter: Waiter) => void,
    /** Creates the callbacks of the new waiter. */
    answers: (waiter: () => Waiter, resolve: (result: Result) => void) => Pick<Waiter, "grant" | "loaded">,
  ): Promise<Result>;
  leave(waiter: Waiter): void;
  fail(waiter: Waiter, error: unknown): void;
}

export function createWaiters(): Waiters {
  let waiting: readonly Waiter[] = [];
  let arrivals = 0;

  function leave(waiter: Waiter): void {
    waiting = waiting.filter((each) => each !== waiter);
  }

  return {
    all: () => waiting,
    ofModel: (id) => waiting.filter((waiter) => waiter.id === id),
    has: (waiter) => waiting.includes(waiter),
    add(request, arrival, onAbort, answers) {
      const { signal } = request;
      return new Promise((resolve, reject) => {
        if (signal.aborted) {
          reject(cancelled(request));
          return;
        }
        const abort = () => onAbort(waiter);
        const done = () => signal.removeEventListener("abort", abort);
        const waiter: Waiter = {
          ...request,
          number: String((arrivals += 1)),
          ...arrival,
          overtakenSinceMs: undefined,
          loadMs: 0,
          reported: undefined,
          noted: undefined,
          isChecked: false,
          ...answers(
            () => waiter,
            (result) => {
              done();
              resolve(result);
            },
          ),
          reject(error) {
            done();
            reject(error instanceof Error ? error : new Error(String(error)));
          },
        };
        signal.addEventListener("abort", abort, { once: true });
        waiting = [...waiting, waiter];
      });
    },
    leave,
    fail(waiter, error) {
      leave(waiter);
      waiter.reject(error);
    },
  };
}

/** The error of a request that was cancelled while it waited. */
export function cancelled({ located, signal }: QueueRequest): Cancelled {
  return new Cancelled(`waiting for ${located.model.name} was cancelled`, { cause: signal.reason });
}
