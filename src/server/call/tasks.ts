import type {
  CallToolResult,
  ClientCapabilities,
  Server,
  ServerContext,
  StandardSchemaV1,
} from "@modelcontextprotocol/server";
import type { Job } from "../../orchestrator/api/facade.ts";
import type { Caller } from "./caller.ts";
import { progressText } from "./progress.ts";

/** The protocol's tasks (SEP-2663), an extension of revision 2026-07-28. */
export const tasksExtension = "io.modelcontextprotocol/tasks";

/** Whether the client of a request accepts a task as the answer, which it declares with every request. */
export function takesTasks(capabilities: ClientCapabilities | undefined): boolean {
  return capabilities?.extensions?.[tasksExtension] !== undefined;
}

export type TaskMethod = "tasks/get" | "tasks/update" | "tasks/cancel";
const methods: readonly TaskMethod[] = ["tasks/get", "tasks/update", "tasks/cancel"];

/** Parameters of all three; by hand, because zod would have to be loaded before `initialize`. */
const taskParams: StandardSchemaV1<unknown, { readonly taskId: string }> = {
  "~standard": {
    version: 1,
    vendor: "ollm",
    validate(value) {
      const id = typeof value === "object" && value !== null && "taskId" in value ? value.taskId : undefined;
      return typeof id === "string" ? { value: { taskId: id } } : { issues: [{ message: "taskId must be a string" }] };
    },
  },
};

/** Registers the task methods. A task is a job, with the job's id. */
export function offerTasks(server: Server, parts: Caller): void {
  for (const method of methods) {
    server.setRequestHandler(method, { params: taskParams }, async ({ taskId }, context: ServerContext) => {
      const { handleTask } = await import("./handle-tasks.ts");
      return handleTask(method, taskId, server, context, parts);
    });
  }
}

/** Suggested to clients; polling is cheap. */
const pollIntervalMs = 2000;

/** The answer to a call that became a task; the SDK requires `content` in every answer to a call. */
export function taskAnswer(job: Job, keepHours: number): CallToolResult {
  return { resultType: "task", ...taskOf(job, keepHours), content: [] };
}

/** A job in the form of the tasks extension, without its result. */
export function taskOf(job: Job, keepHours: number) {
  const { endedAt, progress } = job;
  const aliveMs = endedAt === undefined ? undefined : Date.parse(endedAt) - Date.parse(job.startedAt);
  return {
    taskId: job.id,
    status: { running: "working", succeeded: "completed", failed: "completed", cancelled: "cancelled" }[job.state],
    statusMessage: progress === undefined ? job.title : progressText(progress),
    createdAt: job.startedAt,
    lastUpdatedAt: endedAt ?? new Date().toISOString(),
    // Counted from the start; jobs are kept from their end on, which isn't known while they run.
    ttlMs: aliveMs === undefined ? null : Math.max(1, Math.round(aliveMs + keepHours * 3_600_000)),
    pollIntervalMs,
  };
}
