import { keyOfName } from "../util/model-name.ts";

/**
 * Identifies a model of an engine in queues, reservations and observations; spellings of the same name give the same
 * id.
 */
export function modelId(engineId: string, name: string): string {
  return `${engineId} ${keyOfName(name)}`;
}
