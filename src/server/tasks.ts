import type { ClientCapabilities, Server, ServerContext, StandardSchemaV1 } from "@modelcontextprotocol/server";
import type { ServerParts } from "./server-parts.ts";

/** The protocol's own tasks (SEP-2663), an extension of revision 2026-07-28. */
export const tasksExtension = "io.modelcontextprotocol/tasks";

/** Whether the client of a request takes a task for an answer; it has to say so with every request. */
export function takesTasks(capabilities: ClientCapabilities | undefined): boolean {
  return capabilities?.extensions?.[tasksExtension] !== undefined;
}

export type TaskMethod = "tasks/get" | "tasks/update" | "tasks/cancel";
const methods: readonly TaskMethod[] = ["tasks/get", "tasks/update", "tasks/cancel"];

/** What all three take; by hand, because a schema library would have to be loaded before `initialize`. */
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

/** Lets clients that take tasks ask for them: a task is a job, its id the job's. */
export function offerTasks(server: Server, parts: ServerParts): void {
  for (const method of methods) {
    server.setRequestHandler(method, { params: taskParams }, async ({ taskId }, context: ServerContext) => {
      const { handleTask } = await import("./handle-tasks.ts");
      return handleTask(method, taskId, server, context, parts);
    });
  }
}
