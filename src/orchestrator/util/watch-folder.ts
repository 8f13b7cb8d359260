import { watch, type FSWatcher } from "node:fs";
import { stat } from "node:fs/promises";
import { basename, dirname } from "node:path";
import type { Timers } from "./timers.ts";
import type { Log } from "../api/log.ts";
import { messageOf } from "./values.ts";

/** Delay before `onChange`: editors write a file in several steps. */
const settleMs = 100;

/** Watches one folder, which may be created and deleted at any time. */
export type FolderWatch = ReturnType<typeof watchFolder>;

/**
 * Calls `onChange` after a change in the folder. Best effort: where the system can't watch (network drives, too many
 * watches) it is not called, so callers must still read the folder when they use it.
 */
export function watchFolder(options: {
  readonly folder: string;
  readonly onChange: () => void;
  readonly timers: Timers;
  readonly log: Log;
}) {
  const { folder, onChange, timers, log } = options;
  let watched: { readonly target: string; readonly id: string; readonly watcher: FSWatcher } | undefined;
  let cancel: (() => void) | undefined;
  let isClosed = false;

  function noticed(): void {
    cancel ??= timers.after(settleMs, () => {
      cancel = undefined;
      // Before `onChange`, so that changes after its read are noticed.
      void adjust().then(() => {
        if (!isClosed) onChange();
      });
    });
  }

  function stop(): void {
    watched?.watcher.close();
    watched = undefined;
  }

  const currentTarget = async () => (await identityOf(folder)) ?? (await identityOf(dirname(folder)));

  async function adjust(): Promise<void> {
    const target = await currentTarget();
    if (isClosed || (target?.id === watched?.id && target?.path === watched?.target)) return;
    stop();
    if (target === undefined) return;
    try {
      const isParent = target.path !== folder;
      const watcher = watch(target.path, { persistent: false }, (_event, name) => {
        // In the parent only the folder itself matters.
        if (!isParent || name === null || name === basename(folder)) noticed();
      });
      watcher.on("error", (error) => {
        log.debug(`watch: ${target.path}: ${error.message}`);
        stop();
        noticed();
      });
      watched = { target: target.path, id: target.id, watcher };
      // It may have been created or deleted before the watch began.
      if ((await currentTarget())?.id !== target.id) noticed();
    } catch (error) {
      log.debug(`watch: can't watch ${target.path}: ${messageOf(error)}`);
    }
  }

  return {
    /** Watches the folder, or its parent if the folder does not exist. Call it whenever the folder is read. Never throws. */
    adjust,
    close() {
      isClosed = true;
      cancel?.();
      stop();
    },
  };
}

/** The path and identity (device, inode) of a folder; undefined if there is none. */
async function identityOf(path: string): Promise<{ readonly path: string; readonly id: string } | undefined> {
  const facts = await stat(path, { bigint: true }).catch(() => undefined);
  return facts?.isDirectory() === true ? { path, id: `${facts.dev} ${facts.ino}` } : undefined;
}
