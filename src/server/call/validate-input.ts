import type { z } from "zod";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { nearestNames } from "../../orchestrator/util/nearest.ts";
import type { ToolDefinition } from "../../tools/definition.ts";
import table from "./other-names.json" with { type: "json" };
import { isRecord, jsonIn } from "../../orchestrator/util/values.ts";

type Issue = z.core.$ZodIssue;

/**
 * Parses a tool's input. Throws `InvalidRequest` whose message names every wrong field, its value and what is allowed.
 * Top-level nulls count as absent, because models write them for optional fields. A text that is invalid where a number, a
 * boolean, a list or an object belongs is read as one if its meaning is plain; what is valid as it is stays as it is.
 */
export function validateInput(tool: ToolDefinition, raw: unknown): Record<string, unknown> {
  const given = raw ?? {};
  if (typeof given !== "object" || Array.isArray(given)) {
    throw new InvalidRequest(`arguments must be an object, got ${shownValue(raw)}`);
  }
  const isNull = Object.values(given).includes(null);
  const filled = isNull
    ? Object.fromEntries(Object.entries(given).filter(([, value]) => value !== null))
    : { ...given };
  const parsed = tool.input.safeParse(filled);
  if (parsed.success) return parsed.data;
  const meant = asMeant(filled, parsed.error.issues);
  const again = tool.input.safeParse(meant);
  if (again.success) return again.data;
  const problems = again.error.issues.flatMap((issue) => describeIssue(issue, meant, tool.input.shape));
  throw new InvalidRequest(problems.join("; "), { next: { step: "correctArguments" } });
}

/** The arguments, with each invalid text whose meaning is plain replaced by its value. */
function asMeant(given: Readonly<Record<string, unknown>>, issues: readonly Issue[]): Record<string, unknown> {
  const meant: Record<string, unknown> = { ...given };
  for (const issue of issues) {
    const [field, ...deeper] = issue.path;
    if (field === undefined || deeper.length > 0) continue;
    const text = given[String(field)];
    if (typeof text !== "string") continue;
    const value = plainValue(text, issue.code === "invalid_union" ? issue.errors.flat() : [issue]);
    if (value !== undefined) meant[String(field)] = value;
  }
  return meant;
}

/** A text as the first of the expected values that it plainly is; undefined if it is none. */
function plainValue(text: string, expected: readonly Issue[]): unknown {
  for (const issue of expected) {
    const value =
      issue.code === "invalid_value"
        ? issue.values.find((each) => typeof each === "string" && each === folded(text))
        : issue.code === "invalid_type"
          ? read(text.trim(), issue.expected)
          : undefined;
    if (value !== undefined) return value;
  }
  return undefined;
}

/** `Local-Only` as `local_only`, the way in which all choices are written. */
function folded(text: string): string {
  return text
    .trim()
    .toLowerCase()
    .replaceAll(/[\s-]+/g, "_");
}

function read(text: string, type: string): unknown {
  switch (type) {
    case "number":
    case "int":
      return plainNumber(text);
    case "boolean":
      // No other words: "yes" or "1" may be meant as a text.
      return /^(?:true|false)$/i.test(text) ? text.toLowerCase() === "true" : undefined;
    case "array": {
      const list = jsonIn(text);
      return Array.isArray(list) ? list : [text];
    }
    case "record":
    case "object": {
      const value = jsonIn(text);
      return isRecord(value) ? value : undefined;
    }
    default:
      return undefined;
  }
}

/** Decimal, and without loss. */
function plainNumber(text: string): number | undefined {
  if (!/^-?\d+(?:\.\d+)?$/.test(text)) return undefined;
  const value = Number(text);
  return Math.abs(value) <= Number.MAX_SAFE_INTEGER ? value : undefined;
}

/** What other programs call our fields; the first that the tool has is meant. */
const otherNames: Readonly<Record<string, readonly string[]>> = table.names;

/** The field of a tool that an unknown one means; undefined if none is like it. */
function meantField(key: string, fields: readonly string[]): string | undefined {
  const name = folded(key.replaceAll(/(?<=[a-z])(?=[A-Z])/g, "_"));
  const others = Object.hasOwn(otherNames, name) ? (otherNames[name] ?? []) : [];
  return [name, ...others].find((each) => fields.includes(each)) ?? nearestNames(key, fields, 1)[0];
}

function describeIssue(issue: Issue, input: unknown, shape: Readonly<Record<string, unknown>>): string[] {
  const fields = Object.keys(shape);
  const name = issue.path.map(String).join(".");
  const value = issue.path.reduce<unknown>(
    (at, key) => (typeof at === "object" && at !== null ? (at as Record<PropertyKey, unknown>)[key] : undefined),
    input,
  );
  switch (issue.code) {
    case "unrecognized_keys":
      return issue.keys.map((key) => {
        const close = meantField(key, fields);
        const advice = close === undefined ? `allowed: ${fields.join(", ") || "none"}` : `did you mean "${close}"?`;
        return `unknown field "${key}", ${advice}`;
      });
    case "invalid_type":
      return [
        value === undefined
          ? `"${name}" is required (${issue.expected})`
          : `"${name}" must be ${article(issue.expected)}, got ${shownValue(value)}`,
      ];
    case "invalid_value":
      return [`"${name}" must be one of ${issue.values.map(String).join(", ")}, got ${shownValue(value)}`];
    case "invalid_union":
      return [`"${name}" must be ${alternatives(issue)}, got ${shownValue(value)}`];
    case "too_small":
      if (issue.origin === "string" && issue.minimum === 1) return [`"${name}" must not be empty`];
      return [
        `"${name}" must be ${issue.inclusive === false ? "more than" : "at least"} ${limit(issue.origin, issue.minimum)}, got ${shownValue(value)}`,
      ];
    case "too_big":
      return [
        `"${name}" must be ${issue.inclusive === false ? "less than" : "at most"} ${limit(issue.origin, issue.maximum)}, got ${shownValue(value)}`,
      ];
    default:
      return [`"${name}" ${issue.message}, got ${shownValue(value)}`];
  }
}

function alternatives(issue: Extract<Issue, { code: "invalid_union" }>): string {
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
function shownValue(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
