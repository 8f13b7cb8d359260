import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import {
  type ListResourceTemplatesResult,
  type ListResourcesResult,
  ProtocolError,
  ProtocolErrorCode,
  type ReadResourceResult,
  ResourceNotFoundError,
  type Result,
} from "@modelcontextprotocol/server";
import { InvalidRequest, OrchestratorError } from "../../orchestrator/api/errors.ts";
import { type NextSteps, advice } from "../../orchestrator/api/next-step.ts";
import {
  type ResourceContext,
  type ResourceDefinition,
  isTemplate,
  matchResource,
} from "../../resources/definition.ts";
import { guideText, skill } from "../../resources/guide.ts";
import { resources } from "../../resources/index.ts";
import { type Caller, homeOf } from "../call/caller.ts";
import { callerContext } from "../call/offered-tools.ts";
import { type Call, viewMimeType } from "../call/call.ts";
import type { ChangeFeed } from "./change-feed.ts";
import { icon, pageOf } from "./create-server.ts";
import { noteRead } from "../call/pipeline.ts";
import { errorText, protocolData, textFor, wordedFor } from "../call/error-text.ts";

/** `resources/list`, one page: fixed resources, and the members of templates. */
export async function listResources(facts: Call, parts: Caller, cursor?: string): Promise<ListResourcesResult> {
  const { showsViews } = facts;
  const entries = resources
    .filter((definition) => !isTemplate(definition) && (showsViews || definition.isView !== true))
    .filter(({ isUnlisted }) => isUnlisted !== true)
    .map((definition) => entryOf(definition));
  for (const definition of resources) {
    if (definition.list === undefined) continue;
    try {
      const members = await definition.list(await resourceContext(facts, parts));
      entries.push(...members.map((member) => ({ ...entryOf(definition), ...member, title: member.name })));
    } catch (error) {
      // The fixed resources are still worth listing; the reason is in the log and in system_status.
      parts.log.warn(`resources/list: ${errorText(error, definition.name, parts.log)}`);
    }
  }
  const { entries: page, ...next } = pageOf("resources", entries, cursor);
  return { resources: [...page], ...next };
}

/** `skills/list` and `skills/get` (SEP-2640). Throws a `ProtocolError` for a URI that is no skill. */
export function readSkills({ isModern }: Call, method: "list" | "get", asked: unknown): Result {
  const { uri, fields, head } = skill;
  if (method === "get" && asked !== uri)
    throw new ProtocolError(ProtocolErrorCode.InvalidParams, `the only skill is ${uri}`);
  const bytes = Buffer.from(head + guideText);
  const digest = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
  const entry = { uri, frontmatter: fields, resources: [{ uri, digest, size: bytes.length }] };
  const found = method === "get" ? { skill: entry } : { skills: [entry] };
  return { ...found, ...(isModern && { ttlMs: 300_000, cacheScope: "public" }) };
}

/** `resources/templates/list`. */
export function listTemplates(cursor?: string): ListResourceTemplatesResult {
  const templates = resources.filter(isTemplate).map((definition) => {
    const { uri: uriTemplate, ...entry } = entryOf(definition);
    return { ...entry, uriTemplate };
  });
  const { entries: page, ...next } = pageOf("templates", templates, cursor);
  return { resourceTemplates: [...page], ...next };
}

/**
 * `resources/read`, as JSON or a view's HTML. Throws `ResourceNotFoundError` when the resource does not exist (with error data, a
 * `ProtocolError` of the same code), and `InvalidParams` for malformed names.
 */
