import { basename } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { CardFailed, LoadFailed, UnloadUnconfirmed } from "../../api/errors.ts";
import type { Log } from "../../api/log.ts";
import { advice } from "../../api/next-step.ts";
import type { MemoryEstimate } from "../../api/facade-status.ts";
import type { Progress } from "../../api/types.ts";
import { JoinedWork } from "../../util/joined-work.ts";
import { sameModel } from "../../util/model-name.ts";
import type { LoadOptions, Report, ResidentModel } from "../engine.ts";
import type { GgufHeader } from "../gguf/header.ts";
import { ChildGone, type ChildSession, withinLimit } from "./child-session.ts";
import type { LoadRequest } from "./child/protocol.ts";
import { readProcessMemory } from "./child/children-list.ts";
import type { ComputeGate } from "./compute-gate.ts";
import { ChildFailure } from "./child/failure.ts";
import { causeOf, type createCards, toLoadError } from "./failures.ts";
import type { StoredModel } from "./store/reader.ts";
import { within } from "../../util/timers.ts";
import { once } from "../../util/values.ts";

/** A model to load, with its header. */
export interface Loadable {
  readonly stored: StoredModel;
  readonly header: GgufHeader;
  readonly request: (options: LoadOptions) => LoadRequest;
}

export interface Resident {
  readonly stored: StoredModel;
  readonly session: ChildSession;
  readonly contextTokens: number;
  /** Layers on graphics cards. */
  readonly gpuLayers: number;
  readonly loadMs: number;
  lastPrompt?: ResidentModel["lastPrompt"];
}

/** Prevents the idle timeout of a model until it is released. */
interface Use {
  readonly resident: Entry;
  /** Duration of the load in this call; 0 when the model was loaded already. */
  readonly loadMs: number;
  release(): void;
}

interface Entry extends Resident {
  readonly request: LoadRequest;
  /** What it takes of the cards. */
  readonly onCards: NonNullable<MemoryEstimate["byLayers"]>[number] | undefined;
  users: number;
  /** A caller has used it, so its idle timeout ends it. */
  wasUsed: boolean;
  keepAliveSeconds: number;
  /** In time of `steady`. */
  expiresAtMs?: number;
  timer?: NodeJS.Timeout;
}

interface PendingLoad {
  readonly name: string;
  readonly work: JoinedWork<void, Progress>;
}

interface ModelsParts {
  /** `usesCards`: throws `CardFailed` if they don't start. */
  readonly open: (signal: AbortSignal, usesCards: boolean) => Promise<ChildSession>;
  readonly cards: ReturnType<typeof createCards>;
  readonly gate: ComputeGate;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** A monotonic clock in milliseconds. */
  readonly steady: () => number;
  readonly log: Log;
  /** Default idle seconds until a model is unloaded; negative: never. */
  readonly keepAliveSeconds: number;
  /** Returns the milliseconds that a load of so many bytes may take. */
  readonly loadLimitMs: (weightsBytes: number) => number;
  /** Milliseconds that a process may take to end; default 10 s. */
  readonly stopLimitMs?: number;
  /** Replaces the measurement of memory where the system has none. */
  readonly estimate: (stored: StoredModel, request: LoadRequest) => Promise<MemoryEstimate | undefined>;
}

/** SIGKILL is sent after a fifth of a second; a process that still runs after that hangs in the kernel. */
const defaultStopLimitMs = 10_000;

/** Key of a process: equal for names of the same weights with the same adapters. File names contain the digests. */
function slotOf({ digest, adapterFiles }: StoredModel): string {
  return [digest, ...adapterFiles.map((file) => basename(file))].join(" ");
}

/** The loaded models: one process per slot. */
export class Models {
  readonly #parts: ModelsParts;
  readonly #entries = new Map<string, Entry>();
  readonly #loads = new Map<string, PendingLoad>();
  /** Processes that were killed and have not ended: unused, but their memory counts. */
  readonly #unconfirmed = new Set<Entry>();
  /** Layers on cards of the last planned load, for one that is repeated without a plan. */
  readonly #layers = new Map<string, number>();
  #isClosed = false;

