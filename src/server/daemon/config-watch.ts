import { watch, type FSWatcher } from "node:fs";
import path from "node:path";
import type { Log } from "../../orchestrator/api/log.ts";

export interface ConfigWatch {
  stop(): void;
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
}): ConfigWatch {
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
