import type { Orchestrator } from "../../orchestrator/api/facade.ts";
import type { Log } from "../../orchestrator/api/log.ts";
import { pullAnswer } from "../../tools/pull-model.ts";
import { errorText } from "../mcp/error-text.ts";

/** Resumes the jobs of earlier daemons; called once after the home is opened, before the first request. */
export function resumeJobs(orchestrator: Orchestrator, log: Log, isSafeStart: boolean): Promise<void> {
  return orchestrator.resume({
    isSafeStart,
    ofPull: pullAnswer,
    ofError: (error, tool) => errorText(error, tool, log),
  });
}
