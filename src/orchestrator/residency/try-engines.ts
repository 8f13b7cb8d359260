import { UnknownModel } from "../api/errors.ts";
import type { LocatedModel } from "../models/located-model.ts";

/**
 * Calls `use` with each engine that lists a model until one doesn't throw `UnknownModel`. Throws the first engine's
 * error if all of them do. `passedOver` is called before the next engine is tried.
 */
export async function tryEngines<Result>(
  models: readonly LocatedModel[],
  use: (located: LocatedModel) => Promise<Result>,
  passedOver: (located: LocatedModel, error: UnknownModel, next: LocatedModel) => void,
): Promise<Result> {
  let first: UnknownModel | undefined;
  for (const [index, located] of models.entries()) {
    try {
      return await use(located);
    } catch (error) {
      if (!(error instanceof UnknownModel)) throw error;
      first ??= error;
      const next = models[index + 1];
      if (next !== undefined) passedOver(located, error, next);
    }
  }
  throw first ?? new UnknownModel("no engine holds the model");
}
