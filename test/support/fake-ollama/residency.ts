import { vendorErrors, type FakeModel, type FakeOllamaOptions, type FakeResident } from "./types.ts";
import type { Exchange } from "./exchange.ts";
import { weightsOf } from "./library.ts";
import type { FakeMachine } from "./machine.ts";

/** An error reply: its status and text. */
export class Refusal extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

interface LoadWish {
  readonly contextTokens?: number | undefined;
  readonly shift?: boolean | undefined;
  /** Raw `keep_alive` of the request. */
  readonly keepAlive?: unknown;
}

export interface FakeResidency {
  readonly residents: Map<string, FakeResident>;
  readonly loads: { readonly name: string; readonly contextTokens: number }[];
  /** Waits for a slot (`parallel` per model, default one), loads or reloads, runs `work`. Throws `Refusal`. */
  use<Result>(
    model: FakeModel,
    wish: LoadWish,
    exchange: Exchange,
    work: (resident: FakeResident, loadMs: number) => Promise<Result>,
  ): Promise<Result>;
  /** Ends the residency after a delay, as in Ollama. */
  expire(model: FakeModel): void;
  /** `/api/ps`: real buffer sizes grow with the context. */
  list(): { readonly resident: FakeResident; readonly sizeBytes: (model: FakeModel) => number }[];
}

export function sizeOf({ sizeBytes = 98_362_745 }: FakeModel): number {
  return sizeBytes;
}

const defaultContextTokens = 4_096;
const cacheBytesPerToken = 24_064;
const computeBytes = 12_576_594;

export function createFakeResidency(options: FakeOllamaOptions, machine?: FakeMachine): FakeResidency {
  const residents = new Map<string, FakeResident>();
  const loads: { readonly name: string; readonly contextTokens: number }[] = [];
  const slots = new Map<string, { running: number; readonly waiting: (() => void)[]; readonly idle: (() => void)[] }>();

  const acquire = async (weights: string): Promise<() => void> => {
    const slot = slots.get(weights) ?? { running: 0, waiting: [], idle: [] };
    slots.set(weights, slot);
    if (slot.running + slot.waiting.length >= (options.maxQueue ?? 512)) throw new Refusal(503, vendorErrors.queueFull);
    if (slot.running < (options.parallel ?? 1)) slot.running += 1;
    else await new Promise<void>((resolve) => slot.waiting.push(resolve));
    return () => {
      const next = slot.waiting.shift();
      // The slot passes to the request that waited longest.
      if (next !== undefined) return next();
      slot.running -= 1;
      if (slot.running === 0) for (const resolve of slot.idle.splice(0)) resolve();
    };
  };

  const whenIdle = async (weights: string): Promise<void> => {
    const slot = slots.get(weights);
    if (slot !== undefined && slot.running > 0) await new Promise<void>((resolve) => slot.idle.push(resolve));
  };

  return {
    residents,
    loads,
    async use(model, wish, exchange, work) {
      const keepAliveSeconds = keepAliveOf(wish.keepAlive);
      const weights = weightsOf(model);
      const release = await acquire(weights);
      try {
        const contextTokens = Math.min(wish.contextTokens ?? defaultContextTokens, model.contextTokens ?? 8_192);
        const shift = wish.shift ?? true;
        const startedAt = performance.now();
        let resident = residents.get(weights);
        if (resident && resident.expiresAt <= Date.now()) resident = undefined;
        if (!resident || resident.contextTokens !== contextTokens || resident.shift !== shift) {
          residents.delete(weights);
          await exchange.pause(machine?.load(sizeOf(model)) ?? options.loadDelayMs ?? 0);
          if (model.loadError !== undefined) throw new Refusal(500, model.loadError);
          resident = {
            name: model.name,
            weights,
            contextTokens,
            shift,
            keepAliveSeconds: keepAliveSeconds ?? 300,
            expiresAt: 0,
          };
          residents.set(weights, resident);
          loads.push({ name: model.name, contextTokens });
        }
        if (keepAliveSeconds !== undefined) resident.keepAliveSeconds = keepAliveSeconds;
        refresh(resident);
        return await work(resident, performance.now() - startedAt);
      } finally {
        release();
      }
    },
    expire(model) {
      const weights = weightsOf(model);
      const end = async (): Promise<void> => {
        await whenIdle(weights);
        residents.delete(weights);
      };
      setTimeout(() => void end(), options.unloadDelayMs ?? 5).unref();
    },
    list() {
      for (const [weights, resident] of residents) if (resident.expiresAt <= Date.now()) residents.delete(weights);
      return [...residents.values()].map((resident) => ({
        resident,
        sizeBytes: (model) =>
          sizeOf(model) + resident.contextTokens * (model.cacheBytesPerToken ?? cacheBytesPerToken) + computeBytes,
      }));
    },
  };

  function refresh(resident: FakeResident): void {
    resident.expiresAt =
      resident.keepAliveSeconds < 0 ? Date.now() + 2 ** 40 : Date.now() + resident.keepAliveSeconds * 1_000;
  }
}

/** Number: seconds; string: a Go duration, whose missing unit is a 400; absent: unchanged. */
function keepAliveOf(value: unknown): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === "number") return value;
  const duration = typeof value === "string" ? value : JSON.stringify(value);
  const match = /^(-?[\d.]+)(ms|s|m|h)$/.exec(duration);
  const scale = { ms: 0.001, s: 1, m: 60, h: 3_600 }[match?.[2] ?? ""];
  if (!match || scale === undefined) throw new Refusal(400, `time: missing unit in duration "${duration}"`);
  return Number(match[1]) * scale;
}
