import { expect } from "vitest";
import { Cancelled, LoadFailed, ModelDoesNotFit } from "../../../src/orchestrator/api/errors.ts";
import type { Held, Permit, QueueRequest, QueueWorld } from "../../../src/orchestrator/residency/queue-requests.ts";
import { RequestQueue } from "../../../src/orchestrator/residency/request-queue.ts";
import type { LoadPlan } from "../../../src/orchestrator/api/facade-status.ts";
import type { Engine, ResidentModel } from "../../../src/orchestrator/engines/engine.ts";
import { createFakeEngine, fakeModel } from "../../support/fake-engine.ts";
import { type HandClock, handClock } from "../../support/hand-clock.ts";

export interface HandModel {
  readonly loadMs: number;
  readonly answerMs?: number;
  readonly maxParallel?: number;
  /** Uses the embedded slots. */
  readonly isEmbedded?: boolean;
  /** Its engine pauses background answers. */
  readonly pausesAnswers?: boolean;
  /** Share of the capacity that it takes. */
  readonly size?: number;
}

export interface HandMachine {
  readonly queue: RequestQueue;
  readonly clock: HandClock;
  /** `load a 4096`, `evict b`, in order. */
  readonly log: string[];
  readonly resident: Map<string, ResidentModel>;
  readonly leases: Map<string, number>;
  /** Reasons that were recorded for waiting for memory. */
  readonly waits: string[];
  /** Errors that loads of these models end with. */
  readonly failing: Map<string, Error>;
  loadCount(): number;
  /** The running and waiting requests in the snapshot of the queue. */
  counts(): readonly { readonly model: string; readonly running: number; readonly waiting: number }[];
  ask(model: string, more?: Partial<QueueRequest>): Promise<Permit>;
  grantFree(model: string, more?: Partial<QueueRequest>): ReturnType<RequestQueue["grantFree"]>;
  load(model: string, more?: Partial<QueueRequest>): ReturnType<RequestQueue["load"]>;
  /** Runs everything that needs no time. */
  settle(): Promise<void>;
  /** Advances the clock in steps, and settles after each. */
  pass(ms: number): Promise<void>;
}

