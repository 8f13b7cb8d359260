import { UnknownModel } from "../errors.ts";
import type { LocatedModel } from "../inventory/located-model.ts";

/** Of the places that list a model, the first whose engine doesn't say `UnknownModel`. Throws the first one's error. */
export async function firstThatKnows<Result>(
  places: readonly LocatedModel[],
  use: (place: LocatedModel) => Promise<Result>,
  passedOver: (place: LocatedModel, error: UnknownModel, next: LocatedModel) => void,
): Promise<Result> {
  let first: UnknownModel | undefined;
  for (const [index, place] of places.entries()) {
    try {
      return await use(place);
    } catch (error) {
      if (!(error instanceof UnknownModel)) throw error;
      first ??= error;
      const next = places[index + 1];
      if (next !== undefined) passedOver(place, error, next);
    }
  }
  throw first ?? new UnknownModel("no engine holds the model");
}
