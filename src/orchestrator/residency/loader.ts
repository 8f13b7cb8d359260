import { CardFailed, LoadFailed, OrchestratorError, OutOfMemory, throwIfCancelled } from "../api/errors.ts";
import { advice, type NextStep } from "../api/next-step.ts";
import type { LoadPlan, MemoryEstimate } from "../api/facade-status.ts";
import type { Engine } from "../engines/engine.ts";
import { type LocatedModel, modelId } from "../catalog/located-model.ts";
import { formatBytes } from "../util/format-bytes.ts";
import { type LoadRequest, largestOther, lowerContext, smallerContext, RoomMaker } from "./room.ts";
import type { Plans, LoadAhead } from "./plans.ts";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { LoadResult } from "../api/facade.ts";
import { sameModel } from "../util/model-name.ts";
import { defined } from "../util/values.ts";
import { noteDecision } from "../api/events.ts";
import type { KeepAlive, Pins } from "./keep-alive.ts";

interface LoaderParts
  extends
    Omit<ConstructorParameters<typeof RoomMaker>[0], "quickEstimate">,
    Pick<ConstructorParameters<typeof Plans>[0], "estimates" | "policies" | "observations" | "probe"> {
  readonly pins: Pins;
  readonly keepAlive: KeepAlive;
  /** Milliseconds of a monotonic clock, for durations. */
  readonly steady: () => number;
}

/** Executes loads and unloads, one at a time as its callers decide; the plans are pure (`memory/plan.ts`). */
export class Loader {
  readonly #parts: LoaderParts;
  readonly #rooms: RoomMaker;

  constructor(parts: LoaderParts) {
    this.#parts = parts;
    this.#rooms = new RoomMaker({ ...parts, quickEstimate: parts.estimates.quick });
  }

  /** Takes a lease if the model is known to be loaded with at least `neededTokens`, without asking its engine. */
  use(located: LocatedModel, neededTokens: number) {
    const { plans, slots, policies } = this.#parts;
    const resident = plans.resident(located);
    const slot = slots.at(located);
    if (resident === undefined || resident instanceof Promise || slot.isEvicting || slot.isLoading) return undefined;
    if (resident.contextTokens !== undefined && resident.contextTokens < neededTokens) return undefined;
    policies.served(located.engine, resident);
    const { release } = slot.take(located.model.name);
    return { resident, release };
  }

  /** Makes room and loads, without queueing; for a loaded model only restarts its keep-alive. */
  async load(request: LoadRequest, ahead?: LoadAhead): Promise<LoadResult> {
    const planned = async (known?: LoadAhead): Promise<LoadResult> => {
      const { plan, lease } = await this.#rooms.makeRoom(request, known);
      if (lease === undefined) return await this.#load(request, plan);
      return await this.#renew(request, plan).finally(() => lease.release());
    };
    try {
      return await planned(ahead);
    } catch (error) {
      if (!(error instanceof CardFailed)) throw error;
      request.report({ message: `${error.message}; loading it on the processor` });
      return await planned();
    }
  }

