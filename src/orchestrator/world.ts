import type { Timers } from "./async/timers.ts";
import type { LiveSettings } from "./config/live.ts";
import type { Settings } from "./config/schema.ts";
import type { DocumentFiles } from "./documents/files.ts";
import type { Engine } from "./engines/engine.ts";
import type { MemoryProbe } from "./hardware/probe.ts";
import type { JobFiles } from "./jobs/files.ts";
import type { Log } from "./log.ts";

/** Everything outside the program that the orchestrator touches; `server/open-orchestrator.ts` alone gives the real ones. */
export interface World {
  /** Milliseconds since the epoch. */
  now(): number;
  /** Milliseconds of a clock that nobody sets, for durations; `now` unless given. */
  steady?(): number;
  /** Alarms of what is done without anybody asking; the system's unless given. */
  readonly timers?: Timers;
  readonly engines: readonly Engine[];
  /**
   * The engines of changed settings, the same objects where nothing of theirs has changed. Absent: they never change.
   */
  readonly remakeEngines?: (settings: Settings) => readonly Engine[];
  readonly probe: MemoryProbe;
  readonly log: Log;
  /** Where jobs are kept; absent: nothing of them outlives the process. */
  readonly jobFiles?: JobFiles;
  /** The folders of `OLLM_HOME` in which documents lie; absent: nothing is kept over the end of the process. */
  readonly documentFiles?: DocumentFiles;
  /** Where what is remembered lies; absent: with the other documents. */
  readonly memoryFiles?: DocumentFiles;
  /** Where the user's templates lie; absent: in `home`. */
  readonly templatesFolder?: string;
  /** Of this process, which holds the home. */
  readonly settings: LiveSettings;
  /** The build's version. */
  readonly version: string;
  /** `OLLM_HOME`, absolute. */
  readonly home: string;
}
