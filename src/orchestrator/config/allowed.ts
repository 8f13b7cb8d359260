import * as z from "zod";

/** A part of the settings schema, as JSON Schema. */
export interface SchemaNode {
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly minimum?: number;
  readonly exclusiveMinimum?: number;
  readonly maximum?: number;
  readonly items?: SchemaNode;
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly additionalProperties?: SchemaNode | boolean;
}

/** The schema at a path; for a record's key or a list's item, the schema of all of them. Empty where there is none. */
export function schemaNodeAt(schema: z.ZodObject, path: readonly string[]): SchemaNode {
  const root = z.toJSONSchema(schema, { io: "input" }) as SchemaNode;
  return path.reduce<SchemaNode>((node, key) => {
    const { properties = {}, additionalProperties, items } = node;
    if (Object.hasOwn(properties, key)) return properties[key] ?? {};
    return (typeof additionalProperties === "object" ? additionalProperties : items) ?? {};
  }, root);
}

/** The allowed values in words: `whole number from 256`, `local_only, allow_remote`. */
export function allowedText(node: SchemaNode): string {
  if (node.enum !== undefined) return node.enum.join(", ");
  if (node.const !== undefined) return JSON.stringify(node.const);
  switch (node.type) {
    case "boolean":
      return "true, false";
    case "integer":
    case "number": {
      const what = node.type === "integer" ? "whole number" : "number";
      const from = node.minimum === undefined ? ` above ${node.exclusiveMinimum}` : ` from ${node.minimum}`;
      const has = node.maximum !== undefined && node.maximum !== Number.MAX_SAFE_INTEGER;
      return `${what}${from}${has ? ` to ${node.maximum}` : ""}`;
    }
    case "array":
      return "list";
    case "object":
      return node.properties === undefined ? "record" : `section of ${Object.keys(node.properties).join(", ")}`;
    default:
      return "text";
  }
}
