import { OrchestratorError, faultOf } from "../api/errors.ts";
import type { Log } from "../api/log.ts";
import type { Engine } from "../engines/engine.ts";
import { defaultContextTokens } from "../memory/reading.ts";
import type { Inventory } from "../catalog/inventory.ts";
import { sameModel } from "../util/model-name.ts";
import type { Timers } from "../util/timers.ts";
import type { Slots } from "./slots.ts";

/** Receives the progress of one request. */
export type RequestMonitor = ReturnType<Health["begin"]>;

/** Requests that wait for a token, of one engine or one model. */
class TokenWatch {
  waiting = 0;
  /** When progress or a token was seen last. */
  lastSignMs: number;
  /** Without a token for too long. */
  stuck: string | undefined;
  readonly #timers: Timers;
  readonly #late: (seconds: number) => void;
  /** The longest time to the first token that any of the waiting requests may take. */
  #patienceMs = 0;
  #cancel: (() => void) | undefined;

  /** `late`: called when the patience ends. */
  constructor(timers: Timers, late: (seconds: number) => void) {
    this.#timers = timers;
    this.#late = late;
    this.lastSignMs = timers.now();
  }

  begin(ownPatienceMs: number): void {
    if (this.waiting === 0) {
      this.lastSignMs = this.#timers.now();
      this.#patienceMs = 0;
    }
    this.waiting += 1;
    this.#patienceMs = Math.max(this.#patienceMs, ownPatienceMs);
    this.watch();
  }

  end(): void {
    this.waiting -= 1;
    if (this.waiting === 0) this.cancel();
  }

  watch(): void {
    this.cancel();
    if (this.waiting === 0) return;
    const leftMs = this.lastSignMs + this.#patienceMs - this.#timers.now();
    if (leftMs > 0) this.#cancel = this.#timers.after(leftMs, () => this.watch());
    else this.#late(Math.round(this.#patienceMs / 1_000));
  }

  cancel(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }
}

class EngineWatch extends TokenWatch {
  lastProbeMs = Number.NEGATIVE_INFINITY;
  probing: Promise<void> | undefined;
  cancelAgain: (() => void) | undefined;
}

interface HealthParts {
  readonly probe: TokenProbe;
  readonly inventory: Pick<Inventory, "engines" | "setStuck">;
  readonly slots: Slots;
  readonly timers: Timers;
  readonly log: Log;
}

/** A large model on a slow machine processes 20 prompt tokens a second. */
const patienceMs = 60_000;
const patienceMsPerToken = 50;
const afterFailureMs = 1_000;
const givenUpMs = 20_000;
const probeEveryMs = 3 * 60_000;

const unwatched = { progress: () => undefined, end: (_error?: unknown) => undefined };

/**
 * Whether engines still produce tokens. A deadlocked engine answers all other requests (Ollama #17408), so its health
 * endpoint proves nothing.
 *
 * | event                                                       | effect                                                          |
 * |-------------------------------------------------------------|-----------------------------------------------------------------|
 * | requests wait too long for their first token                | suspect: an idle model is probed for a token; stuck without one |
 * | a request fails, or is cancelled after 20 s without a token | suspect                                                         |
 * | the machine woke up                                         | suspect                                                         |
 * | a suspect produces no token within a minute                 | stuck: reported, others are preferred, probed every 3 minutes   |
 * | any token                                                   | alive                                                           |
 * | one model produces no token while others do                 | its slot is stuck, until a token or the end of its requests     |
 */
export class Health {
  /** Written by all models since the start, those of answers that run included. */
  tokens = 0;
  readonly #parts: HealthParts;
  readonly #engines = new Map<Engine, EngineWatch>();
  /** By the key of the slot. */
  readonly #models = new Map<string, TokenWatch>();
  #isClosed = false;

  constructor(parts: HealthParts) {
    this.#parts = parts;
  }

