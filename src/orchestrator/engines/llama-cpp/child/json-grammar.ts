import type { JsonSchema } from "../../../api/types.ts";
import { countUpTo } from "../../generation.ts";
import { isRecord } from "../../../util/values.ts";

/** Schemas below this depth, and references that lead nowhere, allow any value. */
const maxDepth = 48;
/** So do those beyond so many: what refers to itself in `allOf` is written out, and doubles with each level. */
const maxSchemas = 2_000;
/** llama.cpp writes a repetition out, and refuses 2,000: a larger bound is not applied. */
const maxRepetitions = 1_900;

const anyRules = String.raw`
value ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" (pair (", " pair)*)? "}"
pair ::= string ": " value
array ::= "[" (value (", " value)*)? "]"
string ::= "\"" char* "\""
date ::= [0-9]{4} "-" ("0" [1-9] | "1" [0-2]) "-" ("0" [1-9] | [12] [0-9] | "3" [01])
time ::= hour ":" sixty ":" sixty ("." [0-9]{3})? ("Z" | [-+] hour ":" sixty)
hour ::= [01] [0-9] | "2" [0-3]
sixty ::= [0-5] [0-9]
char ::= [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F])
integer ::= "-"? ("0" | [1-9] [0-9]{0,15})
number ::= integer ("." [0-9]{1,16})? ([eE] [-+]? [0-9]{1,3})?
`;

/**
 * GBNF for values of JSON schemas, with the spacing of templates (Python's `json.dumps`), so that a call is rendered as it
 * was written. Optional properties may be left out; their order is that of the schema. What it can't express (patterns,
 * most formats, bounds of numbers, `not`, `if`) is allowed: it never throws.
 */
export class JsonGrammar {
  readonly #rules: string[] = [];
  readonly #references = new Map<unknown, string>();
  /** Targets of references whose rules are being written. */
  readonly #open = new Set<unknown>();
  readonly #isWhole: boolean;
  #schemas = 0;

  /** `isWhole`: a schema that doesn't say which properties are required has them all, since models like to leave out. */
  constructor(isWhole = false) {
    this.#isWhole = isWhole;
  }

  /** The grammar of `root`, an expression that may use what `valueOf` returned. */
  text(root: string): string {
    return [`root ::= ${root}`, ...this.#rules, anyRules.trim()].join("\n");
  }

  /** The expression for values of a format. */
  valueOf(format: "json" | JsonSchema): string {
    return format === "json" ? "object" : this.#reference("#", format, 0);
  }

  rule(body: string): string {
    return this.#define(this.#rules.push("") - 1, body);
  }

  #define(index: number, body: string): string {
    this.#rules[index] = `r${index} ::= ${body}`;
    return `r${index}`;
  }

  #value(described: unknown, root: JsonSchema, depth: number): string {
    const given = unwrapped(described);
    this.#schemas += 1;
    if (!isRecord(given) || depth > maxDepth || this.#schemas > maxSchemas) return "value";
    const { $ref, ...rest } = given;
    if (typeof $ref === "string") return this.#reference($ref, root, depth);
    const schema = mergedAll(rest, root);
    if ("const" in schema) return quoted(jsonOf(schema["const"]));
    if (Array.isArray(schema["enum"]) && schema["enum"].length > 0)
      return alternatives(schema["enum"].map((each) => quoted(jsonOf(each))));
    const choices = schema["anyOf"] ?? schema["oneOf"];
    if (Array.isArray(choices) && choices.length > 0) {
      const { anyOf: _any, oneOf: _one, ...common } = schema;
      return alternatives(choices.map((each) => this.#value(combined(common, each), root, depth + 1)));
    }
    const types = [schema["type"] ?? guessedType(schema)].flat();
    return alternatives(types.map((type) => this.#typed(type, schema, root, depth)));
  }

  #reference(path: string, root: JsonSchema, depth: number): string {
    const target = resolved(path, root);
    if (target === undefined) return "value";
    const known = this.#references.get(target);
    if (known !== undefined) return known;
    // Before its body, which may refer to it.
    const index = this.#rules.push("") - 1;
    this.#references.set(target, `r${index}`);
    this.#open.add(target);
    const value = this.#value(target, root, depth + 1);
    this.#open.delete(target);
    return this.#define(index, value);
  }

  #typed(type: unknown, schema: JsonSchema, root: JsonSchema, depth: number): string {
    if (type === "string") return this.#string(schema);
    if (type === "array") return this.#array(schema, root, depth);
    if (type === "object") return this.#object(schema, root, depth);
    return simpleTypes.get(type) ?? "value";
  }

  #string({ format, minLength, maxLength }: JsonSchema): string {
    const known = typeof format === "string" && Object.hasOwn(formats, format) ? formats[format] : undefined;
    if (known !== undefined) return String.raw`"\"" ${known} "\""`;
    if ((bound(minLength) ?? bound(maxLength)) === undefined) return "string";
    // What is repeated is one rule, because llama.cpp multiplies repetitions by the parts of a group.
    return this.rule(String.raw`"\"" char${times(bound(minLength), bound(maxLength))} "\""`);
  }

  #array({ items, prefixItems, minItems, maxItems }: JsonSchema, root: JsonSchema, depth: number): string {
    const given = (Array.isArray(prefixItems) ? prefixItems : []).slice(0, bound(maxItems));
    const most = items === false ? given.length : bound(maxItems);
    if (most === 0) return '"[]"';
    const item = this.#value(items, root, depth + 1);
    const first = given.length === 0 ? [item] : given.map((each) => this.#value(each, root, depth + 1));
    const all = `${first.join(' ", " ')} ${this.rule(`", " ${item}`)}${times(bound(minItems), most, first.length)}`;
    return this.rule(given.length > 0 || (bound(minItems) ?? 0) > 0 ? `"[" ${all} "]"` : `"[" (${all})? "]"`);
  }

  #object(schema: JsonSchema, root: JsonSchema, depth: number): string {
    const { properties, required, additionalProperties } = schema;
    const isOpen = additionalProperties !== false && !isRecord(properties);
    const others =
      isOpen || additionalProperties === true || isRecord(additionalProperties)
        ? `string ": " ${this.#value(additionalProperties, root, depth + 1)}`
        : undefined;
    const named = Object.entries(isRecord(properties) ? properties : {});
    const [least, most] = [bound(schema["minProperties"]) ?? 0, bound(schema["maxProperties"])];
    // From the end: what may follow a property, and what may be the first one.
    const more = others === undefined ? "" : this.rule(`", " ${others}`);
    let next = more && `${more}${times(least, most, named.length)}`;
    let first =
      others === undefined || (most ?? 1) <= named.length
        ? ""
        : `${others} ${more}${times(least, most, named.length + 1)}`;
    if (first !== "" && least <= named.length) first = `(${first})?`;
    for (const [key, given] of named.toReversed()) {
      const value = unwrapped(given);
      const pair = this.rule(`${quoted(`${jsonOf(key)}: `)} ${this.#value(value, root, depth + 1)}`);
      const isEndless = isRecord(value) && this.#open.has(resolved(value["$ref"], root));
      const isNeeded = Array.isArray(required) ? required.includes(key) : this.#isWhole && !isEndless;
      first = this.rule(isNeeded ? `${pair} ${next}` : `${pair} ${next} | ${first === "" ? '""' : first}`);
      next = this.rule(isNeeded ? `", " ${pair} ${next}` : `(", " ${pair})? ${next}`);
    }
    return `"{" ${first} "}"`;
  }
}

