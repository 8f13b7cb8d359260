import { stat } from "node:fs/promises";
import path from "node:path";
import { detect, type Detected } from "./detect.ts";
import { lookAt } from "./look.ts";
import { readOllmFolder, stampOfOllm, type OllmFolder } from "./ollm-folder.ts";
import { readProjectFile, type ReadProjectFile } from "./project-file.ts";

/** What was found in one folder, all of it read once. */
export interface FolderState {
  /** Resolved. */
  readonly folder: string;
  readonly detected?: Detected;
  readonly ollm: OllmFolder;
  readonly read: ReadProjectFile;
}

/** The folder as it is now; `profiles` are the names of routing profiles. Never throws for a folder that exists. */
export async function readFolder(folder: string, profiles: readonly string[]): Promise<FolderState> {
  const [listing, ollm] = await Promise.all([lookAt(folder), readOllmFolder(folder)]);
  const detected = detect(listing);
  const { file } = ollm;
  const read =
    file === undefined
      ? { settings: {}, sources: {}, notes: [] }
      : await readProjectFile(file.path, file.text, profiles);
  return { folder, ollm, read, ...(detected && { detected }) };
}

export interface FolderStates {
  /** The same object until something in the folder changes; looked at once a second at most. */
  of(folder: string): Promise<FolderState>;
  /** Looks anew at the next question; a look that runs already doesn't count for it. */
  forget(folder: string): void;
}

/** A look costs more than the rest of a call's way. */
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
    // Before it is read: what changes meanwhile is seen by the next look.
    const stamp = await stampOf(folder);
    const state = before?.stamp === stamp ? before.state : await readFolder(folder, profiles);
    return { state, stamp, seenAtMs };
  }

  function keep(folder: string, seen: Known): void {
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
        // Forgotten meanwhile: it may be older than what it is asked about next.
        if (looking.get(folder) === started) keep(folder, seen);
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

/** Names that come and go change the folder's own time; what they hold is of no interest but for `package.json`. */
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