  async #renew({ located, options, report, signal }: LoadRequest, plan: LoadPlan): Promise<LoadResult> {
    const { keepAlive, slots } = this.#parts;
    const { engine, model } = located;
    const { keepAliveSeconds: requestedSeconds } = options;
    const sentSeconds =
      requestedSeconds === undefined ? undefined : keepAlive.forLoad(engine, model.name, requestedSeconds);
    const again = { ...options, contextTokens: plan.contextTokens, ...defined({ keepAliveSeconds: sentSeconds }) };
    await engine.residency?.load(model.name, again, report, signal);
    const slot = slots.of(engine, model.name);
    if (sentSeconds !== undefined && slot.ownedLoad !== undefined)
      slot.own({ ...slot.ownedLoad, requestedSeconds, sentSeconds });
    return { model: model.name, engine: engine.id, loadMs: 0, wasLoaded: true, plan };
  }

  async #load(request: LoadRequest, plan: LoadPlan): Promise<LoadResult> {
    const { located, options, report, signal } = request;
    const { inventory, slots, pins, keepAlive, observations, emit, policies, probe, steady } = this.#parts;
    const { engine, model } = located;
    const { name } = model;
    const id = modelId(engine.id, name);
    const { keepAliveSeconds: requestedSeconds } = options;
    pins.wasLoaded(name);
    const sentSeconds = keepAlive.forLoad(engine, name, requestedSeconds);
    const own = { name, digest: model.digest, requestedSeconds, sentSeconds };
    let startedAtMs = steady();
    try {
      report({ message: `loading ${name} (${formatBytes(plan.estimate.predictedBytes)})` });
      const attempt = async () => {
        startedAtMs = steady();
        const gpuLayers = engine.usesCards === true ? (plan.placement?.layers ?? 0) : undefined;
        const given = { ...options, ...defined({ keepAliveSeconds: sentSeconds, gpuLayers }) };
        await engine.residency?.load(name, given, report, signal);
      };
      await this.#attempt(request, plan, attempt);
    } catch (error) {
      if (error instanceof OrchestratorError) {
        const { code, isDown } = error.facts;
        const isOfModel = code === "load_failed" || code === "out_of_memory";
        if (isOfModel) await observations.failed(id, error);
        const steps = [error.message];
        const kind = code === "card_failed" ? "replan" : "fail";
        if (isOfModel || kind === "replan" || isDown === true)
          noteDecision(emit, { kind, model: name, engine: engine.id, steps, plan });
      }
      inventory.forgetResidency(engine);
      slots.at(located).loadFailed();
      throw error;
    } finally {
      // The free memory of graphics cards is measured again only on request.
      void probe.sample(0);
    }
    const loadMs = steady() - startedAtMs;
    inventory.forgetResidency(engine, true);
    slots.at(located).loaded(own);
    observations.loaded(id, loadMs);
    policies.served(engine, { name, sizeBytes: plan.estimate.predictedBytes });
    // Pinned or unpinned while it was loading.
    if (keepAlive.isStale(own)) await keepAlive.apply(engine, name, signal);
    return { model: name, engine: engine.id, loadMs, wasLoaded: false, plan };
  }

  /**
   * Unloads and unpins the model. Returns what was freed (0 bytes: nothing was loaded) and its name in its engine's list; undefined if the model is in use, which leaves it loaded and
   * pinned. If it is loaded by another name (`Inventory.residentOf`), that one is unloaded too, unless
   * `keepsOtherNames`.
   */
  unload(located: LocatedModel, signal: AbortSignal, keepsOtherNames = false) {
    const { inventory, slots, pins, plans, keepAlive, emit } = this.#parts;
    const { engine, model } = located;
    return plans.inTurn(engine.memoryDomain, async () => {
      throwIfCancelled(signal, `unloading ${model.name}`);
      // Callers that loaded it in this turn of the event loop take their leases now.
      await nextTurn();
      const resident = await inventory.residentOf(located, 0);
      const slot = slots.at(located);
      const { name } = resident ?? model;
      const isShared = !sameModel(name, model.name);
      // No await between this check and the transition that prevents new answers.
      const remainsLoaded = isShared && keepsOtherNames;
      if (remainsLoaded ? slot.isUsedAs(model.name) : !slot.mayBeEvicted) return undefined;
      const unpinsOnlyThisName = keepsOtherNames || resident === undefined;
      const wasPinned = pins.isPinned(model.name);
      for (const each of unpinsOnlyThisName ? [model.name] : slot.namesOf(model.name)) pins.unpin(each);
      // It stays loaded for another name, which may not be pinned.
      if (remainsLoaded && wasPinned) await keepAlive.apply(engine, name, signal);
      if (remainsLoaded || resident === undefined) return { bytes: 0, name: model.name };
      await this.#evict(engine, name, signal);
      const as = isShared ? ` for ${model.name}, which it also served` : "";
      const steps = [`unloaded on request${as}: ${formatBytes(resident.sizeBytes)} freed`];
      noteDecision(emit, { kind: "unload", model: name, engine: engine.id, steps });
      return { bytes: resident.sizeBytes, name };
    });
  }

  /** Unloads a model that its engine holds beyond its keep-alive, unless it is in use. */
  async expire(engine: Engine, name: string, signal: AbortSignal): Promise<void> {
    const { inventory, slots, plans, emit } = this.#parts;
    await plans.inTurn(engine.memoryDomain, async () => {
      const isThere = (await inventory.resident(engine, 0)).some((model) => sameModel(model.name, name));
      const slot = slots.of(engine, name);
      if (!isThere || !slot.mayBeEvicted || slot.isPinned(name) || slot.isForeign) return;
      const { sentSeconds = 0 } = slot.ownedLoad ?? {};
      await this.#evict(engine, name, signal);
      const steps = [`unloaded: idle beyond its keep-alive of ${sentSeconds} s, and ${engine.id} still held it`];
      noteDecision(emit, { kind: "expire", model: name, engine: engine.id, steps });
    });
  }

  /** The name may refer to other weights now: it was pulled, imported or deleted. */
  forget({ id: engineId }: Engine, name: string): void {
    const { observations, policies, slots } = this.#parts;
    const id = modelId(engineId, name);
    observations.forget(id);
    policies.forget(id);
    slots.forget(id);
  }

  /**
   * Runs `attempt`, a load that room was made for. If the engine still runs out of memory, evicts more and runs it once
   * more. Throws `OutOfMemory`, with what would fit, if nothing more can be evicted or the second attempt failed, and
   * `LoadFailed` if the engine's process was killed while there was enough memory.
   */
  async #attempt(request: LoadRequest, made: LoadPlan, attempt: () => Promise<unknown>): Promise<void> {
    let evicted: readonly string[] = [];
    for (;;) {
      try {
        await attempt();
        return;
      } catch (error) {
        if (!(error instanceof OutOfMemory)) throw error;
        const freeBytes = error.wasKilled ? await this.#ampleBytes(request.located, made) : undefined;
        if (freeBytes !== undefined) throw killed(made, freeBytes, error);
        const isSecond = evicted.length > 0;
        const bytes = Math.max(error.allocationBytes ?? 0, made.estimate.predictedBytes * shortfallShare);
        if (!isSecond) evicted = await this.#rooms.evictMore(request, bytes);
        if (isSecond || evicted.length === 0) throw await this.#outOfMemory(request, made, error, evicted);
        const steps = [error.message, ...evicted.map((name) => `unload ${name}`), `load ${made.model} again`];
        const { model, engine } = made;
        noteDecision(this.#parts.emit, { kind: "replan", model, engine, steps, plan: made });
      }
    }
  }

  async #outOfMemory({ located, signal }: LoadRequest, made: LoadPlan, error: OutOfMemory, evicted: readonly string[]) {
    const { inventory, estimates } = this.#parts;
    const boundBytes = made.estimate.predictedBytes * (1 - shortfallShare);
    const isWithin = ({ predictedBytes }: MemoryEstimate) => predictedBytes <= boundBytes;
    const lists = await inventory.recentLists();
    const smaller = largestOther(lists, made.model, (model) => isWithin(estimates.quick(model)));
    const smallerTokens = await smallerContext(made, async (tokens) =>
      isWithin(await estimates.of(located, tokens, signal)),
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

  async #evict(engine: Engine, name: string, signal: AbortSignal): Promise<void> {
    const { inventory, slots } = this.#parts;
    await this.#rooms.evict({ name, engine: engine.id }, signal).finally(() => {
      inventory.forgetResidency(engine);
      slots.emit("changed");
    });
  }
}

/**
 * The prediction was too low by an unknown amount. The size of the failed allocation, if the engine reports it, is a
 * lower bound; errors of more than a quarter have not been observed.
 */
const shortfallShare = 1 / 4;

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
