import type { z } from "zod";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import type { ToolDefinition } from "../../tools/definition.ts";
import { nearestNames } from "../../orchestrator/util/nearest.ts";

/**
 * Parses a tool's input. Throws `InvalidRequest` whose message names every wrong field, its value and what is allowed.
 * Top-level nulls count as absent, because models write them for optional fields.
 */
export function validateInput(tool: ToolDefinition, raw: unknown): Record<string, unknown> {
  const given = raw ?? {};
  if (typeof given !== "object" || Array.isArray(given)) {
    throw new InvalidRequest(`arguments must be an object, got ${shown(raw)}`);
  }
  const filled = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== null));
  const parsed = tool.input.safeParse(filled);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.flatMap((issue) => describeIssue(issue, filled, tool.input.shape));
  throw new InvalidRequest(problems.join("; "), { next: { step: "correctArguments" } });
}

function describeIssue(issue: z.core.$ZodIssue, input: unknown, shape: Readonly<Record<string, unknown>>): string[] {
  const fields = Object.keys(shape);
  const name = issue.path.map(String).join(".");
  const value = issue.path.reduce<unknown>(
    (at, key) => (typeof at === "object" && at !== null ? (at as Record<PropertyKey, unknown>)[key] : undefined),
    input,
  );
  switch (issue.code) {
    case "unrecognized_keys":
      return issue.keys.map((key) => {
        const [close] = nearestNames(key, fields, 1);
        const advice = close === undefined ? `allowed: ${fields.join(", ") || "none"}` : `did you mean "${close}"?`;
        return `unknown field "${key}", ${advice}`;
      });
    case "invalid_type":
      return [
        value === undefined
          ? `"${name}" is required (${issue.expected})`
          : `"${name}" must be ${article(issue.expected)}, got ${shown(value)}`,
      ];
    case "invalid_value":
      return [`"${name}" must be one of ${issue.values.map(String).join(", ")}, got ${shown(value)}`];
    case "invalid_union":
      return [`"${name}" must be ${alternatives(issue)}, got ${shown(value)}`];
    case "too_small":
      if (issue.origin === "string" && issue.minimum === 1) return [`"${name}" must not be empty`];
      return [
        `"${name}" must be ${issue.inclusive === false ? "more than" : "at least"} ${limit(issue.origin, issue.minimum)}, got ${shown(value)}`,
      ];
    case "too_big":
      return [
        `"${name}" must be ${issue.inclusive === false ? "less than" : "at most"} ${limit(issue.origin, issue.maximum)}, got ${shown(value)}`,
      ];
    default:
      return [`"${name}" ${issue.message}, got ${shown(value)}`];
  }
}

function alternatives(issue: Extract<z.core.$ZodIssue, { code: "invalid_union" }>): string {
  const each = issue.errors.flat().map((inner) => {
    if (inner.code === "invalid_type") return article(inner.expected);
    if (inner.code === "invalid_value") return inner.values.map((value) => JSON.stringify(value)).join(", ");
    return inner.message;
  });
  return [...new Set(each)].join(" or ");
}

function limit(origin: string, value: number | bigint): string {
  if (origin === "string") return `${value} characters`;
  return origin === "array" ? `${value} items` : String(value);
}

function article(type: string): string {
  if (type === "record") return "an object";
  if (type === "int") return "a whole number";
  return `${/^[aeio]/.test(type) ? "an" : "a"} ${type}`;
}

/** The value as JSON, truncated: it may be a whole document. */
function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
