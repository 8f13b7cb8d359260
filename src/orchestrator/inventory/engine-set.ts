import type { Engine } from "../engines/engine.ts";
import type { Log } from "../log.ts";

/** The engines that are asked, and those whose settings changed and that only end what was under way. */
export interface EngineSet {
  /** In the order in which they are preferred. */
  current(): readonly Engine[];
  leaving(): readonly Engine[];
  /**
   * From here on `next` are asked. Those that are not among them are closed when `drain` has resolved for them; the
   * answer names them. Whoever holds one may go on using it until then.
   */
  replace(next: readonly Engine[], drain: (engine: Engine) => Promise<void>): readonly Engine[];
  /** Closes all of them, those that leave too. */
  close(): Promise<void>;
}

export function createEngineSet(first: readonly Engine[], log: Log): EngineSet {
  let current = first;
  const leaving = new Set<Engine>();

  async function end(engine: Engine, drain: (engine: Engine) => Promise<void>): Promise<void> {
    try {
      await drain(engine);
    } catch (error) {
      log.warn(`${engine.id}, which was replaced: ${error instanceof Error ? error.message : String(error)}`);
    }
    await close(engine);
    leaving.delete(engine);
  }

  async function close(engine: Engine): Promise<void> {
    try {
      await engine.close();
    } catch (error) {
      log.warn(`closing ${engine.id}: ${error instanceof Error ? error.message : String(error)}`);
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
