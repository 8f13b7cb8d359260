import type { Log } from "../api/log.ts";
import type { Engine, ResidentModel } from "../engines/engine.ts";
import { defaultContextTokens } from "../memory/reading.ts";
import type { Inventory } from "../catalog/inventory.ts";
import { keyOfName } from "../util/model-name.ts";
import type { Pins } from "./keep-alive.ts";
import type { Slots } from "./slots.ts";
import { OrchestratorError } from "../api/errors.ts";
import { takesNoMemory } from "../catalog/located-model.ts";
import { type Timers, within } from "../util/timers.ts";
import { type Emit, noteDecision } from "../api/events.ts";
import type { createLoadOperations } from "./request-queues.ts";
import type { Plans } from "./plans.ts";
import { getOrInsert } from "../util/values.ts";

type LoadInBackground = ReturnType<typeof createLoadInBackground>;

const background = { caller: "preload", isBackground: true };

/**
 * Background loads (preload, lost pin), which evict nothing and install nothing. Never throw. Without `contextTokens` the
 * model gets the context that a request would give it now. `isWorthAnotherTry`: the engine is unreachable, or the machine is
 * under pressure.
 */
export function createLoadInBackground(parts: {
  readonly inventory: Pick<Inventory, "locate" | "recentLists">;
  readonly plans: Pick<Plans, "of">;
  readonly loads: ReturnType<typeof createLoadOperations>;
  /** The context that a request would load the model with. Throws what `Inventory.locate` throws. */
  readonly contextTokensOf: (name: string, signal: AbortSignal) => Promise<number>;
  readonly emit: Emit;
}) {
  const { inventory, plans, loads, emit } = parts;
  return async (
    name: string,
    options: { readonly because: string; readonly contextTokens?: number; readonly engineId?: string },
    signal: AbortSignal,
  ) => {
    const { because, engineId, contextTokens: given } = options;
    const leftOut = (why: string, engine: string, isWorthAnotherTry = false) => {
      if (!isWorthAnotherTry) noteDecision(emit, { kind: "preload", model: name, engine, steps: [because, why] });
      return { isLoaded: false, isWorthAnotherTry, why } as const;
    };
    try {
      const [located] = await inventory.locate(name, engineId);
      if (takesNoMemory(located)) return leftOut("not loaded: it uses no memory here", engineId ?? "");
      const { engine, model } = located;
      const contextTokens = given ?? (await parts.contextTokensOf(name, signal));
      const plan = await plans.of(located, contextTokens, signal, 0);
      if (plan.isLoaded) return { isLoaded: true } as const;
      if (!plan.fits || plan.evict.length > 0) {
        const victims = plan.evict.map((each) => each.name).join(", ");
        return leftOut(`not loaded: ${plan.fits ? `it would evict ${victims}` : "it does not fit now"}`, engine.id);
      }
      // The machine is swapping or its CPU is busy: requests go first.
      if (plan.warnings !== undefined) return leftOut(`not loaded yet: ${plan.warnings.join("; ")}`, engine.id, true);
      const steps = [because, ...plan.steps];
      noteDecision(emit, { kind: "preload", model: model.name, engine: engine.id, steps, plan });
      await loads.start(located, { contextTokens }, false, background).follow(signal);
      return { isLoaded: true } as const;
    } catch (error) {
      if (!(error instanceof OrchestratorError)) throw error;
      // An engine whose list could not be read may still hold the model.
      const lists = await inventory.recentLists();
      const isUnresponsive = lists.some(
        ({ engine, message, isUnmentioned = false }) =>
          (message !== undefined || isUnmentioned) && (engineId ?? engine.id) === engine.id,
      );
      const { code, isDown = code === "unknown_model" && isUnresponsive } = error.facts;
      return leftOut(`not loaded: ${error.message}`, engineId ?? "", isDown);
    }
  };
}

/** Ollama may be starting at the same login, which keeps the machine busy for a while. */
const againMs = 30_000;
const tries = 40;

