import { Cancelled } from "../errors.ts";
import type { LoadResult } from "../facade.ts";
import type { Waiting } from "./queue-view.ts";
import type { QueueRequest, Use } from "./queue-world.ts";

/** A waiting request, and the callbacks that answer it. */
export interface Waiter extends Waiting {
  /** Undefined: its model is only to be loaded. */
  readonly grant: ((use: Use) => void) | undefined;
  readonly loaded: (result: LoadResult) => void;
  readonly reject: (error: unknown) => void;
  /** What its caller was told last of why it waits, and the log of decisions of the memory that it waits for. */
  told: string | undefined;
  noted: string | undefined;
  /** Whether it was asked, once what there is of its model was seen, if it can be served in time. */
  isWeighed: boolean;
}

/** Those who wait, in the order of their arrival. */
export interface Waiters {
  all(): readonly Waiter[];
  ofModel(id: string): readonly Waiter[];
  has(waiter: Waiter): boolean;
  /** The answer rejects at once when the signal is aborted already, and calls `onAbort` when it is while it waits. */
  add<Result>(
    request: QueueRequest,
    arrival: Pick<Waiter, "arrivedMs" | "arrivedTurn">,
    onAbort: (waiter: Waiter) => void,
    /** How the waiter that is being made answers. */
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
          told: undefined,
          noted: undefined,
          isWeighed: false,
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

/** What a request is told that was cancelled while it waited. */
export function cancelled({ located, signal }: QueueRequest): Cancelled {
  return new Cancelled(`waiting for ${located.model.name} was cancelled`, { cause: signal.reason });
}
