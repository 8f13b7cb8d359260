import { stat } from "node:fs/promises";
import { arch, cpus } from "node:os";
import path from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { build } from "../../ipc/version.ts";
import { type Log, createLog } from "../../orchestrator/api/log.ts";
import { ramBandwidth } from "../../orchestrator/routing/first-models.ts";
import { followSettings } from "../../orchestrator/config/live.ts";
import type { Flags } from "../../orchestrator/config/flags.ts";
import { isOllamaOptional } from "../../orchestrator/config/ollama-servers.ts";
import { settingsProblem } from "../../orchestrator/config/problems.ts";
import type { Settings } from "../../orchestrator/config/schema.ts";
import { createJobFiles } from "../../orchestrator/jobs/record.ts";
import { createBandwidthProbe } from "../../orchestrator/memory/measure/bandwidth.ts";
import type { MemoryProbe } from "../../orchestrator/memory/measure/system-probe.ts";
import { createSystemProbe } from "../../orchestrator/memory/measure/system-probe.ts";
import { createOrchestrator } from "../../orchestrator/orchestrator.ts";
import { createDocumentFiles, readOnlyFiles } from "../../orchestrator/storage/document-files.ts";
import { tools } from "../../tools/index.ts";
import { continuedAnswer } from "../../tools/for-each.ts";
import { pullAnswer } from "../../tools/manage-model.ts";
import { errorText } from "../call/error-text.ts";
import { recoverWork } from "../files/files.ts";
import { builtFile } from "../../orchestrator/util/programs.ts";
import { createEngineMaker } from "./engines.ts";

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

type Live = Awaited<ReturnType<typeof followSettings>>["settings"];

/** The orchestrator of one home, for all its callers. */
export type OpenOrchestrator = Awaited<ReturnType<typeof openOrchestrator>>;

/**
 * Creates the orchestrator with real engines, disks, clocks and probes; the only module that does. Loaded when first
 * needed. Throws `InvalidConfig`.
 */
export async function openOrchestrator(options: OpenOrchestratorOptions) {
  const { home, unusableHome, environment, flags, version } = options;
  let live: Live | undefined;
  const log = createLog(() => live?.current().log.level ?? "warn", options.writeLine);
  const probe = createSystemProbe({ log });
  const cores = probe.cores();
  const makeEngines = createEngineMaker({
    home,
    userHome: options.userHome,
    environment,
    cores,
    version,
    log,
    isOllamaOptional: () => live !== undefined && isOllamaOptional(live.current().providers, live.sources()),
    current: () => live?.current(),
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
  await recoverWork(home, settings.current().jobs.keepHours, log);
  for (const warning of warnings) log.warn(warning);
  const orchestrator = createOrchestrator({
    now: Date.now,
    steady: performance.now.bind(performance),
    engines: makeEngines(settings.current()),
    remakeEngines: makeEngines,
    probe,
    ramBandwidth: createRamBandwidth({
      home,
      probe,
      // As many as the embedded engine has.
      threads: () => settings.current().providers.llamaCpp.threads ?? cores,
      workerEntry: builtFile("bandwidth-worker.mjs"),
      log,
    }),
    checkWorker: builtFile("check-worker.mjs"),
    log,
    version,
    home,
    tools,
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
    /** The current settings. */
    get settings(): Settings {
      return settings.current();
    },
    /** The settings, following `config.yaml`. */
    live: settings,
    /** A sentence while the current file is invalid and not used. */
    settingsProblem(): string | undefined {
      const problem = settings.problem();
      return problem === undefined ? undefined : settingsProblem(problem);
    },
    orchestrator,
    log,
    /** Resumes the jobs of earlier daemons; called once after the home is opened, before the first request. */
    resume: (isSafeStart: boolean): Promise<void> =>
      orchestrator.resume({
        isSafeStart,
        ofPull: pullAnswer,
        ofBatch: continuedAnswer,
        ofError: (error, tool) => errorText(error, tool, log),
      }),
    /** Ends engines and their processes; with `unloadsOwned` also unloads our models from engines that keep running. */
    close: (how?: { readonly unloadsOwned?: boolean }) => orchestrator.close(how),
  };
}

/**
 * Returns the effective bandwidth of main memory, bytes per second, for the threads that decode; undefined if it could not be measured. Kept in the home, for this processor and build.
 */
function createRamBandwidth(parts: {
  readonly home: string;
  readonly probe: Pick<MemoryProbe, "sample">;
  readonly threads: () => number;
  /** Absolute path of the built `bandwidth-worker.mjs`. */
  readonly workerEntry: string;
  readonly log: Log;
}): () => Promise<number | undefined> {
  const { home, probe, workerEntry, log } = parts;
  const probes = new Map<number, () => Promise<number | undefined>>();
  return async () => {
    const threads = parts.threads();
    const measure =
      probes.get(threads) ??
      createBandwidthProbe({
        workerEntry,
        file: path.join(home, "bandwidth.json"),
        threads,
        key: [cpus()[0]?.model.trim() ?? arch(), `${threads} threads`, build].join("; "),
        sample: () => probe.sample(),
        log,
      });
    probes.set(threads, measure);
    const measured = await measure();
    return measured === undefined ? undefined : ramBandwidth(measured, threads);
  };
}

/** A string that changes whenever the file changes or is replaced. Never throws. */
async function fileStamp(file: string): Promise<string> {
  const facts = await stat(file).catch(() => undefined);
  // Missing is a state, too; an unreadable file is reported where it is read.
  return facts === undefined ? "none" : `${facts.mtimeMs} ${facts.ctimeMs} ${facts.size} ${facts.ino}`;
}
