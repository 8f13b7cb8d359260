import type { Log } from "../api/log.ts";
import type { ResidentModel } from "../api/types.ts";
import type { Engine } from "../engines/engine.ts";
import { defaultContextTokens } from "../memory/reading.ts";
import type { Inventory } from "../catalog/inventory.ts";
import { keyOfName } from "../util/model-name.ts";
import type { BackgroundLoader } from "./background-loader.ts";
import type { Decisions } from "./decisions.ts";
import type { Pins } from "./keep-alive.ts";
import type { Slots } from "./slots.ts";

/** Pinned models that their engine no longer holds. */
export interface LostPins {
  /** The engine did not respond to this poll. */
  wasUnresponsive(engine: Engine): void;
  /** Finds pinned models that are no longer loaded; reloads those that a restart of the engine lost. Never throws. */
  check(engine: Engine, resident: readonly ResidentModel[], signal: AbortSignal): Promise<void>;
  /** Whether a poll found the model while it was pinned; only then its loss is noticed. */
  hasSeen(engine: Engine, name: string): boolean;
  /** Whether the engine holds, or should hold, a pinned model. */
  isExpecting(engine: Engine): boolean;
  /** One sentence for each lost model. */
  problems(): readonly string[];
}

interface Pin {
  readonly name: string;
  readonly contextTokens: number;
}

interface EngineState {
  wasUnresponsive: boolean;
  readonly seen: Map<string, Pin>;
  readonly missing: Map<string, { readonly name: string; readonly why: string }>;
  readonly restoredAtMs: Map<string, number>;
}

/** A model that is lost again within this time may be what crashes its engine. */
const againMs = 10 * 60_000;

/**
 * | a pinned model is no longer loaded, and              | then                                                       |
 * |------------------------------------------------------|------------------------------------------------------------|
 * | its engine did not respond, or has nothing in memory | the engine was restarted: reloaded, if that evicts nothing |
 * | the same again within ten minutes                    | reported; its next use loads it                            |
 * | its engine has other models in memory                | another program displaced it: reported, and not reloaded   |
 */
export function createLostPins(parts: {
  readonly inventory: Inventory;
  readonly slots: Slots;
  readonly pins: Pick<Pins, "isPinned">;
  readonly backgroundLoader: BackgroundLoader;
  readonly decisions: Decisions;
  readonly now: () => number;
  readonly log: Log;
}): LostPins {
  const { inventory, slots, pins, decisions, now, log } = parts;
  const states = new WeakMap<Engine, EngineState>();
  const stateOf = (engine: Engine): EngineState => {
    const state = states.get(engine) ?? {
      wasUnresponsive: false,
      seen: new Map(),
      missing: new Map(),
      restoredAtMs: new Map(),
    };
    states.set(engine, state);
    return state;
  };

  function report(engine: Engine, { name }: Pin, why: string): void {
    stateOf(engine).missing.set(keyOfName(name), { name, why });
    decisions.note({
      kind: "touch",
      model: name,
      engine: engine.id,
      steps: [`${name} is pinned and no longer loaded: ${why}`],
    });
    log.warn(`pins: ${name} is no longer loaded: ${why}`);
  }

  async function restore(engine: Engine, pin: Pin, signal: AbortSignal): Promise<void> {
    const state = stateOf(engine);
    const key = keyOfName(pin.name);
    const lastMs = state.restoredAtMs.get(key);
    if (lastMs !== undefined && now() - lastMs < againMs) {
      return report(engine, pin, `${engine.id} lost it again within ${againMs / 60_000} minutes`);
    }
    const because = `${engine.id} was restarted or unloaded all models, and ${pin.name} is pinned`;
    const outcome = await parts.backgroundLoader.load(pin.name, { because, engineId: engine.id, ...pin }, signal);
    if (outcome.isLoaded) state.restoredAtMs.set(key, now());
    else if (!outcome.isWorthAnotherTry)
      report(engine, pin, `${engine.id} was restarted or unloaded all models; ${outcome.why}`);
    else {
      // The engine is still starting, or the machine is under pressure: tried again at the next poll.
      state.missing.set(key, { name: pin.name, why: outcome.why });
      state.seen.set(key, pin);
      state.wasUnresponsive = true;
    }
  }

  return {
    wasUnresponsive: (engine) => void (stateOf(engine).wasUnresponsive = true),
    async check(engine, resident, signal) {
      const state = stateOf(engine);
      const isThere = new Set<string>();
      const names = resident.flatMap(({ name: listed, contextTokens }) =>
        slots
          .of(engine, listed)
          .namesOf(listed)
          .map((name) => ({ name, contextTokens })),
      );
      for (const { name, contextTokens } of names) {
        const key = keyOfName(name);
        isThere.add(key);
        state.missing.delete(key);
        if (pins.isPinned(name)) state.seen.set(key, { name, contextTokens: contextTokens ?? defaultContextTokens });
      }
      const gone = [...state.seen].filter(([key, { name }]) => !isThere.has(key) && !slots.of(engine, name).isBusy);
      const wasRestarted = state.wasUnresponsive || resident.length === 0;
      state.wasUnresponsive = false;
      for (const [key, pin] of gone) {
        state.seen.delete(key);
        if (!pins.isPinned(pin.name)) continue;
        if (wasRestarted) await restore(engine, pin, signal);
        else report(engine, pin, `${engine.id} evicted it for another program; its next use loads it again`);
      }
    },
    hasSeen: (engine, name) => stateOf(engine).seen.has(keyOfName(name)),
    isExpecting(engine) {
      return [...stateOf(engine).seen.values()].some(({ name }) => pins.isPinned(name));
    },
    problems: () =>
      inventory.engines.flatMap((engine) =>
        [...stateOf(engine).missing.values()]
          .filter(({ name }) => pins.isPinned(name))
          .map(({ name, why }) => `${name} is pinned and not in memory: ${why}`),
      ),
  };
}
