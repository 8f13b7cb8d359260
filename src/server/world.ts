import path from "node:path";
import { fixedSettings } from "../orchestrator/config/access.ts";
import { loadSettings, type Flags } from "../orchestrator/config/load.ts";
import type { Settings } from "../orchestrator/config/schema.ts";
import type { Orchestrator } from "../orchestrator/facade.ts";
import { createDocumentFiles } from "../orchestrator/documents/files.ts";
import { createSystemProbe } from "../orchestrator/hardware/system-probe.ts";
import { createJobFiles } from "../orchestrator/jobs/files.ts";
import type { Log } from "../orchestrator/log.ts";
import { createLog } from "../orchestrator/log.ts";
import { createOrchestrator } from "../orchestrator/orchestrator.ts";
import { createEngines } from "./engines.ts";

export interface BrainOptions {
  /** `OLLM_HOME`, made and writable. */
  readonly home: string;
  /** Of the process that holds the home: its settings of scope owner are the ones that count. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly flags: Flags;
  /** The user's home folder. */
  readonly userHome: string;
  readonly version: string;
  /** Where lines go that the settings want to be seen. */
  readonly writeLine: (line: string) => void;
}

/** The brain of one home, for all its callers. */
export interface Brain {
  readonly home: string;
  readonly settings: Settings;
  readonly orchestrator: Orchestrator;
  readonly log: Log;
  /** Ends engines and their processes; with `unloadsOwn` also models that it loaded into engines which live on. */
  close(options?: { readonly unloadsOwn?: boolean }): Promise<void>;
}

/**
 * The brain with the real world around it; the one place where real engines, disks, clocks and probes are handed out.
 * Loaded when it is first needed. Throws `InvalidConfig`.
 */
export async function openBrain(options: BrainOptions): Promise<Brain> {
  const { home, environment, flags, version } = options;
  const { settings, warnings } = await loadSettings({ home, environment, flags });
  const log = createLog(settings.log.level, options.writeLine);
  for (const warning of warnings) log.warn(warning);

  const probe = createSystemProbe({ log });
  const engines = createEngines({
    settings,
    home,
    userHome: options.userHome,
    environment,
    cores: probe.cores(),
    version,
    log,
  });
  const orchestrator = createOrchestrator(settings, {
    now: Date.now,
    engines,
    probe,
    log,
    version,
    home,
    settings: fixedSettings(settings),
    jobFiles: createJobFiles(path.join(home, "jobs")),
    documentFiles: createDocumentFiles(home),
  });
  return { home, settings, orchestrator, log, close: (how) => orchestrator.close(how) };
}
