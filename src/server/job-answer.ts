import type { CallToolResult } from "@modelcontextprotocol/server";
import type { Job } from "../orchestrator/facade.ts";
import { progressText } from "./progress.ts";

/** The answer of a call that continues as a background job; the structured form must say what to do next, too. */
export function jobAnswer(job: Job): CallToolResult {
  const now = job.progress === undefined ? job.title : progressText(job.progress);
  const next = `call job with action "wait" and job_id "${job.id}"`;
  return {
    content: [{ type: "text", text: `Still at work (${now}). For the answer ${next}` }],
    structuredContent: { job: job.id, next },
  };
}
