import { GenerationFailed, InvalidRequest } from "../api/errors.ts";
import { advice } from "../api/next-step.ts";
import type { JsonSchema } from "../api/types.ts";
import type { Engine } from "../engines/engine.ts";
import {
  type Generation,
  type GenerationRequest,
  type GenerationSink,
  answerCharacters,
} from "../engines/generation.ts";
import { type Repetition, watchRepetition, withoutRepetition } from "./repetition.ts";

/** A generation; one that was aborted lacks the counts that only the engine has. */
export type BoundedAnswer = Omit<Generation, "promptTokens"> & Partial<Pick<Generation, "promptTokens">>;

type Problem =
  | { readonly kind: "too_long" }
  | { readonly kind: "repetition"; readonly part: "text" | "thinking"; readonly repetition: Repetition };

/** Passes an answer on until it is too long or repeats itself. */
class BoundedSink implements GenerationSink {
  readonly #sink: GenerationSink;
  readonly #limit: number;
  readonly #steady: () => number;
  /** Aborts the request: with the call, or because of the problem. */
  readonly #ending = new AbortController();
  readonly #watches = { text: watchRepetition(), thinking: watchRepetition() };
  readonly texts = { text: "", thinking: "" };
  pieces = 0;
  firstTokenAtMs: number | undefined;
  problem: Problem | undefined;

  constructor(sink: GenerationSink, limit: number, steady: () => number) {
    this.#sink = sink;
    this.#limit = limit;
    this.#steady = steady;
  }

  get ending(): AbortSignal {
    return this.#ending.signal;
  }

  text(delta: string): void {
    this.#take("text", delta);
  }

  thinking(delta: string): void {
    this.#take("thinking", delta);
  }

  phase(phase: Parameters<GenerationSink["phase"]>[0]): void {
    this.#sink.phase(phase);
  }

  end(reason: unknown): void {
    this.#ending.abort(reason);
  }

  #take(part: "text" | "thinking", delta: string): void {
    // Text that arrives after the abort is not part of the answer.
    if (this.problem !== undefined) return;
    this.firstTokenAtMs ??= this.#steady();
    this.pieces += 1;
    const { texts } = this;
    if (texts.text.length + texts.thinking.length + delta.length > this.#limit) this.problem = { kind: "too_long" };
    else {
      texts[part] += delta;
      this.#sink[part](delta);
      const repetition = this.#watches[part].add(delta);
      if (repetition !== undefined) this.problem = { kind: "repetition", part, repetition };
    }
    if (this.problem !== undefined) this.end(new Error("the answer was aborted"));
  }
}

/**
 * Sends a request to an engine and aborts it once the answer, or the thinking before it, repeats itself; the text is then
 * cut before the loop, with a note. Throws `GenerationFailed` for an answer longer than `maxTokens` allows and for
 * repetition in JSON, and whatever the engine throws. `steady` in milliseconds.
 */
