import type { InputRequiredResult } from "@modelcontextprotocol/server";
import { approvalIn, projectApproval } from "../../orchestrator/api/project-approval.ts";
import type { ToolDefinition } from "../../tools/definition.ts";
import { formOf, question } from "./ask-user.ts";
import type { CallFacts } from "./call-facts.ts";
import { callerContext, homeOf, type OpenHome, type ServerParts } from "../daemon/server-parts.ts";
import { isShell } from "./offered-tools.ts";

/** Key of the question about the project; a tool's own questions have another, as a call may have both. */
const projectKey = "project";

/**
 * Asks the user to approve what the caller's project brings along, before the first call that would use it: once per
 * content and connection, where the client can ask. After a no, or without an answer, the call continues without it, and
 * answers don't mention it again. The shell names its command instead, because each of its commands is a new connection.
 */
export async function askAboutProject(
  tool: ToolDefinition,
  facts: CallFacts,
  parts: ServerParts,
  home: OpenHome,
): Promise<{ readonly asks: InputRequiredResult } | { readonly home: OpenHome }> {
  const { askedProjects: asked } = parts;
  const digest = home.project?.waitingDigest;
  if (tool.usesProject !== true || digest === undefined || asked === undefined) return { home };
  if (!facts.canAsk || isShell(facts.client)) return { home };
  const response = facts.inputResponses?.[projectKey];
  if (asked.has(digest) && response === undefined) return { home: withoutNote(home) };

  const { projects } = home.orchestrator;
  const caller = callerContext(facts, parts, home);
  // Read at this moment: only what is shown can be approved.
  const waiting = await projects.trustQuestion(caller);
  if (waiting === undefined) return { home: await homeOf(parts, facts) };
  const isApproved = approvalIn(contentOf(response), waiting.digest);
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
  const answered = { ...facts, inputResponses: { ...facts.inputResponses, [projectKey]: answer } };
  return askAboutProject(tool, answered, parts, home);
}

/** The home without the note about approval, for a connection whose user was asked already. */
function withoutNote(home: OpenHome): OpenHome {
  if (home.project === undefined) return home;
  const { waiting: _waiting, ...project } = home.project;
  return { ...home, project };
}

/** The content of an accepted form; empty when it was declined. */
function contentOf(response: unknown): Readonly<Record<string, unknown>> {
  if (typeof response !== "object" || response === null) return {};
  const { action, content } = response as { readonly action?: unknown; readonly content?: unknown };
  return action === "accept" && typeof content === "object" && content !== null ? { ...content } : {};
}
