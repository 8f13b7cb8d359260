import type { Engine } from "../engines/engine.ts";
import { keyOfName } from "../store/model-name.ts";

/** A model that was loaded through this program. */
export interface OwnLoad {
  readonly name: string;
  /** Keep-alive that the request named, in seconds. */
  readonly asked: number | undefined;
  /** Keep-alive that the engine was told last. */
  readonly told: number | undefined;
}

/** What was loaded here, engine by engine; everything else in memory is somebody else's. */
export interface OwnLoads {
  note(engine: Engine, load: OwnLoad): void;
  forget(engine: Engine, name: string): void;
  of(engine: Engine, name: string): OwnLoad | undefined;
  /** Whether it is still loaded is for the engine to say. */
  all(engine: Engine): readonly OwnLoad[];
}

/** By engine, not by its id: what was loaded at another address is not here. */
export function createOwnLoads(): OwnLoads {
  const byEngine = new WeakMap<Engine, Map<string, OwnLoad>>();
  return {
    note(engine, load) {
      const loads = byEngine.get(engine) ?? new Map<string, OwnLoad>();
      byEngine.set(engine, loads);
      loads.set(keyOfName(load.name), load);
    },
    forget: (engine, name) => void byEngine.get(engine)?.delete(keyOfName(name)),
    of: (engine, name) => byEngine.get(engine)?.get(keyOfName(name)),
    all: (engine) => [...(byEngine.get(engine)?.values() ?? [])],
  };
}
