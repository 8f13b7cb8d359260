import { InvalidRequest } from "../api/errors.ts";
import { advice } from "../api/next-step.ts";
import { nearestNames } from "../util/nearest.ts";

type Kind = "number" | "integer" | "boolean" | "texts";

/**
 * Least values: Ollama accepts smaller ones silently. Some negative values have a meaning: `num_predict` -1 sets no
 * limit, -2 fills the window; `repeat_last_n` and `num_keep` -1 mean the whole context; a `seed` may be any number.
 */
const least: Readonly<Record<string, number>> = {
  min_p: 0,
  num_batch: 1,
  num_ctx: 1,
  num_keep: -1,
  num_predict: -2,
  repeat_last_n: -1,
  temperature: 0,
  top_k: 0,
  top_p: 0,
};

/** Names and types of Ollama's `api.Options`, v0.33. */
const kinds: Readonly<Record<string, Kind>> = {
  draft_num_predict: "integer",
  frequency_penalty: "number",
  main_gpu: "integer",
  min_p: "number",
  num_batch: "integer",
  num_ctx: "integer",
  num_gpu: "integer",
  num_keep: "integer",
  num_predict: "integer",
  num_thread: "integer",
  presence_penalty: "number",
  repeat_last_n: "integer",
  repeat_penalty: "number",
  seed: "integer",
  stop: "texts",
  temperature: "number",
  top_k: "integer",
  top_p: "number",
  typical_p: "number",
  use_mmap: "boolean",
};

/**
 * Returns parameters in the types that engines read; numbers and booleans may be given as text, as shells do.
 * `readable` are the names that the engine supports; all of Ollama's when absent. Throws `InvalidRequest` for another
 * name, with the nearest ones, and for a value of the wrong type or too small.
 */
export function checkedParameters(
  given: Readonly<Record<string, unknown>>,
  engine: string,
  readable: readonly string[] = Object.keys(kinds),
): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    Object.entries(given).map(([name, value]) => {
      const kind = Object.hasOwn(kinds, name) ? kinds[name] : undefined;
      if (kind === undefined || !readable.includes(name)) throw unreadable(name, kind !== undefined, engine, readable);
      const read = valueOf(kind, value);
      if (read === undefined) {
        throw new InvalidRequest(`parameter "${name}" must be ${kindNames[kind]}, not ${JSON.stringify(value)}`, {
          next: { step: "correctArguments" },
        });
      }
      const limit = least[name];
      if (limit !== undefined && typeof read === "number" && read < limit) {
        throw new InvalidRequest(`parameter "${name}" must be at least ${limit}, not ${read}`, {
          next: { step: "correctArguments" },
        });
      }
      return [name, read];
    }),
  );
}

const kindNames: Readonly<Record<Kind, string>> = {
  number: "a number",
  integer: "a whole number",
  boolean: "true or false",
  texts: "a string or a list of strings",
};

function unreadable(name: string, isKnown: boolean, engine: string, readable: readonly string[]): InvalidRequest {
  if (isKnown) {
    return new InvalidRequest(`${engine} does not support the parameter "${name}"`, {
      next: [advice("leave it out"), { step: "chooseOneOf", names: readable }],
    });
  }
  const nearest = nearestNames(name.replaceAll("-", "_"), readable, 2);
  return new InvalidRequest(`unknown parameter "${name}"`, {
    next: nearest.length > 0 ? { step: "didYouMean", names: nearest } : { step: "chooseOneOf", names: readable },
  });
}

function valueOf(kind: Kind, value: unknown): unknown {
  if (kind === "texts") {
    const texts = Array.isArray(value) ? (value as readonly unknown[]) : [value];
    return texts.length > 0 && texts.every((text) => typeof text === "string" && text !== "") ? texts : undefined;
  }
  if (kind === "boolean") {
    if (typeof value === "boolean") return value;
    return value === "true" ? true : value === "false" ? false : undefined;
  }
  const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
  if (typeof number !== "number" || !Number.isFinite(number)) return undefined;
  return kind === "integer" && !Number.isSafeInteger(number) ? undefined : number;
}
