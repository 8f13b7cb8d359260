import { LoadFailed, OutOfMemory } from "../api/errors.ts";
import { advice, type NextStep } from "../api/next-step.ts";
import type { LoadPlan } from "../api/load-plan.ts";
import type { Report } from "../engines/engine.ts";
import type { Estimates } from "./estimates.ts";
import type { Inventory } from "../catalog/inventory.ts";
import type { LocatedModel } from "../catalog/located-model.ts";
import { formatBytes } from "../util/format-bytes.ts";
import type { Decisions } from "./decisions.ts";
import { largestWithin, lowerContext, smallerContext } from "./does-not-fit.ts";
import type { Plans } from "./plans.ts";
import type { RoomMaker } from "./room.ts";

/**
 * The prediction was too low by an unknown amount. The size of the failed allocation, if the engine reports it, is a
 * lower bound; errors of more than a quarter have not been observed.
 */
const shortfallShare = 1 / 4;

interface RetryParts {
  readonly rooms: Pick<RoomMaker, "evictMore">;
  readonly plans: Pick<Plans, "state">;
  readonly decisions: Pick<Decisions, "note">;
  readonly inventory: Pick<Inventory, "recentLists">;
  readonly estimates: Estimates;
}

/** The second attempt of a load that ran out of memory. */
export class LoadRetry {
  readonly #parts: RetryParts;

  constructor(parts: RetryParts) {
    this.#parts = parts;
  }

  /**
   * Runs `attempt`, a load that room was made for. If the engine still runs out of memory, evicts more and runs it once
   * more. Throws `OutOfMemory`, with what would fit, if nothing more can be evicted or the second attempt failed, and
   * `LoadFailed` if the engine's process was killed while there was enough memory.
   */
  async run(
    located: LocatedModel,
    made: LoadPlan,
    attempt: () => Promise<unknown>,
    report: Report,
    signal: AbortSignal,
  ): Promise<void> {
    const { rooms, decisions } = this.#parts;
    let evicted: readonly string[] = [];
    for (;;) {
      try {
        await attempt();
        return;
      } catch (error) {
        if (!(error instanceof OutOfMemory)) throw error;
        const freeBytes = error.wasKilled ? await this.#ampleBytes(located, made) : undefined;
        if (freeBytes !== undefined) throw killed(made, freeBytes, error);
        const isSecond = evicted.length > 0;
        const bytes = Math.max(error.allocationBytes ?? 0, made.estimate.predictedBytes * shortfallShare);
        if (!isSecond) evicted = await rooms.evictMore(located, bytes, report, signal);
        if (isSecond || evicted.length === 0) throw await this.#outOfMemory(located, made, error, evicted, signal);
        const steps = [error.message, ...evicted.map((name) => `unload ${name}`), `load ${made.model} again`];
        decisions.note({ kind: "replan", model: made.model, engine: made.engine, steps, plan: made });
      }
    }
  }

  async #outOfMemory(
    located: LocatedModel,
    made: LoadPlan,
    error: OutOfMemory,
    evicted: readonly string[],
    signal: AbortSignal,
  ): Promise<OutOfMemory> {
    const { inventory, estimates } = this.#parts;
    const boundBytes = made.estimate.predictedBytes * (1 - shortfallShare);
    const smaller = largestWithin(await inventory.recentLists(), boundBytes, made.model, estimates.quick);
    const smallerTokens = await smallerContext(
      made,
      async (tokens) => (await estimates.of(located, tokens, signal)).predictedBytes <= boundBytes,
    );
    const predicted = formatBytes(made.estimate.predictedBytes);
    const also = evicted.length === 0 ? "" : `, even after unloading ${evicted.join(", ")}`;
    const numbers = `predicted ${predicted} at ${made.contextTokens} tokens of context, free ${formatBytes(made.freeBytes)}`;
    const next: NextStep[] = [
      ...lowerContext(smallerTokens),
      ...(smaller === undefined
        ? [advice("free memory"), { step: "pullModelThat", that: "that is smaller" } as const]
        : [{ step: "useModel", model: smaller.name, because: `${formatBytes(smaller.sizeBytes)}, smaller` } as const]),
    ];
    return new OutOfMemory(`out of memory while loading ${made.model}${also} (${numbers}): ${error.message}`, {
      next,
      allocationBytes: error.allocationBytes,
      cause: error,
    });
  }

  /**
   * The available bytes if they rule out a lack of memory: after a process was killed for it, hardly more is available
   * than the process held. Undefined otherwise, or if they can't be measured.
   */
  async #ampleBytes({ engine, model }: LocatedModel, { estimate }: LoadPlan): Promise<number | undefined> {
    const state = await this.#parts.plans.state(engine, model, 0);
    if (state === undefined || state.isOverridden) return undefined;
    // The engine may have run out of a graphics card's memory, whatever RAM is available.
    if (state.mayUseGpus === true && (state.gpus ?? []).length > 0) return undefined;
    const heldBytes = estimate.predictedBytes * (1 + shortfallShare);
    return state.availableBytes > heldBytes + state.bufferBytes ? state.availableBytes : undefined;
  }
}

function killed({ model, estimate }: LoadPlan, freeBytes: number, error: OutOfMemory): LoadFailed {
  const numbers = `${formatBytes(freeBytes)} available, about ${formatBytes(estimate.predictedBytes)} needed`;
  return new LoadFailed(
    `the process that loaded ${model} was killed, not for lack of memory (${numbers}): ${error.message}`,
    {
      next: [
        { step: "retry" },
        advice("look for a memory limit on the engine's container or service, or for a program that ends the process"),
      ],
      cause: error,
    },
  );
}
