import * as z from "zod";
import { GenerationFailed } from "../../api/errors.ts";
import { advice } from "../../api/next-step.ts";
import type { JsonSchema } from "../../api/types.ts";
import type { GenerateDone } from "./child/protocol.ts";
import { unsupportedSchema } from "./failures.ts";
import { parseJson } from "../../util/parse-json.ts";

export interface OutputFormat {
  /** Source of the grammar. */
  readonly grammar: "json" | JsonSchema;
  /** Throws `GenerationFailed` when the text does not match the format, which a grammar can't fully enforce. */
  check(model: string, done: Pick<GenerateDone, "text" | "finishReason">): void;
}

/**
 * A grammar enforces the shape but not the values: for `integer` it allows `82E58173`, which is infinite, and it ignores
 * bounds and patterns. So the whole text is validated against the schema. Throws `InvalidRequest` for a schema that is
 * not supported.
 */
export function createOutputFormat(format: "json" | JsonSchema): OutputFormat {
  if (format === "json") return { grammar: "json", check: (model, done) => void parse(model, done) };
  const schema = compile(format);
  return {
    grammar: toGrammarSchema(format),
    check(model, done) {
      const result = schema.safeParse(parse(model, done));
      if (result.success) return;
      throw new GenerationFailed(
        `${model} answered JSON that does not match the schema: ${z.prettifyError(result.error)}`,
        {
          next: [{ step: "retry" }, advice("use a larger model or a simpler schema (no bounds or patterns)")],
        },
      );
    },
  };
}

function compile(schema: JsonSchema): z.ZodType {
  try {
    // zod resolves references to `definitions` only in draft 7, and schemas rarely name their draft.
    return z.fromJSONSchema(schema, "definitions" in schema ? { defaultTarget: "draft-7" } : {});
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw unsupportedSchema(reason, error);
  }
}

function parse(model: string, { text, finishReason }: Pick<GenerateDone, "text" | "finishReason">): unknown {
  try {
    return parseJson(text);
  } catch (error) {
    const isCut = finishReason === "length";
    throw new GenerationFailed(
      isCut ? `${model} ran out of tokens before its JSON was complete` : `${model} did not answer with valid JSON`,
      {
        next: isCut
          ? [{ step: "raiseArgument", argument: "maxTokens" }, advice("use a schema that requires less text")]
          : [{ step: "retry" }, advice("use a larger model")],
        cause: error,
      },
    );
  }
}

/**
 * Converts a schema to the dialect of node-llama-cpp, which supports neither `anyOf` nor `definitions` and reads a schema
 * without `type` as null.
 */
export function toGrammarSchema(schema: JsonSchema): JsonSchema {
  const { $ref, definitions, anyOf, allOf, ...rest } = schema;
  const defs = { ...asSchemas(definitions), ...asSchemas(rest["$defs"]) };
  const shared = Object.keys(defs).length === 0 ? {} : { $defs: mapSchemas(defs) };
  if (typeof $ref === "string") return { ...shared, $ref: $ref.replace(/^#\/definitions\//, "#/$defs/") };
  if (Array.isArray(anyOf)) return { ...shared, oneOf: anyOf.filter(isSchema).map(toGrammarSchema) };
  if (Array.isArray(rest["oneOf"])) return { ...shared, oneOf: rest["oneOf"].filter(isSchema).map(toGrammarSchema) };
  if (Array.isArray(allOf)) return toGrammarSchema(mergeAll([{ ...rest, ...shared }, ...allOf.filter(isSchema)]));
  if ("const" in rest || "enum" in rest) return rest;
  const { properties, items, prefixItems, additionalProperties } = rest;
  const type = rest["type"] ?? guessType(rest);
  // An unresolvable reference means "any value" to the library.
  if (type === undefined) return { $ref: "any" };
  return {
    ...rest,
    ...shared,
    type,
    ...(isSchema(properties) ? { properties: mapSchemas(asSchemas(properties)) } : {}),
    ...(isSchema(items) ? { items: toGrammarSchema(items) } : {}),
    ...(Array.isArray(prefixItems) ? { prefixItems: prefixItems.filter(isSchema).map(toGrammarSchema) } : {}),
    ...(isSchema(additionalProperties) ? { additionalProperties: toGrammarSchema(additionalProperties) } : {}),
  };
}

function guessType(schema: JsonSchema): string | undefined {
  if ("properties" in schema || "additionalProperties" in schema) return "object";
  if ("items" in schema || "prefixItems" in schema) return "array";
  return undefined;
}

function mergeAll(schemas: readonly JsonSchema[]): JsonSchema {
  const properties = Object.assign({}, ...schemas.map((schema) => schema["properties"])) as JsonSchema;
  const merged = Object.assign({}, ...schemas) as JsonSchema;
  return Object.keys(properties).length === 0 ? merged : { ...merged, properties };
}

function mapSchemas(schemas: Readonly<Record<string, JsonSchema>>): JsonSchema {
  return Object.fromEntries(Object.entries(schemas).map(([key, schema]) => [key, toGrammarSchema(schema)]));
}

function asSchemas(value: unknown): Record<string, JsonSchema> {
  if (!isSchema(value)) return {};
  return Object.fromEntries(Object.entries(value).filter((entry): entry is [string, JsonSchema] => isSchema(entry[1])));
}

function isSchema(value: unknown): value is JsonSchema {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
