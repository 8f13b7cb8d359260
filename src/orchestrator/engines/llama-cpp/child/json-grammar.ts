import type { JsonSchema } from "../../../api/types.ts";
import { isRecord } from "../../../util/parse-json.ts";

/** Schemas below this depth, and references that lead nowhere, allow any value. */
const maxDepth = 48;
/** llama.cpp writes a repetition out: a larger bound is not applied. */
const maxRepetitions = 64;

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

  readonly #isWhole: boolean;

  /** `isWhole`: a schema that doesn't say which properties are required has them all, since models like to leave out. */
  constructor(isWhole = false) {
    this.#isWhole = isWhole;
  }

  /** The grammar of `root`, an expression that may use what `valueOf` returned. */
  text(root: string): string {
    return [`root ::= ${root}`, ...this.#rules, anyRules.trim()].join("\n");
  }

  /** The expression for values of a schema. */
  valueOf(schema: JsonSchema): string {
    return this.#value(schema, schema, 0);
  }

  rule(body: string): string {
    this.#rules.push("");
    return this.#define(this.#rules.length - 1, body);
  }

  #define(index: number, body: string): string {
    this.#rules[index] = `r${index} ::= ${body}`;
    return `r${index}`;
  }

  #value(given: unknown, root: JsonSchema, depth: number): string {
    if (!isRecord(given) || depth > maxDepth) return "value";
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
    return this.#define(index, this.#value(target, root, depth + 1));
  }

  #typed(type: unknown, schema: JsonSchema, root: JsonSchema, depth: number): string {
    switch (type) {
      case "string":
        return stringOf(schema);
      case "number":
      case "integer":
        return type;
      case "boolean":
        return '("true" | "false")';
      case "null":
        return '"null"';
      case "array":
        return this.#array(schema, root, depth);
      case "object":
        return this.#object(schema, root, depth);
      default:
        return "value";
    }
  }

  #array({ items, prefixItems, minItems, maxItems }: JsonSchema, root: JsonSchema, depth: number): string {
    if (Array.isArray(prefixItems) && prefixItems.length > 0) {
      const first = prefixItems.map((each) => this.#value(each, root, depth + 1)).join(' ", " ');
      return this.rule(`"[" ${first} (", " ${this.#value(items, root, depth + 1)})* "]"`);
    }
    const item = this.#value(items, root, depth + 1);
    const [least, most] = [bound(minItems) ?? 0, bound(maxItems)];
    if (most === 0) return '"[]"';
    const more =
      most === 1
        ? ""
        : `(", " ${item}){${Math.max(0, least - 1)},${most === undefined ? "" : Math.max(least, most) - 1}}`;
    return this.rule(least > 0 ? `"[" ${item} ${more} "]"` : `"[" (${item} ${more})? "]"`);
  }

  #object(schema: JsonSchema, root: JsonSchema, depth: number): string {
    const { properties, required, additionalProperties } = schema;
    if (!isRecord(properties) && !isRecord(additionalProperties))
      return additionalProperties === false ? '"{}"' : "object";
    const others =
      additionalProperties === true || isRecord(additionalProperties)
        ? `string ": " ${this.#value(additionalProperties, root, depth + 1)}`
        : undefined;
    // From the end: what may follow a property, and what may be the first one.
    let next = others === undefined ? "" : `(", " ${others})*`;
    let first = others === undefined ? "" : `(${others} ${next})?`;
    for (const [key, value] of Object.entries(isRecord(properties) ? properties : {}).toReversed()) {
      const pair = this.rule(`${quoted(`${jsonOf(key)}: `)} ${this.#value(value, root, depth + 1)}`);
      const isEndless = isRecord(value) && "$ref" in value;
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

const formats: Readonly<Record<string, string>> = { date: "date", time: "time", "date-time": 'date "T" time' };

function stringOf({ format, minLength, maxLength }: JsonSchema): string {
  const known = typeof format === "string" && Object.hasOwn(formats, format) ? formats[format] : undefined;
  if (known !== undefined) return String.raw`"\"" ${known} "\""`;
  const [least, most] = [bound(minLength) ?? 0, bound(maxLength)];
  if (least === 0 && most === undefined) return "string";
  return String.raw`"\"" char{${least},${most === undefined ? "" : Math.max(least, most)}} "\""`;
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
function resolved(path: string, root: JsonSchema): unknown {
  if (!path.startsWith("#")) return undefined;
  let found: unknown = root;
  for (const step of path.slice(1).split("/").filter(Boolean)) {
    const key = step.replaceAll("~1", "/").replaceAll("~0", "~");
    found = isRecord(found) && Object.hasOwn(found, key) ? found[key] : undefined;
  }
  return found;
}

function mergedAll({ allOf, ...schema }: JsonSchema, root: JsonSchema): JsonSchema {
  if (!Array.isArray(allOf)) return schema;
  return allOf.reduce<JsonSchema>((all, each) => {
    const part: unknown = isRecord(each) && typeof each["$ref"] === "string" ? resolved(each["$ref"], root) : each;
    return combined(all, part);
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

function bound(value: unknown): number | undefined {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= maxRepetitions
    ? (value as number)
    : undefined;
}
