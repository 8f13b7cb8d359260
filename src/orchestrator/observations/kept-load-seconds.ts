import type { Engine } from "../engines/engine.ts";
import { modelId } from "../inventory/model-id.ts";
import type { KeptLearning } from "../estimates/kept-learning.ts";
import type { InstalledModel } from "../types.ts";
import type { Observations } from "./observations.ts";

/** Weight of the newest sample, as with those of one process. */
const smoothing = 0.3;

/**
 * Observations that begin with the load times of earlier processes: until a model was loaded by this one, `of` answers
 * what was kept of the same weights at the same address. `ready` resolves once those are read.
 */
export function withKeptLoadSeconds(
  observations: Observations,
  parts: {
    readonly kept: KeptLearning;
    readonly engines: () => readonly Engine[];
    readonly lastList: (engine: Engine) => readonly InstalledModel[];
  },
): Observations {
  const { kept, engines, lastList } = parts;
  /** By `modelId`; an engine whose address changed has others. */
  const before = new Map<string, { readonly host: string; readonly digest: string; readonly seconds: number }>();
  let taken: Promise<void> | undefined;

  /** Which weights at which address a key stands for now. */
  function weightsOf(
    key: string,
  ): { readonly host: string; readonly name: string; readonly digest: string } | undefined {
    const engine = engines().find(({ id }) => key.startsWith(`${id} `));
    if (engine?.address === undefined) return undefined;
    const model = lastList(engine).find(({ name }) => modelId(engine.id, name) === key);
    if (model?.digest === undefined) return undefined;
    return { host: `${engine.id} ${engine.address}`, name: model.name, digest: model.digest };
  }

  function keptSeconds(key: string): number | undefined {
    const known = before.get(key);
    const weights = known && weightsOf(key);
    return weights?.host === known?.host && weights?.digest === known?.digest ? known?.seconds : undefined;
  }

  return {
    ...observations,
    ready() {
      taken ??= (async () => {
        for (const { host, name, digest, seconds } of await kept.loads()) {
          const id = host.slice(0, host.indexOf(" "));
          before.set(modelId(id, name), { host, digest, seconds });
        }
      })();
      return taken;
    },
    of(key) {
      const observed = observations.of(key);
      if (observed.loadSeconds !== undefined) return observed;
      const loadSeconds = keptSeconds(key);
      return loadSeconds === undefined ? observed : { ...observed, loadSeconds };
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
      before.delete(key);
      observations.forget(key);
    },
  };
}
