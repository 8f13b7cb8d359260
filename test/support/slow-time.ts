import type { FakeEngine } from "./fake-engine.ts";
import { type HandClock, handClock } from "./hand-clock.ts";

const startMs = Date.parse("2026-11-21T08:00:00Z");
const foreverMs = 292 * 365 * 86_400_000;

export interface SlowTime {
  readonly timers: HandClock;
  /** Milliseconds since the epoch. */
  now(): number;
  /** Advances all clocks in steps of 5 s, and completes the work that each step starts. */
  pass(ms: number): Promise<void>;
  /** Advances only the wall clock. */
  sleep(ms: number): void;
}

/** A wall clock and timers that a test advances. */
export function slowTime(): SlowTime {
  const timers = handClock();
  let asleepMs = 0;
  return {
    timers,
    now: () => startMs + asleepMs + timers.now(),
    async pass(ms) {
      await settle();
      for (let left = ms; left > 0; left -= 5_000) {
        timers.advance(Math.min(5_000, left));
        await settle();
      }
    },
    sleep(ms) {
      asleepMs += ms;
    },
  };
}

/** Completes all work that doesn't wait for a timer. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 60; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** Expiry as Ollama reports and applies it: each request moves its model's to "now + keep-alive". */
export interface KeepAliveClock {
  /** Simulates a request of another program; without `seconds` it keeps the current keep-alive. */
  touch(name: string, seconds?: number): void;
  /** Whether the engine unloads expired models; true by default. */
  keepsTime: boolean;
}

export function simulateKeepAlive(engine: FakeEngine, now: () => number): KeepAliveClock {
  const ends = new Map<string, number>();
  const keepAlive: KeepAliveClock = {
    keepsTime: true,
    touch(name, seconds) {
      if (seconds !== undefined) engine.keepAlives.set(name, seconds);
      const stay = engine.keepAlives.get(name) ?? 300;
      ends.set(name, now() + (stay < 0 ? foreverMs : stay * 1_000));
    },
  };
  const { residency, generate } = engine;
  if (residency === undefined) throw new Error("an engine without residency has no keep-alive");
  Object.assign(engine, {
    async generate(...asked: Parameters<typeof generate>) {
      const answer = await generate(...asked);
      keepAlive.touch(asked[0].model);
      return answer;
    },
    residency: {
      ...residency,
      async load(...asked: Parameters<typeof residency.load>) {
        const loaded = await residency.load(...asked);
        keepAlive.touch(asked[0]);
        return loaded;
      },
      async loaded(signal: AbortSignal) {
        for (const [name, end] of ends) if (keepAlive.keepsTime && end <= now()) engine.resident.delete(name);
        return (await residency.loaded(signal)).map((model) => {
          const end = ends.get(model.name);
          return end === undefined ? model : { ...model, expiresAt: new Date(end).toISOString() };
        });
      },
    },
  });
  return keepAlive;
}