/** A literal of GBNF. */
export function quoted(text: string): string {
  const escaped = text.replaceAll(/[\\"]/g, String.raw`\$&`).replaceAll("\n", String.raw`\n`);
  return `"${escaped.replaceAll("\r", String.raw`\r`).replaceAll("\t", String.raw`\t`)}"`;
}

export function alternatives(each: readonly string[]): string {
  return each.length === 1 ? (each[0] ?? "value") : `(${each.join(" | ")})`;
}

const simpleTypes: ReadonlyMap<unknown, string> = new Map([
  ["number", "number"],
  ["integer", "integer"],
  ["boolean", '("true" | "false")'],
  ["null", '"null"'],
]);
const formats: Readonly<Record<string, string>> = { date: "date", time: "time", "date-time": 'date "T" time' };

/** A repetition, of which some are there already. */
function times(least = 0, most?: number, there = 0): string {
  return `{${Math.max(0, least - there)},${most === undefined ? "" : Math.max(0, least - there, most - there)}}`;
}

/** JSON with the spacing of the grammar. */
function jsonOf(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(jsonOf).join(", ")}]`;
  if (!isRecord(value)) return JSON.stringify(value) ?? "null";
  return `{${Object.entries(value)
    .map(([key, each]) => `${JSON.stringify(key)}: ${jsonOf(each)}`)
    .join(", ")}}`;
}

function guessedType(schema: JsonSchema): string | undefined {
  if ("properties" in schema || "additionalProperties" in schema) return "object";
  return "items" in schema || "prefixItems" in schema ? "array" : undefined;
}

/** A JSON pointer. */
function resolved(path: unknown, root: JsonSchema): unknown {
  if (typeof path !== "string" || !path.startsWith("#")) return undefined;
  let found: unknown = root;
  for (const step of path.slice(1).split("/").filter(Boolean)) {
    const key = step.replaceAll("~1", "/").replaceAll("~0", "~");
    found = isRecord(found) && Object.hasOwn(found, key) ? found[key] : undefined;
  }
  return found;
}

function mergedAll({ $ref, allOf, ...schema }: JsonSchema, root: JsonSchema, seen = new Set<unknown>()): JsonSchema {
  return [resolved($ref, root), allOf].flat().reduce<JsonSchema>((all, part) => {
    if (!isRecord(part) || seen.has(part)) return all;
    return combined(all, mergedAll(part, root, seen.add(part)));
  }, schema);
}

/** What holds for values of both; `other` wins where they differ. */
function combined(schema: JsonSchema, other: unknown): JsonSchema {
  if (!isRecord(other)) return schema;
  const [one, two] = [schema["properties"], other["properties"]];
  const required = [schema["required"], other["required"]].flat().filter((each) => each !== undefined);
  return {
    ...schema,
    ...other,
    ...(isRecord(one) && isRecord(two) && { properties: { ...one, ...two } }),
    ...(required.length > 0 && { required }),
  };
}

const bound = (value: unknown): number | undefined => countUpTo(value, maxRepetitions);

/** The schema that this one only adds a description to. */
function unwrapped(schema: unknown): unknown {
  if (!isRecord(schema)) return schema;
  const { allOf, title: _title, description: _text, default: _default, ...rest } = schema;
  return Array.isArray(allOf) && allOf.length === 1 && Object.keys(rest).length === 0 ? allOf[0] : schema;
}
