import type { Orchestrator } from "../orchestrator/facade.ts";
import type { Log } from "../orchestrator/log.ts";
import { pullAnswer } from "../tools/pull-model.ts";
import { errorText } from "./error-text.ts";

/** Takes up what earlier daemons left; called once by whoever opens the home, before the first request. */
export function resumeJobs(orchestrator: Orchestrator, log: Log, isSafeStart: boolean): Promise<void> {
  return orchestrator.resume({
    isSafeStart,
    ofPull: pullAnswer,
    ofError: (error, tool) => errorText(error, tool, log),
  });
}
