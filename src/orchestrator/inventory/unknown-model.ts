import { UnknownModel } from "../errors.ts";
import { nearestNames } from "../text/nearest.ts";
import type { EngineModels } from "./located-model.ts";

/** The error for a name that no engine lists: engines that did not respond, and as next step the nearest names. */
export function unknownModel(name: string, all: readonly EngineModels[], engineId: string | undefined): UnknownModel {
  const searched = all.filter(({ engine }) => engineId === undefined || engine.id === engineId);
  const names = [...new Set(searched.flatMap(({ models }) => models.map((model) => model.name)))];
  const nearest = nearestNames(name, names, 3);
  const down = searched
    .filter(({ message }) => message !== undefined)
    .map(({ engine, message }) => `${engine.id}: ${message}`);
  const where = engineId === undefined ? "" : ` on ${engineId}`;
  const message = [`no model ${name}${where}`, ...down].join("; ");
  const pull = { step: "pullModel", model: name } as const;
  return new UnknownModel(message, {
    next: nearest.length > 0 ? [{ step: "didYouMean", names: nearest }, pull] : [pull, { step: "listModels" }],
  });
}
