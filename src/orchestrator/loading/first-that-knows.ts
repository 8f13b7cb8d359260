import { UnknownModel } from "../errors.ts";
import type { LocatedModel } from "../inventory/located-model.ts";

/** Tries the engines that list a model in turn, while they throw `UnknownModel`. Throws the first one's error. */
export async function firstThatKnows<Result>(
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
