import { engineKey } from "../engines/engine.ts";
import type { EnginePolls } from "../catalog/engine-polls.ts";
import { byKey } from "../catalog/located-model.ts";
import { keyOfName } from "../util/model-name.ts";
import type { KeptLearning, KeptLoad } from "./kept-learning.ts";
import type { Observation, Observations } from "./observations.ts";

/** Weight of the newest sample, as in `createObservations`. */
const smoothing = 0.3;

/**
 * Observations that start with the load times of earlier processes: until this process has loaded a model, `of` returns
 * the saved load time of the same weights at the same address. `ready` resolves once they are read.
 */
export function withKeptLoadSeconds(
  observations: Observations,
  parts: {
    readonly kept: KeptLearning;
    readonly polls: Pick<EnginePolls, "engines" | "lastList">;
  },
): Observations {
  const { kept, polls } = parts;
  /** By the name part of a `modelId`. */
  const before = new Map<string, KeptLoad[]>();
  /** What `of` returned: the same while nothing changes, as without kept load times. */
  const shown = new Map<string, { readonly observed: Observation; readonly completed: Observation }>();
  let restored: Promise<void> | undefined;

  const engineOf = (key: string) => polls.engines.find(({ id }) => key.startsWith(`${id} `));
  const nameIn = (key: string) => key.slice(key.indexOf(" ") + 1);

  /** The weights and the address that a key refers to now. */
  function weightsOf(
    key: string,
  ): { readonly host: string; readonly name: string; readonly digest: string } | undefined {
    const engine = engineOf(key);
    const host = engine && engineKey(engine);
    if (engine === undefined || host === undefined) return undefined;
    const model = byKey(polls.lastList(engine)).get(nameIn(key));
    if (model?.digest === undefined) return undefined;
    return { host, name: model.name, digest: model.digest };
  }

  function keptSeconds(key: string): number | undefined {
    const known = before.get(nameIn(key));
    const weights = known && weightsOf(key);
    return known?.find(({ host, digest }) => host === weights?.host && digest === weights.digest)?.seconds;
  }

  return {
    ...observations,
    ready() {
      restored ??= (async () => {
        for (const load of await kept.loads()) {
          const name = keyOfName(load.name);
          before.set(name, [...(before.get(name) ?? []), load]);
        }
      })();
      return restored;
    },
    of(key) {
      const observed = observations.of(key);
      if (observed.loadSeconds !== undefined) return observed;
      const loadSeconds = before.size === 0 ? undefined : keptSeconds(key);
      if (loadSeconds === undefined) return observed;
      const known = shown.get(key);
      if (known?.observed === observed && known.completed.loadSeconds === loadSeconds) return known.completed;
      const completed = { ...observed, loadSeconds };
      shown.set(key, { observed, completed });
      return completed;
    },
    loaded(key, loadMs) {
      const isFirst = observations.of(key).loadSeconds === undefined;
      const earlier = isFirst ? keptSeconds(key) : undefined;
      const blendedMs = earlier === undefined ? loadMs : (1 - smoothing) * earlier * 1_000 + smoothing * loadMs;
      observations.loaded(key, blendedMs);
      const { loadSeconds } = observations.of(key);
      const weights = weightsOf(key);
      if (weights !== undefined && loadSeconds !== undefined) kept.noteLoad({ ...weights, seconds: loadSeconds });
    },
    forget(key) {
      const engine = engineOf(key);
      const host = engine && engineKey(engine);
      const name = nameIn(key);
      before.set(
        name,
        (before.get(name) ?? []).filter((load) => load.host !== host),
      );
      observations.forget(key);
    },
  };
}
