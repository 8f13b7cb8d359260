import type { CallToolResult } from "@modelcontextprotocol/server";
import type { Job } from "../orchestrator/facade.ts";
import { progressText } from "./progress.ts";

/** Suggested to clients: a generation moves on that fast, and asking costs nothing. */
const pollIntervalMs = 2000;

/** The answer to a call that became a task; `content` is what the SDK wants of every answer to a call. */
export function taskAnswer(job: Job, keepHours: number): CallToolResult {
  return { resultType: "task", ...taskOf(job, keepHours), content: [] };
}

/** A job in the words of the tasks extension, without how it ended. */
export function taskOf(job: Job, keepHours: number) {
  const { endedAt, progress } = job;
  const aliveMs = endedAt === undefined ? undefined : Date.parse(endedAt) - Date.parse(job.startedAt);
  return {
    taskId: job.id,
    status: { running: "working", succeeded: "completed", failed: "completed", cancelled: "cancelled" }[job.state],
    statusMessage: progress === undefined ? job.title : progressText(progress),
    createdAt: job.startedAt,
    lastUpdatedAt: endedAt ?? new Date().toISOString(),
    // Counted from the start, while we count from the end, which isn't known before it has come.
    ttlMs: aliveMs === undefined ? null : Math.max(1, Math.round(aliveMs + keepHours * 3_600_000)),
    pollIntervalMs,
  };
}
