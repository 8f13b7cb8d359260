import type { Log } from "../api/log.ts";
import { type Engine, engineKey } from "../engines/engine.ts";
import { messageOf } from "../util/message-of.ts";

export function createEngineSet(first: readonly Engine[], log: Log) {
  let current = first;
  const leaving = new Set<Engine>();

  async function end(engine: Engine, drain: (engine: Engine) => Promise<void>): Promise<void> {
    try {
      await drain(engine);
    } catch (error) {
      log.warn(`engines: draining ${engine.id}: ${messageOf(error)}`);
    }
    await close(engine);
    leaving.delete(engine);
  }

  async function close(engine: Engine): Promise<void> {
    try {
      await engine.close();
    } catch (error) {
      log.warn(`engines: closing ${engine.id}: ${messageOf(error)}`);
    }
  }

  return {
    /** In order of preference. */
    current: () => current,
    leaving: () => [...leaving],
    /**
     * Uses `next` from now on. Returns the replaced engines; each is closed when `drain` has resolved for it, and can be
     * used until then.
     */
    replace(next: readonly Engine[], drain: (engine: Engine) => Promise<void>) {
      const replaced = current.filter((engine) => !next.includes(engine));
      current = next;
      for (const engine of replaced) {
        leaving.add(engine);
        void end(engine, drain);
      }
      return replaced;
    },
    /** Closes all engines, including replaced ones. */
    async close() {
      await Promise.all([...current, ...leaving].map(close));
    },
  };
}

/** Whether an engine is optional depends on the disk, which is read at most this often. */
const freshMs = 5_000;

/** Which engines are reported when they don't respond: all but optional ones that have never responded. `kept` saves the hosts that responded; absent: they are forgotten with the process. */
export function createExpectedEngines(parts: {
  readonly kept: { hosts(): Promise<readonly string[]>; noteHost(host: string): void } | undefined;
  readonly now: () => number;
}) {
  const { kept, now } = parts;
  const responded = new Set<string>();
  const known = new WeakMap<Engine, { readonly atMs: number; readonly isExpected: Promise<boolean> }>();

  async function look(engine: Engine, host: string, isOptional: () => Promise<boolean>): Promise<boolean> {
    if ((await kept?.hosts())?.includes(host) === true) responded.add(host);
    return responded.has(host) || !(await isOptional());
  }

  return {
    isExpected(engine: Engine): Promise<boolean> {
      const host = engineKey(engine);
      const { isOptional } = engine;
      if (isOptional === undefined || host === undefined || responded.has(host)) return Promise.resolve(true);
      const last = known.get(engine);
      if (last !== undefined && Math.abs(now() - last.atMs) < freshMs) return last.isExpected;
      const isExpected = look(engine, host, isOptional);
      known.set(engine, { atMs: now(), isExpected });
      return isExpected;
    },
    noteResponse(engine: Engine) {
      const host = engineKey(engine);
      if (engine.isOptional === undefined || host === undefined || responded.has(host)) return;
      responded.add(host);
      void kept?.hosts().then((hosts) => {
        if (!hosts.includes(host)) kept.noteHost(host);
      });
    },
  };
}
