import { watch, type FSWatcher } from "node:fs";
import { stat } from "node:fs/promises";
import { basename, dirname } from "node:path";
import type { Timers } from "./timers.ts";
import type { Log } from "../log.ts";

/** Editors write a file in several steps. */
const settleMs = 100;

/** Notices changes in one folder, which may not be there yet, come and go. */
export interface FolderWatch {
  /** Watches the folder, or its parent while there is none; call it whenever the folder is read. Never throws. */
  adjust(): Promise<void>;
  close(): void;
}

/**
 * Calls `onChange` after something has changed. It is a convenience: where the system can't watch (network drives, too
 * many watches) nothing is told, and whoever reads the folder sees what is there all the same.
 */
export function watchFolder(options: {
  readonly folder: string;
  readonly onChange: () => void;
  readonly timers: Timers;
  readonly log: Log;
}): FolderWatch {
  const { folder, onChange, timers, log } = options;
  let watched: { readonly target: string; readonly id: string; readonly watcher: FSWatcher } | undefined;
  let cancel: (() => void) | undefined;
  let isClosed = false;

  function noticed(): void {
    cancel ??= timers.after(settleMs, () => {
      cancel = undefined;
      // First: what changes after it was read is noticed then.
      void adjust().then(() => {
        if (!isClosed) onChange();
      });
    });
  }

  function leave(): void {
    watched?.watcher.close();
    watched = undefined;
  }

  const currentTarget = async () => (await identityOf(folder)) ?? (await identityOf(dirname(folder)));

  async function adjust(): Promise<void> {
    const target = await currentTarget();
    if (isClosed || (target?.id === watched?.id && target?.path === watched?.target)) return;
    leave();
    if (target === undefined) return;
    try {
      const isParent = target.path !== folder;
      const watcher = watch(target.path, { persistent: false }, (_event, name) => {
        // Of the parent only the folder itself matters.
        if (!isParent || name === null || name === basename(folder)) noticed();
      });
      watcher.on("error", (error) => {
        log.debug(`watching ${target.path}: ${error.message}`);
        leave();
        noticed();
      });
      watched = { target: target.path, id: target.id, watcher };
      // It may have come or gone before it was watched.
      if ((await currentTarget())?.id !== target.id) noticed();
    } catch (error) {
      log.debug(`${target.path} can't be watched: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  return {
    adjust,
    close() {
      isClosed = true;
      cancel?.();
      leave();
    },
  };
}

/** A folder and what tells it from another one of the same name; undefined where there is none. */
async function identityOf(path: string): Promise<{ readonly path: string; readonly id: string } | undefined> {
  try {
    const facts = await stat(path, { bigint: true });
    return facts.isDirectory() ? { path, id: `${facts.dev} ${facts.ino}` } : undefined;
  } catch {
    return undefined;
  }
}
