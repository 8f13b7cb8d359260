import { stat } from "node:fs/promises";
import path from "node:path";
import { detect, type Detected } from "./detect.ts";
import { listFolder } from "./folder-listing.ts";
import { readOllmFolder, stampOfOllm, type OllmFolder } from "./ollm-folder.ts";
import { readProjectFile, type ReadProjectFile } from "./project-file.ts";

/** The contents of one folder, read once. */
export interface FolderState {
  /** Resolved. */
  readonly folder: string;
  readonly detected?: Detected;
  readonly ollm: OllmFolder;
  readonly read: ReadProjectFile;
}

/** Reads a folder; `profiles` are the names of routing profiles. Never throws for a folder that exists. */
export async function readFolder(folder: string, profiles: readonly string[]): Promise<FolderState> {
  const [listing, ollm] = await Promise.all([listFolder(folder), readOllmFolder(folder)]);
  const detected = detect(listing);
  const { file } = ollm;
  const read =
    file === undefined
      ? { settings: {}, sources: {}, notes: [] }
      : await readProjectFile(file.path, file.text, profiles);
  return { folder, ollm, read, ...(detected && { detected }) };
}

export interface FolderStates {
  /** The same object until something in the folder changes; checks the folder at most once a second. */
  of(folder: string): Promise<FolderState>;
  /** Makes the next `of` read the folder again, even if a read is already running. */
  forget(folder: string): void;
}

/** A check costs more than the rest of a call's overhead. */
const freshMs = 1_000;
/** Far more projects than a user has open. */
const maxFolders = 64;

interface Known {
  readonly state: FolderState;
  readonly stamp: string;
  readonly seenAtMs: number;
}

/** `now` in milliseconds. */
export function createFolderStates(now: () => number, profiles: readonly string[]): FolderStates {
  const known = new Map<string, Known>();
  const looking = new Map<string, Promise<FolderState>>();

  async function look(folder: string, before: Known | undefined): Promise<Known> {
    const seenAtMs = now();
    // Before reading: a change during the read is found by the next check.
    const stamp = await stampOf(folder);
    const state = before?.stamp === stamp ? before.state : await readFolder(folder, profiles);
    return { state, stamp, seenAtMs };
  }

  function cache(folder: string, seen: Known): void {
    known.delete(folder);
    known.set(folder, seen);
    const [oldest] = known.keys();
    if (known.size > maxFolders && oldest !== undefined) known.delete(oldest);
  }

  return {
    async of(folder) {
      const before = known.get(folder);
      if (before !== undefined && Math.abs(now() - before.seenAtMs) < freshMs) return before.state;
      const running = looking.get(folder);
      if (running !== undefined) return running;
      const started = look(folder, before).then((seen) => {
        // After `forget`, this state may be out of date.
        if (looking.get(folder) === started) cache(folder, seen);
        return seen.state;
      });
      looking.set(folder, started);
      try {
        return await started;
      } finally {
        if (looking.get(folder) === started) looking.delete(folder);
      }
    },
    forget(folder) {
      known.delete(folder);
      looking.delete(folder);
    },
  };
}

/** New and deleted names change the folder's own time; contents matter only for `package.json`. */
async function stampOf(folder: string): Promise<string> {
  const paths = [folder, path.join(folder, "package.json")];
  const stamps = await Promise.all(
    paths.map((each) =>
      stat(each, { bigint: true }).then(
        ({ mtimeNs, ino }) => `${mtimeNs} ${ino}`,
        () => "-",
      ),
    ),
  );
  return [...stamps, await stampOfOllm(folder)].join("\n");
}
