import * as z from "zod";
import type { Scope } from "./schema.ts";

/** One setting of the schema. */
export interface SettingPath {
  /** `model.routing.enabled` */
  readonly path: readonly string[];
  /** `OLLM_MODEL_ROUTING_ENABLED` */
  readonly environmentName: string;
  /** `list` is one of folders, `commaList` one of hosts or origins. */
  readonly type: "string" | "number" | "boolean" | "list" | "commaList" | "record";
  readonly scope: Scope;
}

/** Every setting of an object schema, depth first, in the order of the schema. */
export function settingPaths(schema: z.ZodObject, prefix: readonly string[] = []): readonly SettingPath[] {
  return Object.entries(schema.shape).flatMap(([key, value]) => {
    const path = [...prefix, key];
    const { inner, scope, separator } = unwrap(value as z.ZodType);
    if (inner instanceof z.ZodObject) return settingPaths(inner, path);
    const type = separator === "comma" ? "commaList" : typeOf(inner);
    return [{ path, environmentName: environmentName(path), type, scope: scope ?? "owner" }];
  });
}

/** `memory.availableBytes` → `OLLM_MEMORY_AVAILABLE_BYTES`. */
function environmentName(path: readonly string[]): string {
  const words = path.map((key) => key.replaceAll(/([a-z0-9])([A-Z])/g, "$1_$2").toUpperCase());
  return ["OLLM", ...words].join("_");
}

function unwrap(schema: z.ZodType): { inner: z.ZodType; scope: Scope | undefined; separator: unknown } {
  let inner = schema;
  let scope: Scope | undefined;
  let separator: unknown;
  for (;;) {
    // `.describe()` after `.meta()` keeps the scope; the innermost wrapper may be the one that carries it.
    const meta = inner.meta();
    scope ??= meta?.["scope"] as Scope | undefined;
    separator ??= meta?.["separator"];
    if (inner instanceof z.ZodOptional || inner instanceof z.ZodDefault || inner instanceof z.ZodPrefault) {
      inner = inner.unwrap() as z.ZodType;
    } else return { inner, scope, separator };
  }
}

function typeOf(schema: z.ZodType): SettingPath["type"] {
  if (schema instanceof z.ZodNumber || schema instanceof z.ZodLiteral) return "number";
  if (schema instanceof z.ZodBoolean) return "boolean";
  if (schema instanceof z.ZodArray) return "list";
  if (schema instanceof z.ZodRecord) return "record";
  return "string";
}
