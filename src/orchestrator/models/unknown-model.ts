import { UnknownModel } from "../api/errors.ts";
import { nearestNames } from "../util/nearest.ts";
import type { EngineModels } from "./located-model.ts";

/**
 * The error for a name that no engine lists: engines that did not respond, and as next step the nearest names.
 * `download` describes a pull of it.
 */
export function unknownModel(
  name: string,
  all: readonly EngineModels[],
  engineId: string | undefined,
  download?: string,
): UnknownModel {
  const searched = all.filter(({ engine }) => engineId === undefined || engine.id === engineId);
  const names = [...new Set(searched.flatMap(({ models }) => models.map((model) => model.name)))];
  const nearest = nearestNames(name, names, 3);
  const down = searched
    .filter(({ message }) => message !== undefined)
    .map(({ engine, message }) => `${engine.id}: ${message}`);
  const where = engineId === undefined ? "" : ` on ${engineId}`;
  const message = [`no model ${name}${where}`, ...down].join("; ");
  const pull = { step: "pullModel", model: name, ...(download === undefined ? {} : { because: download }) } as const;
  return new UnknownModel(message, {
    next: nearest.length > 0 ? [{ step: "didYouMean", names: nearest }, pull] : [pull, { step: "listModels" }],
  });
}
