import type { Engine } from "../engines/engine.ts";
import type { Observations } from "../memory/measure/observations.ts";
import { modelId } from "../models/located-model.ts";
import type { Runners } from "../models/runners.ts";

/** End of the last use of any name that the model's process serves; undefined before the first use. */
export function lastUseMs(
  observations: Pick<Observations, "of">,
  runners: Pick<Runners, "namesOf">,
  engine: Pick<Engine, "id">,
  name: string,
): number | undefined {
  const uses = runners.namesOf(engine, name).map((each) => observations.of(modelId(engine.id, each)).lastUsedMs);
  const known = uses.filter((ms) => ms !== undefined);
  return known.length === 0 ? undefined : Math.max(...known);
}
