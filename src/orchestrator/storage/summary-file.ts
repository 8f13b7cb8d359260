import { readFileSync, statSync } from "node:fs";
import { fieldsIn, isRecord, orUndefined } from "../util/values.ts";

/** The file in `OLLM_HOME` that lists the installed models for new clients, which don't wait for engines. */
export const summaryFile = "summary.json";
const maxBytes = 16_384;

/** A local model that generates text. */
export interface SummaryModel {
  readonly name: string;
  /** That of its weights: another model under the same name has another speed. */
  readonly digest?: string;
  /** As observed on this machine, rounded; absent until it has answered here. */
  readonly tokensPerSecond?: number;
  /** Its engine did not respond, and no other lists it: it may still be installed, and its speed is kept. */
  readonly isAway?: boolean;
}

/**
 * The models that were installed when the daemon of `home` last listed them, by the summary that it keeps; undefined if
 * there is none, or none that can be used. Synchronous, as one small file: it is read while a client or an assistant waits.
 */
export function installedModels(home: string): readonly SummaryModel[] | undefined {
  const file = `${home}/${summaryFile}`;
  return orUndefined(() => {
    const facts = statSync(file);
    return facts.isFile() && facts.size <= maxBytes ? parseSummary(readFileSync(file, "utf8")) : undefined;
  });
}

/** The models, most useful first, from the text of the file; undefined if it is damaged. */
export function parseSummary(text: string): readonly SummaryModel[] | undefined {
  const { models } = fieldsIn(text);
  return Array.isArray(models) && models.every(isModel) ? models : undefined;
}

function isModel(value: unknown): value is SummaryModel {
  if (!isRecord(value)) return false;
  const { name, digest = "", tokensPerSecond = 1, isAway = false } = value;
  const isSpeed = Number.isFinite(tokensPerSecond) && Number(tokensPerSecond) > 0;
  return typeof name === "string" && typeof digest === "string" && typeof isAway === "boolean" && isSpeed;
}
