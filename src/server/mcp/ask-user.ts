import { inputRequired, type InputRequiredResult } from "@modelcontextprotocol/server";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import type { NeededField, NeedsInput } from "../../orchestrator/api/needs-input.ts";

/** Key of the question in a round; its fields are the tool's own inputs. */
const questionKey = "input";

/**
 * The question as a result. For clients that don't know such results the SDK turns it into an elicitation. `key`
 * identifies its answer.
 */
export function question(needs: NeedsInput, key: string = questionKey): InputRequiredResult {
  return inputRequired({ inputRequests: { [key]: inputRequired.elicit(formOf(needs)) } });
}

/** The parameters of `elicitation/create` for a question. */
export function formOf({ message, fields }: NeedsInput) {
  const required = Object.keys(fields).filter((name) => fields[name]?.isRequired === true);
  return {
    message,
    requestedSchema: {
      type: "object" as const,
      properties: Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, property(field)])),
      ...(required.length > 0 && { required }),
    },
  };
}

function property(field: NeededField) {
  const { description, title } = field;
  const labels = { ...(title !== undefined && { title }), description };
  switch (field.type) {
    case "string":
      return {
        type: "string" as const,
        ...labels,
        ...(field.enum !== undefined && { enum: [...field.enum] }),
        ...(typeof field.default === "string" && { default: field.default }),
      };
    case "number":
      return {
        type: "number" as const,
        ...labels,
        ...(typeof field.default === "number" && { default: field.default }),
      };
    case "boolean":
      return {
        type: "boolean" as const,
        ...labels,
        ...(typeof field.default === "boolean" && { default: field.default }),
      };
  }
}

/**
 * The answers in a retried request. Only fields that were asked for are taken, since the answers are untrusted and must
 * not change the rest of the call. Undefined without an answer. Throws `InvalidRequest` when the user declined.
 */
export function answersTo(
  { message, fields }: NeedsInput,
  responses: Readonly<Record<string, unknown>> | undefined,
): Readonly<Record<string, unknown>> | undefined {
  const response = responses?.[questionKey];
  if (typeof response !== "object" || response === null) return undefined;
  const { action, content } = response as { action?: unknown; content?: unknown };
  if (action !== "accept") throw notAgreed(message);
  const given = typeof content === "object" && content !== null ? content : {};
  return Object.fromEntries(Object.entries(given).filter(([name]) => Object.hasOwn(fields, name)));
}

/** The error after the user said no, by declining the form or within it. */
export function notAgreed(message: string): InvalidRequest {
  return new InvalidRequest(`the user declined, so nothing was changed: ${message}`);
}

/** Whether all of these fields are answered already, so that asking again would loop. */
export function isAnswered({ fields }: NeedsInput, answers: Readonly<Record<string, unknown>>): boolean {
  return Object.keys(fields).every((name) => Object.hasOwn(answers, name));
}

/** The input with the answers merged in. A field's group that is not an object is replaced. */
export function withAnswers(given: object, { fields }: NeedsInput, answers: Readonly<Record<string, unknown>>): object {
  const merged: Record<string, unknown> = { ...given };
  for (const [name, answer] of Object.entries(answers)) {
    const group = fields[name]?.into;
    if (group === undefined) merged[name] = answer;
    else merged[group] = { ...objectOr(merged[group]), [name]: answer };
  }
  return merged;
}

function objectOr(value: unknown): object {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? value : {};
}

/** The error for missing input when the client can't ask, or its form left the input out. */
export function missingInput({ message, fields, userOnly }: NeedsInput): InvalidRequest {
  if (userOnly !== undefined)
    return new InvalidRequest(`${message} Only the user can decide this.`, { next: userOnly });
  const missing = Object.entries(fields).map(([name, { type, description, into, isFromFiles }]) => {
    const orFiles = isFromFiles === true ? ", or name files" : "";
    return `"${into === undefined ? name : `${into}.${name}`}" (${type}${orFiles}): ${description}`;
  });
  return new InvalidRequest(`${message} Missing: ${missing.join("; ")}`, { next: { step: "askUser" } });
}