/** A queue on a machine with memory for `capacity` models, whose loads take time on a manual clock. */
export function handMachine(
  models: Readonly<Record<string, HandModel>>,
  options: {
    readonly capacity: number;
    readonly maxWaiting?: number;
    readonly maxOvertakeMs?: number;
    readonly world?: Partial<QueueWorld>;
    /** Delays each result that the queue asks for; without it, what is loaded is known at once. */
    readonly slow?: <Value>(work: () => Promise<Value>) => Promise<Value>;
  },
): HandMachine {
  const clock = handClock();
  const engine = createFakeEngine("ollama", []);
  const pausing: Engine = { ...engine, pausesAnswers: true };
  const resident = new Map<string, ResidentModel>();
  const leases = new Map<string, number>();
  const lastUsedMs = new Map<string, number>();
  const loadingIds = new Set<string>();
  const failing = new Map<string, Error>();
  const [log, waits]: [string[], string[]] = [[], []];
  const modelOf = (id: string): HandModel => models[id] ?? { loadMs: 0 };
  const sizeOf = (id: string) => modelOf(id).size ?? 1;
  const usesOf = (id: string) => leases.get(id) ?? 0;

  const isAwaited = (id: string) =>
    queue.snapshot().some(({ located, waiting }) => located.model.name === id && waiting > 0);

  /** Idle models first, then those without waiting requests, then the least recently used. */
  function victims(id: string): readonly string[] {
    const others = [...resident.keys()].filter((key) => key !== id);
    const used = others.reduce((sum, key) => sum + sizeOf(key), 0) + sizeOf(id);
    let missing = used - options.capacity;
    const order = others.toSorted(
      (a, b) =>
        Math.min(1, usesOf(a)) - Math.min(1, usesOf(b)) ||
        Number(isAwaited(a)) - Number(isAwaited(b)) ||
        (lastUsedMs.get(a) ?? 0) - (lastUsedMs.get(b) ?? 0),
    );
    return order.filter((key) => {
      if (missing <= 0) return false;
      missing -= sizeOf(key);
      return true;
    });
  }

  function take(name: string): Held {
    leases.set(name, usesOf(name) + 1);
    lastUsedMs.set(name, clock.now());
    let isReleased = false;
    return {
      ...(resident.has(name) ? { resident: resident.get(name) as ResidentModel } : {}),
      release() {
        if (isReleased) throw new Error("released twice");
        isReleased = true;
        leases.set(name, usesOf(name) - 1);
      },
    };
  }

  const later = options.slow;
  const known = <Value>(work: () => Value): Value | Promise<Value> =>
    later === undefined ? work() : later(() => Promise.resolve(work()));
  const world: QueueWorld = {
    timers: clock,
    maxWaiting: () => options.maxWaiting ?? 64,
    maxOvertakeMs: options.maxOvertakeMs ?? 30_000,
    embeddedSlots: 1,
    maxParallel: ({ model }) => modelOf(model.name).maxParallel ?? 1,
    hasOwnThreads: ({ model }) => modelOf(model.name).isEmbedded !== true,
    resident: ({ model }) => known(() => resident.get(model.name)),
    use({ model: { name } }, neededTokens) {
      const isTooSmall = (resident.get(name)?.contextTokens ?? 0) < neededTokens;
      return loadingIds.has(name) || isTooSmall ? undefined : take(name);
    },
    hold: ({ model }) => take(model.name),
    async load({ located, options: { contextTokens }, report, signal }) {
      const { name } = located.model;
      const plan = planOf({ contextTokens });
      const there = resident.get(name);
      const result = { model: name, engine: engine.id, plan };
      if (there !== undefined && (there.contextTokens ?? 0) >= contextTokens) {
        log.push(`keep ${name}`);
        const error = failing.get(name);
        if (error !== undefined) throw error;
        return { ...result, loadMs: 0, wasLoaded: true };
      }
      if (sizeOf(name) > options.capacity) throw new ModelDoesNotFit(`${name} does not fit`);
      loadingIds.add(name);
      for (const victim of [...victims(name), ...(there === undefined ? [] : [name])]) {
        if (usesOf(victim) > 0) throw new Error(`${victim} is evicted while it answers`);
        log.push(`evict ${victim}`);
        resident.delete(victim);
      }
      log.push(`load ${name} ${contextTokens}`);
      report({ message: `loading ${name}` });
      try {
        await new Promise<void>((resolve, reject) => {
          const stop = clock.after(modelOf(name).loadMs, resolve);
          signal.addEventListener("abort", () => {
            stop();
            reject(new Cancelled(`load ${name} was cancelled`));
          });
        });
        const error = failing.get(name);
        if (error !== undefined) throw error;
        resident.set(name, { name, sizeBytes: 1, vramBytes: 0, contextTokens });
      } finally {
        loadingIds.delete(name);
      }
      return { ...result, loadMs: modelOf(name).loadMs, wasLoaded: false };
    },
    ahead: async ({ model }) => ({ evicts: await known(() => victims(model.name)) }),
    usesOf,
    isLoading: (id) => loadingIds.has(id),
    isEvicting: () => false,
    lossSeconds: () => undefined,
    loadMs: ({ model }) => modelOf(model.name).loadMs,
    answerMs: ({ model }) => modelOf(model.name).answerMs ?? 1_000,
    answered: () => undefined,
    waits: (_located, why) => void waits.push(why),
    hasRoomBeside: () => Promise.resolve(true),
    ...options.world,
  };
  const queue = new RequestQueue(world);

  const requestOf = (model: string, more: Partial<QueueRequest>): QueueRequest => ({
    id: model,
    located: { engine: modelOf(model).pausesAnswers === true ? pausing : engine, model: fakeModel(model, 1) },
    caller: "default",
    priority: 0,
    neededTokens: more.contextTokens ?? 4_096,
    contextTokens: 4_096,
    report: () => undefined,
    signal: new AbortController().signal,
    ...more,
  });
  const settle = async () => {
    for (let turn = 0; turn < 4; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  };
  return {
    queue,
    clock,
    log,
    resident,
    leases,
    waits,
    failing,
    loadCount: () => log.filter((entry) => entry.startsWith("load ")).length,
    counts: () =>
      queue.snapshot().map(({ located, running, waiting }) => ({ model: located.model.name, running, waiting })),
    async ask(model, more = {}) {
      const request = requestOf(model, more);
      return queue.grantFree(request) ?? queue.grant(request);
    },
    grantFree: (model, more = {}) => queue.grantFree(requestOf(model, more)),
    load: (model, more = {}) => queue.load(requestOf(model, more)),
    settle,
    async pass(ms) {
      const untilMs = clock.now() + ms;
      await settle();
      while (clock.now() < untilMs) {
        clock.advance(Math.min(100, untilMs - clock.now()));
        await settle();
      }
    },
  };
}

export const damaged = new LoadFailed("the file is damaged");

/** A plan that fits without evictions. */
export function planOf({ contextTokens }: { readonly contextTokens: number }): LoadPlan {
  return {
    model: "",
    engine: "ollama",
    contextTokens,
    isLoaded: false,
    fits: true,
    estimate: { method: "configured", predictedBytes: 1, margin: 0, processBytes: 0 },
    neededBytes: 1,
    freeBytes: 1,
    evict: [],
    steps: [],
  };
}

/** Loaded and in use. */
export async function loaded(machine: HandMachine, model: string): Promise<Permit> {
  const slot = machine.ask(model);
  await machine.pass(2_000);
  return slot;
}

/** Loaded and idle. */
export async function free(machine: HandMachine, model: string): Promise<void> {
  const slot = machine.ask(model);
  await machine.pass(10_000);
  (await slot).release();
}

/** Adds `name` to `order` when it is served; answers at once, or after `answerMs`. */
export function asked(
  order: string[],
  name: string,
  slot: Promise<Permit>,
  answerMs?: { readonly machine: HandMachine; readonly ms: number },
): Promise<Permit> {
  return slot.then((given) => {
    order.push(name);
    if (answerMs === undefined) given.release();
    else answerMs.machine.clock.after(answerMs.ms, given.release);
    return given;
  });
}

/** Expects no requests and no leases. */
export function expectQuiet(machine: HandMachine): void {
  expect(machine.queue.snapshot()).toEqual([]);
  expect([...machine.leases.values()].every((count) => count === 0)).toBe(true);
}
