import { dereference, validate } from "@cfworker/json-schema";
import { InvalidRequest } from "../api/errors.ts";
import { advice } from "../api/next-step.ts";
import type { FinishReason, JsonSchema } from "../api/types.ts";
import { isRecord, messageOf, orUndefined, parseJson } from "../util/values.ts";
import { shortened } from "../util/format-bytes.ts";

/** An answer that should be JSON. */
export interface JsonText {
  readonly text: string;
  readonly finishReason: FinishReason;
}

/** The answer as the caller gets it, and why it is not valid, as a predicate of the model: `did not answer with ...`. */
export interface Validation {
  readonly text: string;
  readonly problem?: string;
  /** Why it is not known to match the schema. */
  readonly unchecked?: string;
}

/** How many of the places that don't match are named. */
const maxShownErrors = 3;
const maxShownCharacters = 200;

/** The limits of what is checked at once. Their product is what an enum may be compared with, in 3 ms. */
const quick = { schemaNodes: 200, schemaCharacters: 4_000, product: 500_000, answerCharacters: 16_000 } as const;
/** Keywords that may take a validator arbitrarily long, whatever the size of the schema and of the answer. */
const slowKeywords: ReadonlySet<string> = new Set(
  "$dynamicRef $recursiveRef $ref format pattern patternProperties uniqueItems".split(" "),
);

/** Whether the schema is checked, and an answer of this length is validated, within a few milliseconds. Looks at little itself. */
export function isQuick(format: "json" | JsonSchema, answerCharacters = 0): boolean {
  if (answerCharacters > quick.answerCharacters) return false;
  if (format === "json") return true;
  let [nodes, characters] = [0, 0];
  const waiting: unknown[] = [format];
  for (let value = waiting.pop(); value !== undefined; value = waiting.pop()) {
    nodes += 1;
    if (typeof value === "string") characters += value.length;
    else if (typeof value === "object" && value !== null) {
      for (const key in value) {
        characters += key.length;
        if (nodes + waiting.length > quick.schemaNodes || slowKeywords.has(key)) return false;
        waiting.push((value as Readonly<Record<string, unknown>>)[key]);
      }
    }
    if (characters > quick.schemaCharacters) return false;
  }
  return (nodes + characters) * answerCharacters <= quick.product;
}

/**
 * A format that answers are validated against. A schema may take it arbitrarily long: a `pattern` that backtracks,
 * references that branch. On the main thread only what `isQuick`.
 */
export class JsonFormat {
  readonly #schema: JsonSchema | undefined;
  readonly #draft: "4" | "7" | "2020-12";
  readonly #lookup: ReturnType<typeof dereference>;
  /** Patterns that are no regular expressions of JavaScript, and so are not checked. */
  readonly ignoredPatterns: readonly string[];

  /** Throws `InvalidRequest` for a schema beyond the limits, or that can't be used. */
  constructor(format: "json" | JsonSchema) {
    checkFormat(format);
    const ignored: string[] = [];
    // A copy: the validator adds properties to it.
    this.#schema = format === "json" ? undefined : (usable(format, ignored) as JsonSchema);
    const dialect = typeof this.#schema?.["$schema"] === "string" ? this.#schema["$schema"] : "";
    this.#draft = dialect.includes("draft-04") ? "4" : /draft-0[67]/.test(dialect) ? "7" : "2020-12";
    this.#lookup = lookupOf(this.#schema);
    this.ignoredPatterns = ignored;
  }

  /** Throws `InvalidRequest` for what would fail for any answer, such as references that never end, before one is generated. */
  tryOut(): this {
    for (const value of [null, "", 0, [], {}]) {
      try {
        void this.#mismatch(value);
      } catch (error) {
        throw notValidated(reasonOf(error), error);
      }
    }
    return this;
  }

  /**
   * Also takes JSON in a code fence, which servers without grammars give in spite of the format: the caller gets what is in
   * it. `found` takes what is known so far: the end may never come.
   */
  validate({ text, finishReason }: JsonText, found: (sofar: Validation) => void = () => undefined): Validation {
    let [json, read] = [text, parsed(text)];
    const fenced = "error" in read ? onlyFence(text) : undefined;
    if (fenced !== undefined) [json, read] = [fenced, parsed(fenced)];
    const isCut = finishReason === "length" && ("error" in read || typeof read.value !== "object");
    // A number may have lost its last digits; a closed bracket is the end.
    if (isCut) return { text, problem: "ran out of tokens before its JSON was complete" };
    if ("error" in read) return { text, problem: `did not answer with valid JSON: ${read.error}` };
    found({ text: json });
    try {
      const problem = this.#mismatch(read.value, (brief) => found({ text: json, problem: mismatching(brief) }));
      return problem === undefined ? { text: json } : { text: json, problem: mismatching(problem) };
    } catch (error) {
      return { text: json, unchecked: reasonOf(error) };
    }
  }

