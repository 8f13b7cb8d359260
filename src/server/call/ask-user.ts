import { type InputRequiredResult, type PrimitiveSchemaDefinition, inputRequired } from "@modelcontextprotocol/server";
import { InvalidRequest, type NeededField, type NeedsInput } from "../../orchestrator/api/errors.ts";
import { approvalIn, projectApproval } from "../../orchestrator/api/facade-templates.ts";
import { type View, type Caller, homeOf } from "./caller.ts";
import type { Call } from "./call.ts";
import { callerContext } from "./offered-tools.ts";
import { defined, isRecord } from "../../orchestrator/util/values.ts";
import { confirmation } from "../../tools/definition.ts";

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
function formOf({ message, fields }: NeedsInput) {
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

/** A default of another type than the field's is left out, and so are allowed values of what is no text. */
function property({ type, title, description, enum: allowed, default: preset }: NeededField) {
  return {
    type,
    ...defined({ title }),
    description,
    ...(type === "string" && allowed !== undefined && { enum: [...allowed] }),
    ...(typeof preset === type && { default: preset }),
  } as PrimitiveSchemaDefinition;
}

/**
 * The answers in a retried request. Only fields that were asked for are taken, since the answers are untrusted and must
 * not change the rest of the call. Undefined without an answer. Throws `InvalidRequest` when the user declined.
 */
export function answersTo(
  { message, fields }: NeedsInput,
  responses: Readonly<Record<string, unknown>> | undefined,
): Readonly<Record<string, unknown>> | undefined {
  const form = formIn(responses?.[questionKey]);
  if (form === undefined) return undefined;
  if (!form.isAccepted) throw notAgreed(message);
  return Object.fromEntries(Object.entries(form.content).filter(([name]) => Object.hasOwn(fields, name)));
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

function objectOr(value: unknown): Readonly<Record<string, unknown>> {
  return isRecord(value) ? value : {};
}

/** The error for missing input when the client can't ask, or its form left the input out. */
export function missingInput({ message, fields, userOnly }: NeedsInput): InvalidRequest {
  if (userOnly !== undefined)
    return new InvalidRequest(`${message} Only the user can decide this.`, { next: userOnly });
  const missing = Object.entries(fields).map(([name, { type, description, into, isFromFiles }]) => {
    const what = description === name ? "" : `: ${description.replace(/\.$/, "")}`;
    return `"${into === undefined ? name : `${into}.${name}`}" (${type}${what})${isFromFiles === true ? " or files" : ""}`;
  });
  return new InvalidRequest(`${message} Set ${missing.join("; ")}.`, { next: { step: "askUser" } });
}

/** Key of the question about the project; a tool's own questions have another, as a call may have both. */
const projectKey = "project";

/**
 * Asks the user to approve what the caller's project brings along, before the first call that would use it: once per
 * content and connection, where the client can ask. After a no, or without an answer, the call continues without it, and
 * answers don't mention it again. The shell names its command instead, because each of its commands is a new connection.
 */
export async function askAboutProject(
  facts: Call,
  parts: Caller,
  home: View,
  response: unknown = facts.inputResponses?.[projectKey],
): Promise<{ readonly asks: InputRequiredResult } | { readonly home: View }> {
  const { askedProjects: asked = new Set() } = parts;
  if (asked.has(home.project?.waitingDigest ?? "") && response === undefined) return { home: withoutNote(home) };

  const { projects } = home.orchestrator;
  const caller = callerContext(facts, parts, home);
  // Read at this moment: only what is shown can be approved.
  const waiting = await projects.trustQuestion(caller);
  if (waiting === undefined) return { home: await homeOf(parts, facts) };
  const form = formIn(response);
  const isApproved = approvalIn(form?.isAccepted === true ? form.content : {}, waiting.digest);
  if (isApproved === true) {
    await projects.trust(caller, waiting.digest);
    return { home: await homeOf(parts, facts) };
  }
  if (isApproved === false || asked.has(waiting.digest)) return { home: withoutNote(home) };
  asked.add(waiting.digest);
  const needs = projectApproval(waiting, home.project?.folder);
  if (response !== undefined || facts.askNow === undefined) return { asks: question(needs, projectKey) };
  // A request of its own, so that a form that fails doesn't fail the call.
  const answer = await facts.askNow(formOf(needs)).catch((error: unknown) => {
    parts.log.info(`${facts.client} could not ask its user about the project: ${String(error)}`);
    return {};
  });
  return askAboutProject(facts, parts, home, answer);
}

/** The home without the note about approval, for a connection whose user was asked already. */
function withoutNote(home: View): View {
  if (home.project === undefined) return home;
  const { waiting: _waiting, ...project } = home.project;
  return { ...home, project };
}

/** Asks for a yes within the call. Anything else is a no, an answer that doesn't come in time, too. */
export async function agreesNow({ askNow }: Call, message: string): Promise<boolean> {
  const { needsInput } = confirmation(message, "yes");
  const form = formIn(await askNow?.(formOf(needsInput)).catch(() => undefined));
  return form?.isAccepted === true && form.content["confirm"] === true;
}

/** A form as the user left it; undefined if there is none. */
function formIn(response: unknown) {
  if (!isRecord(response)) return undefined;
  return { isAccepted: response["action"] === "accept", content: objectOr(response["content"]) };
}