export async function boundedAnswer(
  engine: Pick<Engine, "generate">,
  request: GenerationRequest,
  sink: GenerationSink,
  signal: AbortSignal,
  steady: () => number,
): Promise<{ readonly generation: BoundedAnswer; readonly notes: readonly string[] }> {
  const startedAtMs = steady();
  const limit = answerCharacters(request.maxTokens);
  const bounded = new BoundedSink(sink, limit, steady);
  const onAbort = (): void => bounded.end(signal.reason);
  if (signal.aborted) onAbort();
  else signal.addEventListener("abort", onAbort, { once: true });

  let generation: Generation | undefined;
  try {
    generation = await engine.generate(request, bounded, bounded.ending);
  } catch (error) {
    if (bounded.problem === undefined || signal.aborted) throw error;
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
  const { problem: found, pieces, firstTokenAtMs, texts: parts } = bounded;
  if (found === undefined && generation !== undefined) return { generation, notes: [] };
  if (found?.kind !== "repetition") throw tooLong(request, limit);
  const cut = withoutRepetition(parts[found.part], found.repetition);
  const loop = `the same ${found.repetition.periodCharacters} characters ${cut.copies} times`;
  if (request.format !== undefined) throw repeatedJson(request.model, loop);
  const endedAtMs = steady();
  const firstTokenMs = (firstTokenAtMs ?? endedAtMs) - startedAtMs;
  const texts = { ...parts, [found.part]: cut.text };
  return {
    generation: {
      completionTokens: pieces,
      loadMs: 0,
      firstTokenMs,
      prefillMs: firstTokenMs,
      decodeMs: endedAtMs - startedAtMs - firstTokenMs,
      totalMs: endedAtMs - startedAtMs,
      ...generation,
      text: texts.text,
      ...(texts.thinking === "" ? {} : { thinking: texts.thinking }),
      finishReason: "repetition",
    },
    notes: [
      found.part === "thinking"
        ? `${request.model} repeated itself while thinking (${loop}): it was stopped before an answer`
        : `${request.model} repeated itself (${loop}): the answer is cut before the repetition`,
    ],
  };
}

function tooLong({ model, maxTokens }: GenerationRequest, limit: number): GenerationFailed {
  return new GenerationFailed(
    `the answer of ${model} exceeds ${limit} characters: its engine ignores the limit of ${maxTokens} tokens`,
    { next: [{ step: "chooseModel" }, { step: "lowerArgument", argument: "maxTokens" }] },
  );
}

function repeatedJson(model: string, loop: string): GenerationFailed {
  return new GenerationFailed(`${model} repeated itself (${loop}) before its JSON was complete`, {
    next: advice("use a larger model, a simpler schema or a higher temperature"),
  });
}

/**
 * Engines compile the schema into a grammar and check every token of the answer against it. With an `enum` of 20,000
 * values one token took Ollama more than 25 s, during which neither engine can be interrupted.
 */
const limits = {
  characters: 100_000,
  /** Values of all enums together. */
  enumValues: 500,
  /** Members of all `anyOf`, `oneOf` and `allOf` together: 5,000 `const` members amount to an enum. */
  alternatives: 500,
  /** Properties of all objects together. */
  properties: 500,
  /** Nesting depth of schemas. */
  depth: 32,
} as const;

/** Throws `InvalidRequest` for a schema that exceeds the limits or that no finite value matches. */
export function checkFormat(format: "json" | JsonSchema): void {
  if (format === "json") return;
  const { enumValues, alternatives, properties, depth } = measure(format);
  // First, because a schema that is too deep can't be serialized.
  if (depth > limits.depth) throw beyond("levels", depth, limits.depth);
  if (enumValues > limits.enumValues) throw beyond("enum values", enumValues, limits.enumValues);
  if (alternatives > limits.alternatives) {
    throw beyond("members of anyOf, oneOf and allOf", alternatives, limits.alternatives);
  }
  if (properties > limits.properties) throw beyond("properties", properties, limits.properties);
  const characters = JSON.stringify(format).length;
  if (characters > limits.characters) throw beyond("characters", characters, limits.characters);
  const endless = endlessReference(format);
  if (endless !== undefined)
    throw new InvalidRequest(`the JSON schema matches no finite value: ${endless} requires itself`, {
      next: advice("make the reference optional: a property that is not required, or an anyOf with another member"),
    });
}

function beyond(what: string, count: number, limit: number): InvalidRequest {
  return new InvalidRequest(`the JSON schema has ${count} ${what}; at most ${limit} are allowed`, {
    next: advice("simplify the schema, or use a string with a description of the allowed values"),
  });
}

interface Size {
  readonly enumValues: number;
  readonly alternatives: number;
  readonly properties: number;
  readonly depth: number;
}

/** Not recursive, because the schema may be arbitrarily deep. */
function measure(schema: JsonSchema): Size {
  let [enumValues, alternatives, properties, depth] = [0, 0, 0, 0];
  const waiting: { readonly value: unknown; readonly at: number }[] = [{ value: schema, at: 1 }];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const { value, at } = next;
    if (typeof value !== "object" || value === null) continue;
    depth = Math.max(depth, at);
    for (const [key, inner] of Object.entries(value)) {
      if (key === "enum" && Array.isArray(inner)) enumValues += inner.length;
      if (unions.has(key) && Array.isArray(inner)) alternatives += inner.length;
      if (key === "properties" && isSchema(inner)) properties += Object.keys(inner).length;
      // Objects that map names to schemas, and lists, are not levels of their own.
      waiting.push({ value: inner, at: isSchema(inner) && !isHolder(key) ? at + 1 : at });
    }
  }
  return { enumValues, alternatives, properties, depth };
}

const unions: ReadonlySet<string> = new Set(["anyOf", "oneOf", "allOf"]);
const isHolder = (key: string): boolean => ["properties", "$defs", "definitions"].includes(key);

/** A reference whose every value would have to contain itself; undefined if there is none. */
function endlessReference(schema: JsonSchema): string | undefined {
  const targets = new Map<string, unknown>([["#", schema]]);
  for (const key of ["$defs", "definitions"]) {
    const definitions = schema[key];
    if (!isSchema(definitions)) continue;
    for (const [name, definition] of Object.entries(definitions)) targets.set(`#/${key}/${name}`, definition);
  }
  const finite = new Set<string>();
  // A reference is finite if its target is; each round finds those one step further away.
  for (let isGrowing = true; isGrowing;) {
    isGrowing = false;
    for (const [name, target] of targets) {
      if (finite.has(name) || !ends(target, (reference) => finite.has(reference) || !targets.has(reference))) continue;
      finite.add(name);
      isGrowing = true;
    }
  }
  if (finite.has("#")) return undefined;
  return [...targets.keys()].find((name) => name !== "#" && !finite.has(name)) ?? "#";
}

/** Whether a finite value matches the schema. */
function ends(schema: unknown, endsReference: (reference: string) => boolean): boolean {
  if (!isSchema(schema)) return true;
  const every = (value: unknown): boolean => !Array.isArray(value) || value.every((one) => ends(one, endsReference));
  const some = (value: unknown): boolean =>
    !Array.isArray(value) || value.length === 0 || value.some((one) => ends(one, endsReference));
  const { $ref, properties, required, items, minItems } = schema;
  if (typeof $ref === "string" && !endsReference($ref)) return false;
  if (!every(schema["allOf"]) || !some(schema["anyOf"]) || !some(schema["oneOf"])) return false;
  if (typeof minItems === "number" && minItems > 0 && !ends(items, endsReference)) return false;
  const needed = Array.isArray(required) ? required : [];
  return !isSchema(properties) || needed.every((name) => ends(properties[String(name)], endsReference));
}

function isSchema(value: unknown): value is JsonSchema {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
