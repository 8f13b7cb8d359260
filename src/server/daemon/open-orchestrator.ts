import path from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { type FollowedSettings, followSettings } from "../../orchestrator/config/live.ts";
import type { Flags } from "../../orchestrator/config/load.ts";
import { isOllamaOptional } from "../../orchestrator/config/ollama-servers.ts";
import { settingsProblem } from "../../orchestrator/config/problem-text.ts";
import type { Settings } from "../../orchestrator/config/schema.ts";
import type { Orchestrator } from "../../orchestrator/api/facade.ts";
import { createDocumentFiles, readOnlyFiles } from "../../orchestrator/storage/document-files.ts";
import { createSystemProbe } from "../../orchestrator/memory/measure/system-probe.ts";
import { createJobFiles } from "../../orchestrator/jobs/files.ts";
import type { Log } from "../../orchestrator/api/log.ts";
import { createLog } from "../../orchestrator/api/log.ts";
import { createOrchestrator } from "../../orchestrator/orchestrator.ts";
import { builtFile } from "../files/built-file.ts";
import { createEngineMaker } from "./engines.ts";
import { fileStamp } from "../files/file-stamp.ts";
import { createRamBandwidth } from "./ram-bandwidth.ts";

export interface OpenOrchestratorOptions {
  /** `OLLM_HOME`, made and writable. */
  readonly home: string;
  /** The home that `home` replaces because it can't be written; its content is still read. */
  readonly unusableHome?: string;
  /** The environment of the process that holds the home, which determines the settings of scope `daemon`. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly flags: Flags;
  /** The user's home folder. */
  readonly userHome: string;
  readonly version: string;
  /** Writes a line of the log. */
  readonly writeLine: (line: string) => void;
}

/** The orchestrator of one home, for all its callers. */
export interface OpenOrchestrator {
  readonly home: string;
  /** The current settings. */
  readonly settings: Settings;
  /** The settings, following `config.yaml`. */
  readonly live: FollowedSettings;
  /** A sentence while the current file is invalid and not used. */
  settingsProblem(): string | undefined;
  readonly orchestrator: Orchestrator;
  readonly log: Log;
  /** Ends engines and their processes; with `unloadsOwned` also unloads our models from engines that keep running. */
  close(options?: { readonly unloadsOwned?: boolean }): Promise<void>;
}

/**
 * Creates the orchestrator with real engines, disks, clocks and probes; the only module that does. Loaded when first
 * needed. Throws `InvalidConfig`.
 */
export async function openOrchestrator(options: OpenOrchestratorOptions): Promise<OpenOrchestrator> {
  const { home, unusableHome, environment, flags, version } = options;
  let live: FollowedSettings | undefined;
  const log = createLog(() => live?.current().log.level ?? "warn", options.writeLine);
  const probe = createSystemProbe({ log });
  const makeEngines = createEngineMaker({
    home,
    userHome: options.userHome,
    environment,
    cores: probe.cores(),
    version,
    log,
    isOllamaOptional: () => live !== undefined && isOllamaOptional(live.current().providers, live.sources()),
    keepAliveSeconds: () => live?.current().model.keepAlive.timeout ?? -1,
  });
  const { settings, warnings } = await followSettings({
    home,
    environment,
    flags,
    stamp: () => fileStamp(path.join(home, "config.yaml")),
    // Making the engines is the check; it connects to nothing and starts nothing.
    check: (checked) => void makeEngines(checked),
    pause: (ms) => pause(ms),
    log,
  });
  live = settings;
  for (const warning of warnings) log.warn(warning);
  const orchestrator = createOrchestrator({
    now: Date.now,
    steady: () => performance.now(),
    engines: makeEngines(settings.current()),
    remakeEngines: makeEngines,
    probe,
    ramBandwidth: createRamBandwidth({
      home,
      probe,
      configuredThreads: () => settings.current().providers.llamaCpp.threads,
      workerEntry: builtFile("bandwidth-worker.mjs"),
      log,
    }),
    log,
    version,
    home,
    settings,
    jobFiles: createJobFiles(path.join(home, "jobs"), createDocumentFiles(path.join(home, "jobs"))),
    documentFiles: createDocumentFiles(home),
    ...(unusableHome !== undefined && {
      memoryFiles: readOnlyFiles(createDocumentFiles(unusableHome), `${unusableHome} can't be used`),
      templatesFolder: path.join(unusableHome, "templates"),
    }),
  });
  return {
    home,
    get settings() {
      return settings.current();
    },
    live: settings,
    settingsProblem() {
      const problem = settings.problem();
      return problem === undefined ? undefined : settingsProblem(problem);
    },
    orchestrator,
    log,
    close: (how) => orchestrator.close(how),
  };
}
