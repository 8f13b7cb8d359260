import { type FSWatcher, watch } from "node:fs";
import path from "node:path";
import { InvalidConfig, OrchestratorError } from "../../orchestrator/api/errors.ts";
import type { Log } from "../../orchestrator/api/log.ts";
import type { OpenOrchestrator, OpenOrchestratorOptions } from "./open-orchestrator.ts";
import { messageOf } from "../../orchestrator/util/values.ts";

/** The orchestrator of the process, opened when it is first needed. */
export type LazyOrchestrator = ReturnType<typeof createLazyOrchestrator>;

/**
 * Loads the orchestrator's code with the first `open`, and resumes jobs and pulls of earlier daemons before it resolves.
 * From then on the settings follow `config.yaml`. When the file was invalid, the orchestrator opens once it is corrected.
 */
export function createLazyOrchestrator(
  options: OpenOrchestratorOptions & {
    readonly log: Log;
    readonly isStandalone: boolean;
    /** Whether any client is connected that a changed setting concerns. */
    readonly isNeeded: () => boolean;
    /** Earlier daemons died repeatedly: nothing is loaded before a request needs it. */
    readonly isSafeStart: () => boolean;
  },
) {
  const { log } = options;
  let opening: Promise<OpenOrchestrator> | undefined;
  let current: OpenOrchestrator | undefined;
  let failure: string | undefined;
  let isOfProcess = false;
  let watching: ReturnType<typeof watchConfig> | undefined;
  let isClosed = false;

  async function start(): Promise<OpenOrchestrator> {
    const { openOrchestrator } = await import("./open-orchestrator.ts");
    if (!isClosed) {
      const file = path.join(options.home, "config.yaml");
      watching ??= watchConfig({ file, look, isNeeded: options.isNeeded, log });
    }
    const opened = await openOrchestrator(options);
    await opened.resume(options.isSafeStart()).catch((error: unknown) => {
      log.warn(`jobs of earlier daemons: ${messageOf(error)}`);
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
      isOfProcess = error instanceof InvalidConfig && error.isOfProcess;
      if (options.isStandalone || !(error instanceof InvalidConfig) || !isOfProcess) throw error;
      throw new InvalidConfig(error.message, {
        next: { step: "restartDaemon", after: "correct it where the daemon was started" },
        cause: error,
      });
    }
  }

  async function look(): Promise<void> {
    if (current !== undefined) return current.live.look();
    // Calls report why it can't be opened.
    if (failure !== undefined && !isClosed) await open().catch(() => undefined);
  }

  return {
    /** Throws `InvalidConfig`; the next call tries again, since the settings may be corrected by then. */
    open,
    /** Undefined until it is open. */
    current: () => current,
    /** A sentence while `config.yaml` is invalid: the problem, and which settings are in force. */
    problem(): string | undefined {
      if (current !== undefined) return current.settingsProblem();
      return failure === undefined ? undefined : `${failure}; calls are refused until it is corrected`;
    },
    /** Whether this process was started with invalid settings, which no change of `config.yaml` corrects. */
    isHopeless: () => current === undefined && failure !== undefined && isOfProcess,
    /** Opens nothing any more. With `isLeaving` our models are unloaded from engines that keep running. */
    async close({ isLeaving }: { readonly isLeaving: boolean }) {
      isClosed = true;
      watching?.stop();
      const opened = await opening?.catch(() => undefined);
      await opened?.close({ unloadsOwned: isLeaving });
    },
  };
}

/** Editors write in several steps, each of which is an event. */
const quietMs = 100;
/** For files without change events: those on network drives, and links to other folders. */
const pollMs = 2_000;

/**
 * Calls `look` soon after `file` may have changed. The folder is watched rather than the file, because most editors
 * replace the file; in addition `look` is called every two seconds while `isNeeded`. Does not keep the process alive.
 */
export function watchConfig(parts: {
  readonly file: string;
  readonly look: () => Promise<void>;
  readonly isNeeded: () => boolean;
  readonly log: Log;
}) {
  const { file, log } = parts;
  let soon: NodeJS.Timeout | undefined;
  let watcher: FSWatcher | undefined;

  function look(): void {
    parts.look().catch((error: unknown) => log.warn(`${file}: ${String(error)}`));
  }

  function lookSoon(): void {
    clearTimeout(soon);
    soon = setTimeout(look, quietMs);
    soon.unref();
  }

  try {
    watcher = watch(path.dirname(file), { persistent: false }, (_event, name) => {
      // Some systems don't report the name.
      if (name === null || name === path.basename(file)) lookSoon();
    });
    watcher.on("error", (error) => {
      log.debug(`${file}: can't be watched, so it is checked every ${pollMs / 1_000} s: ${error.message}`);
      watcher?.close();
    });
  } catch (error) {
    log.debug(`${file}: can't be watched, so it is checked every ${pollMs / 1_000} s: ${String(error)}`);
  }
  const poll = setInterval(() => {
    if (parts.isNeeded()) look();
  }, pollMs);
  poll.unref();

  return {
    stop() {
      clearTimeout(soon);
      clearInterval(poll);
      watcher?.close();
    },
  };
}
