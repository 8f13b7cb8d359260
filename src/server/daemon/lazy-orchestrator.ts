import path from "node:path";
import { InvalidConfig, OrchestratorError } from "../../orchestrator/errors.ts";
import type { Log } from "../../orchestrator/log.ts";
import type { OpenOrchestrator, OpenOrchestratorOptions } from "../open-orchestrator.ts";
import { type ConfigWatch, watchConfig } from "./config-watch.ts";

/** The orchestrator of the process, opened when it is first asked for. */
export interface LazyOrchestrator {
  /** Throws `InvalidConfig`, then tries again at the next call: a setting that was wrong may be mended by then. */
  open(): Promise<OpenOrchestrator>;
  /** Undefined until it is open. */
  current(): OpenOrchestrator | undefined;
  /** A sentence while `config.yaml` is not obeyed as it is: what is wrong, and what holds meanwhile. */
  problem(): string | undefined;
  /** What this process was started with is wrong: no change of `config.yaml` mends it. */
  isHopeless(): boolean;
  /** Nothing is opened any more. `isLeaving`: models that it loaded leave the engines that live on. */
  close(options: { readonly isLeaving: boolean }): Promise<void>;
}

export interface LazyOrchestratorOptions extends OpenOrchestratorOptions {
  readonly log: Log;
  readonly isStandalone: boolean;
  /** Whether somebody is there who would notice that a setting changed. */
  readonly isNeeded: () => boolean;
  /** Nothing is loaded before somebody asks for it: daemons before died again and again. */
  readonly isSafeStart: () => boolean;
}

/**
 * Loads the orchestrator's code with the first `open`. Jobs and pulls of earlier daemons are taken up before it is handed
 * out. From then on its settings follow `config.yaml`; one that was broken from the start opens the orchestrator once it
 * is mended.
 */
export function createLazyOrchestrator(options: LazyOrchestratorOptions): LazyOrchestrator {
  const { log } = options;
  let opening: Promise<OpenOrchestrator> | undefined;
  let current: OpenOrchestrator | undefined;
  let failure: string | undefined;
  let watching: ConfigWatch | undefined;
  let isClosed = false;

  async function start(): Promise<OpenOrchestrator> {
    const [{ openOrchestrator }, { resumeJobs }] = await Promise.all([
      import("../open-orchestrator.ts"),
      import("../resume-jobs.ts"),
    ]);
    if (!isClosed) {
      const file = path.join(options.home, "config.yaml");
      watching ??= watchConfig({ file, look, isNeeded: options.isNeeded, log });
    }
    const opened = await openOrchestrator(options);
    await resumeJobs(opened.orchestrator, opened.log, options.isSafeStart()).catch((error: unknown) => {
      log.warn(`jobs of earlier daemons: ${error instanceof Error ? error.message : String(error)}`);
    });
    current = opened;
    return opened;
  }

  async function open(): Promise<OpenOrchestrator> {
    opening ??= start();
    try {
      return await opening;
    } catch (error) {
      opening = undefined;
      const message = error instanceof OrchestratorError ? error.message : undefined;
      if (message !== undefined && message !== failure) log.warn(message);
      failure = message;
      if (!(error instanceof InvalidConfig) || options.isStandalone || !isOurs(message)) throw error;
      throw new InvalidConfig(error.message, {
        next: { step: "restartDaemon", after: "correct it where the daemon was started" },
        cause: error,
      });
    }
  }

  async function look(): Promise<void> {
    if (current !== undefined) return current.live.look();
    // Whoever calls is told why it can't be opened.
    if (failure !== undefined && !isClosed) await open().catch(() => undefined);
  }

  return {
    open,
    current: () => current,
    problem() {
      if (current !== undefined) return current.settingsProblem();
      return failure === undefined ? undefined : `${failure}; calls are refused until it is mended`;
    },
    isHopeless: () => current === undefined && isOurs(failure),
    async close({ isLeaving }) {
      isClosed = true;
      watching?.stop();
      const opened = await opening?.catch(() => undefined);
      await opened?.close({ unloadsOwned: isLeaving });
    },
  };
}

/** Whether the message of wrong settings names a variable or a flag. */
function isOurs(message: string | undefined): boolean {
  return /(?:^|; )(?:OLLM_|OLLAMA_|--)/.test(message ?? "");
}