  /** Where the value does not match. `brief` takes the first place before the others are looked for. */
  #mismatch(value: unknown, brief: (problem: string) => void = () => undefined): string | undefined {
    const schema = this.#schema;
    if (schema === undefined) return undefined;
    const first = validate(value, schema, this.#draft, this.#lookup, true);
    if (first.valid) return undefined;
    brief(placesOf(first));
    return placesOf(validate(value, schema, this.#draft, this.#lookup, false));
  }
}

function mismatching(places: string): string {
  return `answered JSON that does not match the schema: ${places}`;
}

function placesOf({ errors }: ReturnType<typeof validate>): string {
  const leaves = errors.filter(
    ({ keywordLocation }, at) => errors[at + 1]?.keywordLocation.startsWith(`${keywordLocation}/`) !== true,
  );
  const texts = leaves.map(
    ({ instanceLocation: at, error }) => `${at === "#" ? "" : `${at.slice(1)}: `}${cut(error.replace(/\.$/, ""))}`,
  );
  const distinct = [...new Set(texts)];
  const more = distinct.length - maxShownErrors;
  return [...distinct.slice(0, maxShownErrors), ...(more > 0 ? [`${more} more`] : [])].join("; ");
}

function parsed(text: string): { readonly value: unknown } | { readonly error: string } {
  try {
    const value = parseJson(text);
    // A grammar allows 82E58173 for an integer, which is infinite.
    const infinite = infiniteIn(value);
    return infinite === undefined ? { value } : { error: infinite };
  } catch (error) {
    return { error: cut(messageOf(error)) };
  }
}

/** Where a number is infinite. The value has at most `maxJsonDepth` levels. */
function infiniteIn(value: unknown, path = ""): string | undefined {
  if (typeof value === "number") return Number.isFinite(value) ? undefined : `${path || "it"} is an infinite number`;
  if (typeof value !== "object" || value === null) return undefined;
  for (const [key, inner] of Object.entries(value)) {
    const found = infiniteIn(inner, `${path}/${key}`);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The content of the only code fence. A line at a time: a regular expression for it backtracks. */
function onlyFence(text: string): string | undefined {
  const lines = text.split("\n");
  const fences: string[] = [];
  let open: { readonly mark: string; readonly at: number } | undefined;
  for (const [at, line] of lines.entries()) {
    const end = line.trimEnd();
    if (open === undefined) {
      const mark = /^[ \t]*(`{3,})[\w-]*$/.exec(end)?.[1];
      if (mark !== undefined) open = { mark, at };
    } else if (end.endsWith(open.mark)) {
      fences.push([...lines.slice(open.at + 1, at), end.slice(0, -open.mark.length)].join("\n").trim());
      open = undefined;
    }
  }
  return fences.length === 1 ? fences[0] : undefined;
}

/** Keywords whose values are no schemas, whatever they look like. */
const values: ReadonlySet<string> = new Set(["const", "default", "enum", "example", "examples"]);
/** Keywords that map names to schemas. */
const maps: ReadonlySet<string> = new Set("$defs definitions dependentSchemas patternProperties properties".split(" "));

/** A copy of a schema without examples and without patterns that can't be checked. Not deeper than `limits` allow. */
function usable(schema: unknown, ignored: string[]): unknown {
  if (Array.isArray(schema)) return schema.map((each) => usable(each, ignored));
  if (!isRecord(schema)) return schema;
  const copy: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(schema)) {
    if (key === "pattern" && typeof value === "string" && !isPattern(value)) ignored.push(value);
    else if (key === "const" || key === "enum") copy[key] = value;
    else if (maps.has(key) && isRecord(value)) copy[key] = usableMap(value, key === "patternProperties", ignored);
    else if (!values.has(key)) copy[key] = usable(value, ignored);
  }
  return copy;
}

function usableMap(schemas: JsonSchema, isByPattern: boolean, ignored: string[]): JsonSchema {
  const isKept = (name: string) => !isByPattern || isPattern(name);
  const names = Object.keys(schemas);
  ignored.push(...names.filter((name) => !isKept(name)));
  return Object.fromEntries(names.filter(isKept).map((name) => [name, usable(schemas[name], ignored)]));
}

function isPattern(text: string): boolean {
  return orUndefined(() => new RegExp(text, "u")) !== undefined;
}

/** Every schema by its address. Nothing is fetched: a reference to what the schema does not contain is refused. */
function lookupOf(schema: JsonSchema | undefined): ReturnType<typeof dereference> {
  if (schema === undefined) return {};
  try {
    const lookup = dereference(schema);
    for (const each of Object.values(lookup)) {
      if (typeof each !== "object") continue;
      const { $ref, __absolute_ref__: address, type } = each as Readonly<Record<string, unknown>>;
      if ($ref !== undefined && lookup[String(address)] === undefined) {
        throw unusable(`it contains nothing that ${cut(JSON.stringify($ref))} refers to`);
      }
      const unknown = [type].flat().find((name) => name !== undefined && !types.has(name));
      if (unknown !== undefined) throw unusable(`there is no type ${cut(JSON.stringify(unknown))}`);
    }
    return lookup;
  } catch (error) {
    if (error instanceof InvalidRequest) throw error;
    throw unusable(messageOf(error), error);
  }
}

const types: ReadonlySet<unknown> = new Set(["array", "boolean", "integer", "null", "number", "object", "string"]);

function unusable(reason: string, cause?: unknown): InvalidRequest {
  return new InvalidRequest(`the JSON schema can't be used: ${reason}`, {
    next: [advice("correct the schema"), { step: "setArgument", argument: "format", to: "json" }],
    cause,
  });
}

/** For a schema that no answer can be validated against. */
export function notValidated(reason: string, cause?: unknown): InvalidRequest {
  return new InvalidRequest(`an answer can't be validated against the JSON schema: ${reason}`, {
    next: advice("simplify its patterns and references, or describe the allowed values in words"),
    cause,
  });
}

function reasonOf(error: unknown): string {
  return error instanceof RangeError ? "its references have no end" : messageOf(error);
}

const cut = (text: string): string => shortened(text, maxShownCharacters);

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
function checkFormat(format: "json" | JsonSchema): void {
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

/** Objects and lists that a level of a schema takes at most. */
const maxNesting = 3;

/** Not recursive, because the schema may be arbitrarily deep. */
function measure(schema: JsonSchema) {
  let [enumValues, alternatives, properties, depth] = [0, 0, 0, 0];
  const waiting: { readonly value: unknown; readonly at: number; readonly nesting: number }[] = [
    { value: schema, at: 1, nesting: 1 },
  ];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const { value, at, nesting } = next;
    if (typeof value !== "object" || value === null) continue;
    depth = Math.max(depth, at, Math.ceil(nesting / maxNesting));
    for (const [key, inner] of Object.entries(value)) {
      if (key === "enum" && Array.isArray(inner)) enumValues += inner.length;
      if (unions.has(key) && Array.isArray(inner)) alternatives += inner.length;
      if (key === "properties" && isRecord(inner)) properties += Object.keys(inner).length;
      // Objects that map names to schemas, and lists, are not levels of their own.
      waiting.push({ value: inner, at: isRecord(inner) && !isHolder(key) ? at + 1 : at, nesting: nesting + 1 });
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
    if (!isRecord(definitions)) continue;
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
  if (!isRecord(schema)) return true;
  const every = (value: unknown): boolean => !Array.isArray(value) || value.every((one) => ends(one, endsReference));
  const some = (value: unknown): boolean =>
    !Array.isArray(value) || value.length === 0 || value.some((one) => ends(one, endsReference));
  const { $ref, properties, required, items, minItems } = schema;
  if (typeof $ref === "string" && !endsReference($ref)) return false;
  if (!every(schema["allOf"]) || !some(schema["anyOf"]) || !some(schema["oneOf"])) return false;
  if (typeof minItems === "number" && minItems > 0 && !ends(items, endsReference)) return false;
  const needed = Array.isArray(required) ? required : [];
  return !isRecord(properties) || needed.every((name) => ends(properties[String(name)], endsReference));
}
