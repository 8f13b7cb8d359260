import { inputRequired, type InputRequiredResult } from "@modelcontextprotocol/server";
import { InvalidRequest } from "../orchestrator/errors.ts";
import type { NeededField, NeedsInput } from "../orchestrator/needs-input.ts";

/** The one question of a round: its fields are the tool's own inputs. */
const questionKey = "input";

/**
 * The question as a result; the SDK turns it into an elicitation for clients that know no such result. `key` tells its
 * answer from those to other questions.
 */
export function question(needs: NeedsInput, key: string = questionKey): InputRequiredResult {
  return inputRequired({ inputRequests: { [key]: inputRequired.elicit(formOf(needs)) } });
}

/** The form for the user, as `elicitation/create` takes it. */
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
 * The answers of a retried request: only to what was asked, because they come from outside and must not change
 * anything else of the call. Undefined when nothing was answered yet. Throws `InvalidRequest` when the user declined.
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

/** The user was asked, and said no: by declining, or in the form itself. */
export function notAgreed(message: string): InvalidRequest {
  return new InvalidRequest(`the user declined, so nothing was changed: ${message}`);
}

/** Whether these very fields have their answers already: asking once more would go in circles. */
export function isAnswered({ fields }: NeedsInput, answers: Readonly<Record<string, unknown>>): boolean {
  return Object.keys(fields).every((name) => Object.hasOwn(answers, name));
}

/** What was given with the answers in their places. What is given for a field's group and is no object is replaced. */
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

/** What is missing, for the assistant to supply, unless only the user may: the client can't ask, or its form left it out. */
export function missingInput({ message, fields, userOnly }: NeedsInput): InvalidRequest {
  if (userOnly !== undefined)
    return new InvalidRequest(`${message} Only the user can decide this.`, { next: userOnly });
  const missing = Object.entries(fields).map(([name, { type, description, into, isFromFiles }]) => {
    const orFiles = isFromFiles === true ? ", or name files" : "";
    return `"${into === undefined ? name : `${into}.${name}`}" (${type}${orFiles}): ${description}`;
  });
  return new InvalidRequest(`${message} Missing: ${missing.join("; ")}`, { next: { step: "askUser" } });
}
