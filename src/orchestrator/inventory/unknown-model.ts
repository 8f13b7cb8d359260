import { UnknownModel } from "../errors.ts";
import { nearestNames } from "../text/nearest.ts";
import type { EngineModels } from "./located-model.ts";

/** The error of a name that no engine lists: the nearest ones that are, and which engines could not be asked. */
export function unknownModel(name: string, all: readonly EngineModels[], engineId: string | undefined): UnknownModel {
  const searched = all.filter(({ engine }) => engineId === undefined || engine.id === engineId);
  const names = [...new Set(searched.flatMap(({ models }) => models.map((model) => model.name)))];
  const nearest = nearestNames(name, names, 3);
  const down = searched
    .filter(({ message }) => message !== undefined)
    .map(({ engine, message }) => `${engine.id}: ${message}`);
  const where = engineId === undefined ? "" : ` on ${engineId}`;
  const message = [`no model ${name}${where}`, ...down].join("; ");
  if (nearest.length > 0)
    return new UnknownModel(message, { hint: `nearest: ${nearest.join(", ")}; or call pull_model` });
  return new UnknownModel(message, {
    hint: `call pull_model with model "${name}", or list_models to see what is there`,
  });
}
