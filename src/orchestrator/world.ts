import type { HideableTool } from "./api/facade-templates.ts";
import type { Events } from "./api/events.ts";
import type { Log } from "./api/log.ts";
import type { LiveSettings } from "./config/live.ts";
import type { Settings } from "./config/schema.ts";
import type { Engine } from "./engines/engine.ts";
import type { JobFiles } from "./jobs/record.ts";
import type { MemoryProbe } from "./memory/measure/system-probe.ts";
import type { DocumentFiles } from "./storage/document-files.ts";
import type { Timers } from "./util/timers.ts";

/** All external dependencies of the orchestrator; `server/daemon/open-orchestrator.ts` creates the real ones. */
export interface World {
  /** Milliseconds since the epoch. */
  now(): number;
  /** Monotonic milliseconds, for durations; default: `now`. */
  steady?(): number;
  /** Timers of background maintenance; default: the system's. */
  readonly timers?: Timers;
  /** From 0 to 1; default: `Math.random`. */
  readonly random?: () => number;
  readonly engines: readonly Engine[];
  /**
   * The engines for changed settings; the same objects if their settings are equal. Absent: engines never change.
   */
  readonly remakeEngines?: (settings: Settings) => readonly Engine[];
  readonly probe: MemoryProbe;
  /** Effective bandwidth of main memory (`routing/first-models.ts`); absent: expected speeds are not stated. */
  readonly ramBandwidth?: () => Promise<number | undefined>;
  /** Default: its own. */
  readonly events?: Events;
  readonly log: Log;
  /** Storage of jobs; absent: jobs end with the process. */
  readonly jobFiles?: JobFiles;
  /** Storage of documents in `OLLM_HOME`; absent: documents end with the process. */
  readonly documentFiles?: DocumentFiles;
  /** Storage of memories and of what was spent; absent: with the other documents. */
  readonly memoryFiles?: DocumentFiles;
  /** The folder of the user's templates; absent: in `home`. */
  readonly templatesFolder?: string;
  /** Settings of this process, which owns the home. */
  readonly settings: LiveSettings;
  /** The tools that `tools` of a project's file may list; absent: any. */
  readonly tools?: readonly HideableTool[];
  /** Absolute path of the built `check-worker.mjs`. */
  readonly checkWorker: string;
  /** The build's version. */
  readonly version: string;
  /** `OLLM_HOME`, absolute. */
  readonly home: string;
}
