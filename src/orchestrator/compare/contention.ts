import type { GenerationWorld } from "../generation/runner.ts";
import type { Observations } from "../memory/measure/observations.ts";

/** Detects whether other requests run on the same cores while one model answers. */
export interface ContentionWatch {
  /** Checks now; called at each step of the generation. */
  check(): void;
  wasContended(): boolean;
}

/** `domain` is the memory domain of the answering engine; more than one running request there is contention. */
export function watchContention(world: Pick<GenerationWorld, "queues">, domain: string): ContentionWatch {
  let wasContended = false;
  return {
    check() {
      wasContended ||= runningIn(world, domain) > 1;
    },
    wasContended: () => wasContended,
  };
}

function runningIn({ queues }: Pick<GenerationWorld, "queues">, domain: string): number {
  return queues
    .snapshot()
    .filter(({ located }) => located.engine.memoryDomain === domain)
    .reduce((sum, { running }) => sum + running, 0);
}

/** Observations that ignore speeds measured under contention, which would mislead routing. */
export function observationsWithoutContention(observations: Observations, watch: ContentionWatch): Observations {
  return {
    ...observations,
    generated(key, completionTokens, decodeMs) {
      watch.check();
      // A decode time of 0 still counts as an answer, which ends a cool-down after failures.
      if (watch.wasContended()) observations.generated(key, completionTokens, 0);
      else observations.generated(key, completionTokens, decodeMs);
    },
  };
}
