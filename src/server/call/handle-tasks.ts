import {
  type CallToolResult,
  MissingRequiredClientCapabilityError,
  ProtocolError,
  ProtocolErrorCode,
  type Result,
  type Server,
  type ServerContext,
} from "@modelcontextprotocol/server";
import { UnknownJob } from "../../orchestrator/api/errors.ts";
import type { Job } from "../../orchestrator/api/facade.ts";
import { tools } from "../../tools/index.ts";
import type { Caller } from "./caller.ts";
import { callerContext } from "./offered-tools.ts";
import { type Call, protocolCall } from "./call.ts";
import { resultOf } from "./pipeline.ts";
import { type TaskMethod, taskOf, tasksExtension } from "./tasks.ts";

/**
 * `tasks/get`, `tasks/update`, `tasks/cancel`. A failed tool is a completed task whose result has `isError`, as the call's
 * own answer would. No task asks for input, so an update is acknowledged and changes nothing.
 */
export async function handleTask(
  method: TaskMethod,
  id: string,
  server: Server,
  context: ServerContext,
  parts: Caller,
): Promise<Result> {
  const facts = protocolCall(server, context);
  if (!facts.isModern) throw new ProtocolError(ProtocolErrorCode.MethodNotFound, "Method not found");
  if (!facts.takesTasks) {
    throw new MissingRequiredClientCapabilityError({ requiredCapabilities: { extensions: { [tasksExtension]: {} } } });
  }
  const home = await parts.open();
  const { jobs } = home.orchestrator;
  const caller = callerContext(facts, parts, home);
  try {
    const job = await (method === "tasks/cancel" ? jobs.cancel(caller, id) : jobs.get(caller, id));
    return method === "tasks/get" ? { ...taskOf(job, jobs.keepHours), ...endOf(job, facts) } : {};
  } catch (error) {
    if (error instanceof UnknownJob) throw new ProtocolError(ProtocolErrorCode.InvalidParams, `No task ${id}`);
    throw error;
  }
}

function endOf(job: Job, facts: Call): { readonly result?: CallToolResult } {
  if (job.state === "failed") {
    return { result: { content: [{ type: "text", text: job.error ?? "failed" }], isError: true } };
  }
  if (job.state !== "succeeded") return {};
  const tool = tools.find(({ name }) => name === job.tool);
  const parsed = tool?.output.safeParse(job.result);
  if (tool !== undefined && parsed?.success === true) return { result: resultOf(tool, parsed.data, facts) };
  const text = job.note ?? "the result is no longer known";
  return { result: { content: [{ type: "text", text }], isError: true } };
}
