import { keyOfName } from "../store/model-name.ts";

/** Identifies one model on one engine in queues, ledgers and observations; two spellings of a name give one id. */
export function modelId(engineId: string, name: string): string {
  return `${engineId} ${keyOfName(name)}`;
}
