import type { CallToolResult } from "@modelcontextprotocol/server";
import type { Job } from "../../orchestrator/api/facade.ts";
import { progressText } from "./progress.ts";

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