export async function readResource(facts: Call, parts: Caller, uri: string, sent = true): Promise<ReadResourceResult> {
  const match = matchResource(resources, uri);
  if (match === undefined) throw new ResourceNotFoundError(uri);
  const { definition, variables } = match;
  try {
    const context = await resourceContext(facts, parts);
    const content = await definition.read(variables, context);
    const text = typeof content === "string" ? content : JSON.stringify(content);
    if (sent && definition.showsAnswers) await noteJobRead(context, variables["id"] ?? "", text);
    return { contents: [{ uri, ...typeOf(definition), text }], ...cacheHint(definition, facts) };
  } catch (error) {
    const shown = textFor(parts, undefined, uri);
    const text = shown(errorText(error, uri, parts.log));
    const data = protocolData(error, facts, shown);
    const isAbsent = error instanceof OrchestratorError && error.facts.isAbsence === true;
    if (isAbsent && data === undefined) throw new ResourceNotFoundError(uri, text);
    const isInvalid = isAbsent || error instanceof InvalidRequest;
    throw new ProtocolError(
      isInvalid ? ProtocolErrorCode.InvalidParams : ProtocolErrorCode.InternalError,
      text,
      data && { ...data, ...(isAbsent && { uri }) },
    );
  }
}

/** Counts what an assistant reads of an ended job's answers; of one that runs, a program follows the progress. */
async function noteJobRead({ orchestrator, caller }: ResourceContext, id: string, text: string): Promise<void> {
  // A list's answers are kept for longer than its job.
  const gone = { state: "gone", tool: "route_and_generate" };
  const { state, tool } = await orchestrator.jobs.get(caller, id).catch(() => gone);
  if (state !== "running") noteRead({ orchestrator }, caller, tool, {}, { content: [{ type: "text", text }] });
}

/** The orchestrator and the caller for a resource. */
export async function resourceContext(facts: Call, parts: Caller): Promise<ResourceContext> {
  const home = await homeOf(parts, facts);
  const worded = (next: NextSteps): Promise<string> => wordedFor(facts.client, next);
  return { orchestrator: home.orchestrator, caller: callerContext(facts, parts, home), worded, readPage };
}

/** Throws an error that says how to build the page, in a checkout where it is not. */
async function readPage(file: string): Promise<string> {
  const { builtFile } = await import("../../orchestrator/util/programs.ts");
  return readFile(builtFile(file), "utf8").catch((cause: unknown) => {
    throw new OrchestratorError(`${file} is not built`, { cause, next: advice("run `npm run build`") });
  });
}

/** How long a client may cache the answer: modern era only; without it the SDK sends "not at all". */
function cacheHint({ ttlMs }: ResourceDefinition, { isModern }: Call) {
  return isModern && ttlMs !== undefined ? { ttlMs, cacheScope: "private" as const } : {};
}

const documentIcon = icon("M5 6h14M5 12h14M5 18h14");

function entryOf(definition: ResourceDefinition) {
  const { uri, name, title, description } = definition;
  return { uri, name, title, description, ...typeOf(definition), icons: [documentIcon] };
}

/** The MIME type; a view also asks its host for a frame around it and for no other origin. */
function typeOf({ isView, mimeType = "application/json" }: ResourceDefinition) {
  if (isView !== true) return { mimeType };
  return { mimeType: viewMimeType, _meta: { ui: { csp: {}, prefersBorder: true } } };
}

/** Far more than there are models and jobs on a machine. */
const maxSubscriptions = 1_000;

/** Subscriptions end with the connection, when `feed` is closed. */
export function createSubscriptions(feed: ChangeFeed) {
  const stops = new Map<string, () => void>();

  return {
    /** Throws `ResourceNotFoundError` for a URI that does not exist. Subscribing twice has no further effect. */
    async subscribe(facts: Call, parts: Caller, uri: string) {
      const match = matchResource(resources, uri);
      if (match === undefined || isTemplate(match.definition)) await readResource(facts, parts, uri, false);
      if (stops.has(uri)) return {};
      if (stops.size >= maxSubscriptions) {
        throw new ProtocolError(
          ProtocolErrorCode.InvalidParams,
          `this connection already has ${maxSubscriptions} subscriptions; end some with resources/unsubscribe`,
        );
      }
      stops.set(uri, feed.watch([uri]));
      return {};
    },
    /** Does nothing for a URI without a subscription. */
    unsubscribe(uri: string) {
      stops.get(uri)?.();
      stops.delete(uri);
      return {};
    },
  };
}
