import { fieldsIn } from "../util/values.ts";

/** The file in `OLLM_HOME` that lists the installed models for new clients, which don't wait for engines. */
export const summaryFile = "summary.json";

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

/** The models, most useful first, from the text of the file; undefined if it is damaged. */
export function parseSummary(text: string): readonly SummaryModel[] | undefined {
  const { models } = fieldsIn(text);
  return Array.isArray(models) && models.every(isModel) ? models : undefined;
}

function isModel(value: unknown): value is SummaryModel {
  if (typeof value !== "object" || value === null || !("name" in value)) return false;
  const { name, digest, tokensPerSecond, isAway } = value as Readonly<Record<string, unknown>>;
  const isSpeed = typeof tokensPerSecond === "number" && Number.isFinite(tokensPerSecond) && tokensPerSecond > 0;
  return (
    typeof name === "string" &&
    (digest === undefined || typeof digest === "string") &&
    (isAway === undefined || typeof isAway === "boolean") &&
    (tokensPerSecond === undefined || isSpeed)
  );
}
