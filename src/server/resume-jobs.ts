import type { Orchestrator } from "../orchestrator/facade.ts";
import type { Log } from "../orchestrator/log.ts";
import { pullAnswer } from "../tools/pull-model.ts";
import { errorText } from "./error-text.ts";

/** Takes up the jobs and pulls of earlier owners; called once by whoever opens the home, before the first request. */
export function resumeJobs(orchestrator: Orchestrator, log: Log): Promise<void> {
  return orchestrator.resume({ ofPull: pullAnswer, ofError: (error, tool) => errorText(error, tool, log) });
}