export function createPreload(parts: {
  readonly loadInBackground: LoadInBackground;
  readonly emit: Emit;
  readonly timers: Timers;
  readonly log: Log;
}) {
  const { loadInBackground, emit, timers, log } = parts;
  const because = "listed in model.keepAlive.preload";

  async function load(name: string, signal: AbortSignal): Promise<void> {
    for (let left = tries; left > 0 && !signal.aborted; left -= 1) {
      const outcome = await loadInBackground(name, { because }, signal);
      if (outcome.isLoaded) return;
      if (!outcome.isWorthAnotherTry || left === 1) {
        log.warn(`preload: ${name}: ${outcome.why}`);
        return;
      }
      if (left === tries) {
        log.info(`preload: ${name}: ${outcome.why}`);
        const steps = [because, outcome.why, `retried every ${againMs / 1_000} s`];
        noteDecision(emit, { kind: "preload", model: name, engine: "", steps });
      }
      const never = () => new Promise<never>(() => undefined);
      await within({ ms: againMs, signal, timers }, never, () => undefined);
    }
  }

  return {
    /** Loads one after the other; retries for a while if an engine doesn't respond yet. Never throws. */
    async run(names: readonly string[], signal: AbortSignal) {
      // In sequence: each plan must include the loads before it.
      for (const name of names) await load(name, signal);
    },
    /** Records that none is loaded: after repeated crashes of the daemon, which one of them may have caused. */
    leaveOut(names: readonly string[]) {
      for (const name of names) {
        const steps = [because, "not loaded: safe start after repeated crashes of the daemon"];
        noteDecision(emit, { kind: "preload", model: name, engine: "", steps });
      }
      if (names.length > 0) log.warn(`preload: safe start, not loaded: ${names.join(", ")}`);
    },
  };
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
const restoredMs = 10 * 60_000;

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
  readonly loadInBackground: LoadInBackground;
  readonly emit: Emit;
  readonly now: () => number;
  readonly log: Log;
}) {
  const { inventory, slots, pins, emit, now, log } = parts;
  const states = new WeakMap<Engine, EngineState>();
  const stateOf = (engine: Engine): EngineState => {
    const nothing = { seen: new Map(), missing: new Map(), restoredAtMs: new Map() };
    return getOrInsert(states, engine, () => ({ wasUnresponsive: false, ...nothing }));
  };

  function report(engine: Engine, { name }: Pin, why: string): void {
    stateOf(engine).missing.set(keyOfName(name), { name, why });
    const steps = [`${name} is pinned and no longer loaded: ${why}`];
    noteDecision(emit, { kind: "touch", model: name, engine: engine.id, steps });
    log.warn(`pins: ${name} is no longer loaded: ${why}`);
  }

  async function restore(engine: Engine, pin: Pin, signal: AbortSignal): Promise<void> {
    const state = stateOf(engine);
    const key = keyOfName(pin.name);
    const lastMs = state.restoredAtMs.get(key);
    if (lastMs !== undefined && now() - lastMs < restoredMs) {
      return report(engine, pin, `${engine.id} lost it again within ${restoredMs / 60_000} minutes`);
    }
    const because = `${engine.id} was restarted or unloaded all models, and ${pin.name} is pinned`;
    const outcome = await parts.loadInBackground(pin.name, { because, engineId: engine.id, ...pin }, signal);
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
    /** The engine did not respond to this poll. */
    wasUnresponsive: (engine: Engine) => void (stateOf(engine).wasUnresponsive = true),
    /** Finds pinned models that are no longer loaded; reloads those that a restart of the engine lost. Never throws. */
    async check(engine: Engine, resident: readonly ResidentModel[], signal: AbortSignal) {
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
    /** Whether a poll found the model while it was pinned; only then its loss is noticed. */
    hasSeen: (engine: Engine, name: string) => stateOf(engine).seen.has(keyOfName(name)),
    /** Whether the engine holds, or should hold, a pinned model. */
    isExpecting(engine: Engine) {
      return [...stateOf(engine).seen.values()].some(({ name }) => pins.isPinned(name));
    },
    /** One sentence for each lost model. */
    problems: (): readonly string[] =>
      inventory.engines.flatMap((engine) =>
        [...stateOf(engine).missing.values()]
          .filter(({ name }) => pins.isPinned(name))
          .map(({ name, why }) => `${name} is pinned and not in memory: ${why}`),
      ),
  };
}
