import type { CallToolResult } from "@modelcontextprotocol/server";
import type { Job } from "../../orchestrator/api/facade.ts";
import { progressText } from "./progress.ts";

/** The answer to a call that continues as a background job. The structured form has the next step, too. */
export function jobAnswer(job: Job): CallToolResult {
  const now = job.progress === undefined ? job.title : progressText(job.progress);
  const next = `call job with action "wait" and job_id "${job.id}"`;
  return {
    content: [{ type: "text", text: `Still running (${now}). To get the answer, ${next}.` }],
    structuredContent: { job: job.id, next },
  };
}
