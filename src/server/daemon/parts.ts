import type { Claim } from "../../ipc/claim.ts";
import type { Log } from "../../orchestrator/api/log.ts";
import type { LazyOrchestrator } from "./lazy-orchestrator.ts";
import type { CallLog } from "./call-log.ts";
import type { serveClient, ServedClient } from "./serve-client.ts";

/** What the parts of a daemon share. */
export interface DaemonParts {
  /** `OLLM_HOME`, links resolved. */
  readonly home: string;
  readonly version: string;
  /** Version and build. */
  readonly build: string;
  readonly isStandalone: boolean;
  readonly userHome: string;
  readonly orchestrator: LazyOrchestrator;
  readonly calls: CallLog;
  readonly log: Log;
  /** Loads the SDK with the first client. */
  readonly serveClient: () => Promise<typeof serveClient>;
  /** Undefined while the home is being claimed. */
  readonly claim: () => Claim | undefined;
  /** Called when this daemon is asked to end, at once or (`handover`) as soon as its work allows. */
  readonly onAsked: (what: "stop" | "restart" | "handover") => void;
}

/** One connected client. */
export interface Client {
  readonly served: ServedClient;
  /** ISO 8601. */
  readonly connectedAt: string;
}
