import type { Engine } from "../engines/engine.ts";
import type { Log } from "../api/log.ts";

/**
 * The engines in use, and those that were replaced after a change of settings and only finish their active requests.
 */
export interface EngineSet {
  /** In order of preference. */
  current(): readonly Engine[];
  leaving(): readonly Engine[];
  /**
   * Uses `next` from now on. Returns the replaced engines; each is closed when `drain` has resolved for it, and can be
   * used until then.
   */
  replace(next: readonly Engine[], drain: (engine: Engine) => Promise<void>): readonly Engine[];
  /** Closes all engines, including replaced ones. */
  close(): Promise<void>;
}

export function createEngineSet(first: readonly Engine[], log: Log): EngineSet {
  let current = first;
  const leaving = new Set<Engine>();

  async function end(engine: Engine, drain: (engine: Engine) => Promise<void>): Promise<void> {
    try {
      await drain(engine);
    } catch (error) {
      log.warn(`engines: draining ${engine.id}: ${error instanceof Error ? error.message : String(error)}`);
    }
    await close(engine);
    leaving.delete(engine);
  }

  async function close(engine: Engine): Promise<void> {
    try {
      await engine.close();
    } catch (error) {
      log.warn(`engines: closing ${engine.id}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  return {
    current: () => current,
    leaving: () => [...leaving],
    replace(next, drain) {
      const replaced = current.filter((engine) => !next.includes(engine));
      current = next;
      for (const engine of replaced) {
        leaving.add(engine);
        void end(engine, drain);
      }
      return replaced;
    },
    async close() {
      await Promise.all([...current, ...leaving].map(close));
    },
  };
}
