import type { Engine } from "../engines/engine.ts";
import { engineKey } from "./engine-key.ts";

/** Which engines are reported when they don't respond: all but optional ones that have never responded. */
export interface ExpectedEngines {
  isExpected(engine: Engine): Promise<boolean>;
  noteResponse(engine: Engine): void;
}

/** Whether an engine is optional depends on the disk, which is read at most this often. */
const freshMs = 5_000;

/** `kept` saves the hosts that responded; absent: they are forgotten with the process. */
export function createExpectedEngines(parts: {
  readonly kept: { hosts(): Promise<readonly string[]>; noteHost(host: string): void } | undefined;
  readonly now: () => number;
}): ExpectedEngines {
  const { kept, now } = parts;
  const responded = new Set<string>();
  const known = new WeakMap<Engine, { readonly atMs: number; readonly isExpected: Promise<boolean> }>();

  async function look(engine: Engine, host: string, isOptional: () => Promise<boolean>): Promise<boolean> {
    if ((await kept?.hosts())?.includes(host) === true) responded.add(host);
    return responded.has(host) || !(await isOptional());
  }

  return {
    isExpected(engine) {
      const host = engineKey(engine);
      const { isOptional } = engine;
      if (isOptional === undefined || host === undefined || responded.has(host)) return Promise.resolve(true);
      const last = known.get(engine);
      if (last !== undefined && Math.abs(now() - last.atMs) < freshMs) return last.isExpected;
      const isExpected = look(engine, host, isOptional);
      known.set(engine, { atMs: now(), isExpected });
      return isExpected;
    },
    noteResponse(engine) {
      const host = engineKey(engine);
      if (engine.isOptional === undefined || host === undefined || responded.has(host)) return;
      responded.add(host);
      void kept?.hosts().then((hosts) => {
        if (!hosts.includes(host)) kept.noteHost(host);
      });
    },
  };
}
