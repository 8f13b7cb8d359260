import path from "node:path";
import { resolveHome } from "../orchestrator/config/home.ts";
import { callerSettings, loadSettings, type Flags } from "../orchestrator/config/load.ts";
import { createSystemProbe } from "../orchestrator/hardware/system-probe.ts";
import { createLog, type Log } from "../orchestrator/log.ts";
import { createOrchestrator } from "../orchestrator/orchestrator.ts";
import { createEngines } from "./engines.ts";
import type { OpenHome } from "./host.ts";
import { ensureHome } from "./home-folder.ts";

export interface HomeOptions {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly flags: Flags;
  /** The user's home folder: where `.ollm` lies unless `OLLM_HOME` says otherwise. */
  readonly userHome: string;
  readonly version: string;
  /** Until the settings say how much is to be logged. */
  readonly log: Log;
}

/**
 * The brain with the real world around it; the one place where real engines, disks, clocks and probes are handed out.
 * Loaded at the first call. Throws `InvalidConfig`. `close` ends engines and their processes.
 */
export async function openHome(options: HomeOptions): Promise<OpenHome & { close(): Promise<void> }> {
  const { environment, flags, version } = options;
  const wanted = resolveHome(environment, options.userHome);
  const home = await ensureHome(wanted, options.log);
  const { settings, warnings } = await loadSettings({ home, environment, flags });
  const log = createLog(settings.log.level, (line) => process.stderr.write(`${line}\n`));
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
  const orchestrator = createOrchestrator(settings, { now: Date.now, engines, probe, log, version, home });
  return {
    orchestrator,
    callerSettings: callerSettings(settings),
    fileRoots: settings.files.roots,
    warnings: [],
    configFile: path.join(home, "config.yaml"),
    close: () => orchestrator.close(),
  };
}
