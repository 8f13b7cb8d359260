import type { GenerationWorld } from "../generation/runner.ts";
import type { Observations } from "../observations/observations.ts";

/** Watches, while one model answers, whether another one computes on the same cores. */
export interface ContentionWatch {
  /** Looks now; called at each step of the generation. */
  look(): void;
  wasContended(): boolean;
}

/** `domain`: of the engine that answers. Its own request may be the only one there. */
export function watchContention(world: Pick<GenerationWorld, "queues">, domain: string): ContentionWatch {
  let wasContended = false;
  return {
    look() {
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

/** Observations that forget speeds measured while others computed: routing would trust them for good. */
export function quietObservations(observations: Observations, watch: ContentionWatch): Observations {
  return {
    ...observations,
    generated(key, completionTokens, decodeMs) {
      watch.look();
      // Without a time it counts as an answer all the same, and ends what failures before it began.
      if (watch.wasContended()) observations.generated(key, completionTokens, 0);
      else observations.generated(key, completionTokens, decodeMs);
    },
  };
}
