import path from "node:path";
import type { Timers } from "../util/timers.ts";
import { watchFolder, type FolderWatch } from "../util/watch-folder.ts";
import type { Log } from "../api/log.ts";
import { ollmName, templatesName } from "./ollm-folder.ts";

/** The most recently used projects are watched; changes of others are found by the next call. */
const maxWatches = 16;

export interface ProjectWatches {
  /** Starts calling `onChange` after changes in `.ollm` of `folder`. */
  watch(folder: string): void;
  close(): void;
}

/** Notices changes of project files between calls, where the system can watch folders. */
export function createProjectWatches(parts: {
  readonly onChange: (folder: string) => void;
  readonly timers: Timers;
  readonly log: Log;
}): ProjectWatches {
  const { timers, log } = parts;
  const watches = new Map<string, readonly FolderWatch[]>();
  let isClosed = false;
  return {
    watch(folder) {
      if (isClosed || watches.has(folder)) return;
      const own = path.join(folder, ollmName);
      const both = [own, path.join(own, templatesName)].map((each) =>
        watchFolder({ folder: each, onChange: () => parts.onChange(folder), timers, log }),
      );
      watches.set(folder, both);
      for (const watch of both) void watch.adjust();
      const [oldest] = watches.keys();
      if (watches.size <= maxWatches || oldest === undefined) return;
      for (const watch of watches.get(oldest) ?? []) watch.close();
      watches.delete(oldest);
    },
    close() {
      isClosed = true;
      for (const watch of [...watches.values()].flat()) watch.close();
      watches.clear();
    },
  };
}
