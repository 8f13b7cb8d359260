import { matchesName, overridesOf } from "../catalog/model-overrides.ts";
import { InvalidRequest } from "../api/errors.ts";
import { keyOfName } from "../util/model-name.ts";
import type { Settings } from "../config/schema.ts";
import type { ModelOverrides } from "../api/types.ts";

/**
 * Which models are pinned, and the keep-alive of each. A pinned model is not evicted and its keep-alive never ends.
 *
 * | pinned by                             | until                                                     |
 * |---------------------------------------|-----------------------------------------------------------|
 * | `pin`                                 | `unpin`, or the end of the process                        |
 * | a pattern of `model.keepAlive.models` | `unpin`; pinned again by its next load or by new patterns |
 *
 * With `model.keepAlive.enabled: false` nothing is pinned.
 */
export interface Pins {
  isPinned(name: string): boolean;
  /** Throws `InvalidRequest` while the settings forbid pins. */
  pin(name: string): void;
  unpin(name: string): void;
  /** The model was loaded, so that patterns pin it again. */
  wasLoaded(name: string): void;
  /** Keep-alive of a load, in seconds; negative: never unloaded. Undefined: the engine decides. */
  keepAliveForLoad(name: string, asked?: number): number | undefined;
  /** Keep-alive of an answer, in seconds; 0: unload at once. Undefined: that of its load. */
  keepAliveForAnswer(name: string, asked?: number): number | undefined;
}

/** Anything longer means "never": Ollama counts nanoseconds in 64 bits, and unloads at once on overflow. */
const longestSeconds = 10 * 365 * 86_400;
/** A load with keep-alive 0 would be undone at once; the answer that follows it sends 0. */
const shortestLoadSeconds = 60;

/** `settings` is called on each use. */
export function createPins(settings: () => Settings): Pins {
  const pinned = new Set<string>();
  /** Model → the patterns in force when it was unpinned. */
  const unpinned = new Map<string, string>();

  function isPinned(name: string): boolean {
    const { enabled, models } = settings().model.keepAlive;
    const key = keyOfName(name);
    if (!enabled || pinned.has(key)) return enabled;
    const matchesPattern = models.some((pattern) => matchesName(pattern, name));
    return matchesPattern && unpinned.get(key) !== JSON.stringify(models);
  }

  function configuredSeconds(name: string): number {
    const { model, models } = settings();
    const ofModel = overridesOf(models as Readonly<Record<string, ModelOverrides>>, name).keepAlive;
    return bounded(ofModel ?? model.keepAlive.timeout);
  }

  return {
    isPinned,
    pin(name) {
      if (!settings().model.keepAlive.enabled) {
        throw new InvalidRequest(`${name} can't be pinned: model.keepAlive.enabled is false`, {
          next: { step: "changeSetting", setting: "model.keepAlive.enabled", to: "true" },
        });
      }
      pinned.add(keyOfName(name));
    },
    unpin(name) {
      pinned.delete(keyOfName(name));
      unpinned.set(keyOfName(name), JSON.stringify(settings().model.keepAlive.models));
    },
    wasLoaded: (name) => void unpinned.delete(keyOfName(name)),
    keepAliveForLoad(name, asked) {
      if (isPinned(name)) return -1;
      if (asked !== undefined) return bounded(asked);
      if (!settings().model.keepAlive.enabled) return undefined;
      return configuredSeconds(name) || shortestLoadSeconds;
    },
    keepAliveForAnswer(name, asked) {
      if (isPinned(name)) return -1;
      if (asked !== undefined) return bounded(asked);
      return settings().model.keepAlive.enabled && configuredSeconds(name) === 0 ? 0 : undefined;
    },
  };
}

function bounded(seconds: number): number {
  return seconds > longestSeconds ? -1 : seconds;
}