  /** A request is sent to a loaded model. */
  begin(engine: Engine, model: string, promptTokens: number) {
    // Without models in memory here, how long a token takes is unknown.
    if (engine.residency === undefined || this.#isClosed) return { ...unwatched, token: () => void (this.tokens += 1) };
    const { slots, timers } = this.#parts;
    const begunMs = timers.now();
    const { key } = slots.of(engine, model);
    const ofEngine = this.#watchOf(engine);
    const ofModel = this.#models.get(key) ?? this.#createModelWatch(engine, model);
    this.#models.set(key, ofModel);
    for (const watch of [ofEngine, ofModel]) watch.begin(patienceMs + promptTokens * patienceMsPerToken);
    const revive = () => {
      ofModel.stuck = undefined;
      slots.of(engine, model).alive();
      ofModel.watch();
    };
    let hasToken = false;
    let isOver = false;
    // Called for each token: nothing is looked up.
    const sign = (isToken = true) => {
      hasToken ||= isToken;
      if (isToken) this.tokens += 1;
      ofEngine.lastSignMs = ofModel.lastSignMs = timers.now();
      if (ofEngine.stuck !== undefined) this.#alive(engine);
      if (ofModel.stuck !== undefined) revive();
    };
    return {
      /** A part of the prompt was processed. */
      progress: () => sign(false),
      /** A token was produced. */
      token: sign,
      /** The request has ended; `error` if it failed. */
      end: (error?: unknown) => {
        if (isOver) return;
        isOver = true;
        ofEngine.end();
        ofModel.end();
        if (ofModel.waiting === 0) this.#models.delete(key);
        if (ofModel.waiting === 0 && ofModel.stuck !== undefined) revive();
        // Its process has answered, stopped computing or was ended.
        if (ofEngine.waiting === 0 && engine.isPrivate === true) return this.#setStuck(engine, undefined);
        // Callers often give up before our own timeout.
        if (error === undefined) return;
        const { code, isDown } = faultOf(error);
        const wasGivenUp = code === "cancelled" && !hasToken && timers.now() - begunMs >= givenUpMs;
        if (wasGivenUp || isDown === true || code === "generation_failed") {
          // Delayed: the failed request still holds its model, which must be idle for the probe.
          timers.after(afterFailureMs, () => void this.#suspect(engine, undefined));
        }
      },
    };
  }

  /** One sentence for each engine that is stuck, has a stuck model, or can't use its graphics cards. */
  problems(): readonly string[] {
    const { inventory, slots } = this.#parts;
    return inventory.engines.flatMap((engine) => [
      ...[engine.residency?.cardFailure?.() ?? []].flat(),
      ...[this.#engines.get(engine)?.stuck ?? slots.ofEngine(engine).flatMap(({ stuck }) => stuck ?? [])].flat(),
    ]);
  }

  /** Probes all engines for a token, each at most every three minutes. Never throws. */
  async checkAll(): Promise<void> {
    await Promise.all(this.#parts.inventory.engines.map((engine) => this.#suspect(engine, undefined)));
  }

  close(): void {
    this.#isClosed = true;
    for (const watch of this.#engines.values()) watch.cancelAgain?.();
    for (const watch of [...this.#engines.values(), ...this.#models.values()]) watch.cancel();
  }

  /** A single process of an engine may hang while the engine still answers for others. */
  #createModelWatch(engine: Engine, model: string): TokenWatch {
    const { slots, timers } = this.#parts;
    const watch: TokenWatch = new TokenWatch(timers, (seconds) => {
      if (watch.stuck !== undefined) return;
      watch.stuck = `${model} has produced no token for ${seconds} s on ${engine.id}`;
      slots.of(engine, model).stalled(watch.stuck);
    });
    return watch;
  }

  #watchOf(engine: Engine): EngineWatch {
    const known = this.#engines.get(engine);
    if (known !== undefined) return known;
    const { timers } = this.#parts;
    const watch: EngineWatch = new EngineWatch(timers, (seconds) => {
      const orBusy = engine.isPrivate === true ? "" : ", or busy with another program";
      const why = `${engine.id} responds, but has produced no token for ${seconds} s: it is stuck${orBusy}`;
      void this.#suspect(engine, why).then(() => {
        // The next probe is due after another timeout.
        watch.lastSignMs = timers.now();
        if (!this.#isClosed) watch.watch();
      });
    });
    this.#engines.set(engine, watch);
    return watch;
  }

  #alive(engine: Engine): void {
    const state = this.#watchOf(engine);
    state.lastSignMs = this.#parts.timers.now();
    if (state.stuck === undefined) return;
    this.#parts.log.warn(`liveness: ${engine.id} produces tokens again`);
    this.#setStuck(engine, undefined);
  }

  #setStuck(engine: Engine, why: string | undefined): void {
    const { inventory, slots, timers, log } = this.#parts;
    const state = this.#watchOf(engine);
    const isChange = (state.stuck === undefined) !== (why === undefined);
    if (isChange && why !== undefined) log.warn(`liveness: ${why}`);
    state.stuck = why;
    if (isChange || why !== undefined) {
      inventory.setStuck(engine, why);
      state.cancelAgain?.();
    }
    if (isChange) slots.emit("status");
    if (why !== undefined && !this.#isClosed)
      state.cancelAgain = timers.after(probeEveryMs, () => void this.#suspect(engine, undefined));
  }

  /** Probes the engine. `otherwise`: why it counts as stuck if no idle model can be probed. */
  #suspect(engine: Engine, otherwise: string | undefined): Promise<void> {
    const { probe, timers, log } = this.#parts;
    const state = this.#watchOf(engine);
    if (this.#isClosed) return Promise.resolve();
    if (state.probing !== undefined) return state.probing;
    if (timers.now() - state.lastProbeMs < probeEveryMs && otherwise === undefined) return Promise.resolve();
    state.lastProbeMs = timers.now();
    state.probing = probe(engine)
      .then((found) => {
        if (found === "token") this.#alive(engine);
        else if (found !== "unknown") this.#setStuck(engine, found.stuck);
        else if (otherwise !== undefined) this.#setStuck(engine, otherwise);
        // No model to probe: while a request waits it stays stuck, else the next request decides.
        else this.#setStuck(engine, state.waiting > 0 ? state.stuck : undefined);
      })
      .catch((error: unknown) => log.warn(`liveness: probing ${engine.id}: ${String(error)}`))
      .finally(() => {
        state.probing = undefined;
      });
    return state.probing;
  }
}

/**
 * | outcome   | meaning                                                                                |
 * |-----------|----------------------------------------------------------------------------------------|
 * | `token`   | the model produced a token, or another program was answered meanwhile                  |
 * | `stuck`   | an idle model produced no token within a minute, in one sentence                       |
 * | `unknown` | no model of ours is loaded and idle, or the engine is unreachable (reported elsewhere) |
 */
type ProbeResult = "token" | "unknown" | { readonly stuck: string };

type TokenProbe = (engine: Engine) => Promise<ProbeResult>;

const boundMs = 60_000;

/** Requests one token from an idle model of ours. Loads nothing, and doesn't count as a use. */
export function createTokenProbe(parts: {
  readonly inventory: Inventory;
  readonly slots: Slots;
  readonly timers: Timers;
  readonly signal: AbortSignal;
}): TokenProbe {
  const { inventory, slots, timers, signal } = parts;

  async function expiry(engine: Engine, name: string): Promise<string | undefined> {
    return (await inventory.resident(engine, 0)).find((model) => sameModel(model.name, name))?.expiresAt;
  }

  async function ask(engine: Engine, name: string, contextTokens: number): Promise<ProbeResult> {
    const bound = new AbortController();
    const cancel = timers.after(boundMs, () => bound.abort());
    const held = slots.of(engine, name).take(name, false);
    const before = await expiry(engine, name);
    let hasToken = false;
    const seen = () => {
      hasToken = true;
    };
    try {
      await engine.generate(
        {
          model: name,
          messages: [{ role: "user", content: "Hi" }],
          maxTokens: 1,
          contextTokens,
          sampling: { temperature: 0 },
        },
        { text: seen, thinking: seen, phase: () => undefined },
        AbortSignal.any([signal, bound.signal]),
      );
      return "token";
    } catch (error) {
      if (hasToken) return "token";
      if (!(error instanceof OrchestratorError)) throw error;
      // An error is a response, too; an unreachable engine is reported elsewhere.
      if (!bound.signal.aborted || signal.aborted) return "unknown";
      // The expiry moved: another program was answered first.
      const after = await expiry(engine, name);
      if (after !== undefined && after !== before) return "token";
      if (after === undefined) return "unknown";
      return {
        stuck: `${engine.id} responds, but ${name} produced no token within ${boundMs / 1_000} s: it is stuck and may need a restart`,
      };
    } finally {
      cancel();
      slots.of(engine, name).acted();
      inventory.forgetResidency(engine);
      held.release();
    }
  }

  return async (engine) => {
    // Its models answer one after another: a probe would only wait behind the stalled one.
    if (engine.parallelAnswers === undefined) return "unknown";
    for (const { name, contextTokens } of await inventory.resident(engine, 0)) {
      const { isBusy, isEvicting, ownedLoad } = slots.of(engine, name);
      if (!isBusy && !isEvicting && ownedLoad !== undefined)
        return ask(engine, name, contextTokens ?? defaultContextTokens);
    }
    return "unknown";
  };
}