  constructor(parts: ModelsParts) {
    this.#parts = parts;
  }

  /** Loads the model unless it is loaded with at least that context; concurrent calls share a load. Throws `LoadFailed`. */
  async use(loadable: Loadable, options: LoadOptions, report: Report, signal: AbortSignal): Promise<Use> {
    const { stored } = loadable;
    const slot = slotOf(stored);
    const startedAt = this.#parts.steady();
    let hasWaited = false;
    for (;;) {
      if (this.#isClosed)
        throw new LoadFailed(`${stored.name} can't be loaded: the engine is closing`, { next: { step: "retry" } });
      const entry = this.#entries.get(slot);
      const pending = this.#loads.get(slot);
      if (pending === undefined && entry?.session.isAlive() && entry.contextTokens >= options.contextTokens)
        return this.#acquire(entry, options, hasWaited ? this.#parts.steady() - startedAt : 0);
      hasWaited = true;
      // Its last caller has left: it fails for those who join now.
      if (pending?.work.isAborted === true) {
        await pending.work.settled;
        continue;
      }
      // A running load may have a smaller context; then the next iteration loads again.
      await this.#follow(pending ?? this.#startLoad(loadable, options), report, signal, stored);
    }
  }

  /** Returns the loaded instance of the model, possibly under another name of the same weights. */
  find(stored: StoredModel): Resident | undefined {
    return this.#entries.get(slotOf(stored));
  }

  findNamed(name: string): Entry | undefined {
    return [...this.#entries.values()].find(({ stored }) => sameModel(stored.name, name));
  }

  list(): Promise<readonly ResidentModel[]> {
    return Promise.all([...this.#entries.values(), ...this.#unconfirmed].map((entry) => this.describe(entry)));
  }

  /** Also ends a running load. Resolves when the process has ended. */
  unload(stored: StoredModel): Promise<void> {
    return this.#unloadSlot(slotOf(stored));
  }

  /** The same for a model that was loaded under that name and may have been deleted from the store. */
  async unloadNamed(name: string): Promise<void> {
    const all = [...this.#entries, ...this.#loads];
    const slots = all.filter(([, found]) => sameModel(nameOf(found), name)).map(([slot]) => slot);
    await Promise.all([...new Set(slots)].map((slot) => this.#unloadSlot(slot)));
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const slots = new Set([...this.#entries.keys(), ...this.#loads.keys()]);
    await Promise.all([...slots].map((slot) => this.#unloadSlot(slot)));
  }

  async #load({ stored, header, request }: Loadable, options: LoadOptions, report: Report, signal: AbortSignal) {
    const { name } = stored;
    const slot = slotOf(stored);
    const previous = this.#entries.get(slot) ?? this.findNamed(name);
    // Through the gate, so that a request that runs with the smaller context can finish.
    if (previous !== undefined) {
      const place = { process: previous.session, width: () => 1 };
      await this.#parts.gate.run(signal, () => this.#end(previous), place);
    }
    const startedAt = this.#parts.steady();
    const limitMs = this.#parts.loadLimitMs(header.weightsBytes);
    let session: ChildSession | undefined;
    if (options.gpuLayers !== undefined) this.#layers.set(slot, options.gpuLayers);
    const isOffCards = this.#parts.cards.failureOf(name) !== undefined;
    const gpuLayers = isOffCards ? 0 : (this.#layers.get(slot) ?? 0);
    try {
      report({ message: `loading ${name}`, completedBytes: 0, totalBytes: header.weightsBytes });
      session = await this.#parts.open(signal, gpuLayers > 0);
      const loadRequest = request({ ...options, gpuLayers });
      const loading = session.call(
        loadRequest,
        (event) => {
          if (event.type !== "load-progress") return;
          const completedBytes = Math.round(event.fraction * header.weightsBytes);
          report({ message: `loading ${name}`, completedBytes, totalBytes: header.weightsBytes });
        },
        signal,
      );
      await withinLimit(
        loading,
        limitMs,
        `it did not load within ${Math.round(limitMs / 1_000)} s`,
        signal,
        session.stop,
      );
      const entry: Entry = {
        stored,
        session,
        contextTokens: loadRequest.contextTokens,
        gpuLayers,
        onCards: gpuLayers === 0 ? undefined : await this.#onCards(stored, loadRequest),
        loadMs: this.#parts.steady() - startedAt,
        request: loadRequest,
        users: 0,
        wasUsed: false,
        keepAliveSeconds: options.keepAliveSeconds ?? previous?.keepAliveSeconds ?? this.#parts.keepAliveSeconds,
      };
      this.#entries.set(slot, entry);
      void session.ended.then((ended) => {
        this.#forget(entry);
        if (!ended.wasStopped) this.#parts.log.warn(`engine: the process of ${name} ended ${causeOf(ended)}`);
      });
    } catch (error) {
      await session?.stop();
      const failure = toLoadError(name, error);
      if (gpuLayers === 0 || signal.aborted || failure instanceof CardFailed) throw failure;
      // A load that hung shows that the driver does.
      const isHanging = error instanceof ChildFailure && error.code === "stalled";
      const { cards } = this.#parts;
      throw isHanging ? cards.driverFailed(failure.message, true) : cards.modelFailed(name, failure.message);
    }
  }

  /** Keeps a model off the cards after its process crashed there, and all models after one hung. */
  computingFailed({ stored, gpuLayers }: Resident, error: unknown): void {
    if (gpuLayers === 0) return;
    const { cards } = this.#parts;
    if (error instanceof ChildGone && !error.end.wasStopped)
      cards.modelFailed(stored.name, `its process ended ${causeOf(error.end)}`);
    else if (error instanceof ChildFailure && error.code === "stalled") cards.driverFailed(error.message, true);
  }

  #startLoad(loadable: Loadable, options: LoadOptions): PendingLoad {
    const { name } = loadable.stored;
    const slot = slotOf(loadable.stored);
    const work = new JoinedWork<void, Progress>(`loading ${name}`, (signal, report) =>
      this.#load(loadable, options, report, signal).finally(() => this.#loads.delete(slot)),
    );
    const pending = { name, work };
    this.#loads.set(slot, pending);
    // It may be aborted before it starts.
    void work.settled.then(() => {
      if (this.#loads.get(slot) === pending) this.#loads.delete(slot);
    });
    return pending;
  }

  /** Waits for a load on behalf of one call. */
  async #follow({ work }: PendingLoad, report: Report, signal: AbortSignal, stored: StoredModel): Promise<void> {
    try {
      await work.follow(signal, report);
    } finally {
      if (signal.aborted && !work.hasFollowers) {
        // A cancelled call leaves no work behind, nor a model whose load it could not prevent.
        await work.settled;
        // Other followers acquire the model within this turn.
        await nextTurn();
        const entry = this.#entries.get(slotOf(stored));
        if (entry?.wasUsed === false) await this.#end(entry);
      }
    }
  }

  #acquire(entry: Entry, options: LoadOptions, loadMs: number): Use {
    entry.users += 1;
    entry.wasUsed = true;
    if (options.keepAliveSeconds !== undefined) entry.keepAliveSeconds = options.keepAliveSeconds;
    clearTimeout(entry.timer);
    delete entry.expiresAtMs;
    return {
      resident: entry,
      loadMs,
      release: once(() => {
        entry.users -= 1;
        if (entry.users === 0) this.#expireLater(entry);
      }),
    };
  }

  #expireLater(entry: Entry): void {
    clearTimeout(entry.timer);
    if (entry.keepAliveSeconds < 0 || !entry.session.isAlive()) return;
    // Node's timers fire immediately for more than 2³¹ − 1 ms.
    const delayMs = Math.min(entry.keepAliveSeconds * 1_000, 2 ** 31 - 1);
    entry.expiresAtMs = this.#parts.steady() + delayMs;
    entry.timer = setTimeout(() => {
      if (entry.users === 0)
        this.#end(entry).catch((error: unknown) => this.#parts.log.warn(`engine: ${String(error)}`));
    }, delayMs);
    entry.timer.unref();
  }

  async #end(entry: Entry): Promise<void> {
    this.#forget(entry);
    const limitMs = this.#parts.stopLimitMs ?? defaultStopLimitMs;
    await within(
      { ms: limitMs },
      () => entry.session.stop(),
      () => {
        this.#unconfirmed.add(entry);
        void entry.session.ended.then(() => this.#unconfirmed.delete(entry));
        const { name } = entry.stored;
        throw new UnloadUnconfirmed(
          `the engine process of ${name} still runs ${limitMs / 1_000} s after it was killed; its memory counts as used until it exits`,
          { next: advice(`wait, or end process ${entry.session.pid} by hand`) },
        );
      },
    );
  }

  #forget(entry: Entry): void {
    clearTimeout(entry.timer);
    const slot = slotOf(entry.stored);
    if (this.#entries.get(slot) === entry) this.#entries.delete(slot);
  }

  async describe(entry: Entry): Promise<ResidentModel> {
    const { stored, session } = entry;
    const memory = await readProcessMemory(session.pid);
    const { onCards } = entry;
    const { sequences } = session.capacity();
    const vramBytes = onCards === undefined ? 0 : onCards.vramBytes + onCards.contextBytes * (sequences - 1);
    const size = memory === undefined ? await this.#expectedSize(entry, vramBytes) : measuredSize(memory, vramBytes);
    return {
      name: stored.name,
      digest: stored.digest,
      ...size,
      vramBytes,
      contextTokens: entry.contextTokens,
      loadMs: entry.loadMs,
      ...(entry.lastPrompt && { lastPrompt: entry.lastPrompt }),
      ...(entry.expiresAtMs === undefined ? {} : { expiresAt: this.#isoOf(entry.expiresAtMs) }),
    };
  }

  /** As simulated before the load: drivers report no process's share, and the simulation is what llama.cpp allocates. */
  async #onCards(stored: StoredModel, request: LoadRequest): Promise<Entry["onCards"]> {
    const estimate = await this.#parts.estimate(stored, request).catch(() => undefined);
    return estimate?.byLayers?.[request.gpuLayers];
  }

  /** For systems that don't report a process's memory. */
  async #expectedSize({ stored, request, session }: Entry, vramBytes: number) {
    const estimate = await this.#parts.estimate(stored, request);
    const moreBytes = (session.capacity().sequences - 1) * (estimate?.parts?.cacheBytes ?? 0);
    const sizeBytes =
      estimate === undefined ? stored.sizeBytes : estimate.predictedBytes + estimate.processBytes + moreBytes;
    return {
      sizeBytes,
      mappedBytes: request.useMmap ? Math.min(stored.sizeBytes, Math.max(0, sizeBytes - vramBytes)) : 0,
    };
  }

  /** The timer uses the monotonic clock, so the wall-clock time is computed from the remaining time. */
  #isoOf(expiresAtMs: number): string {
    return new Date(this.#parts.now() + Math.max(0, expiresAtMs - this.#parts.steady())).toISOString();
  }

  async #unloadSlot(slot: string): Promise<void> {
    const pending = this.#loads.get(slot);
    if (pending !== undefined) {
      pending.work.abort(new Error("unloaded"));
      await pending.work.settled;
    }
    const entry = this.#entries.get(slot);
    if (entry !== undefined) await this.#end(entry);
  }
}

function nameOf(found: Entry | PendingLoad): string {
  return "stored" in found ? found.stored.name : found.name;
}

/** Size of the whole process: ending it also frees the memory of llama.cpp and Node. */
function measuredSize(
  { anonymousBytes, mappedBytes }: NonNullable<Awaited<ReturnType<typeof readProcessMemory>>>,
  vramBytes: number,
): Pick<ResidentModel, "sizeBytes" | "mappedBytes"> {
  return { sizeBytes: anonymousBytes + mappedBytes + vramBytes, mappedBytes };
}
