import { readdir, readFile, rename, rm } from "node:fs/promises";
import path from "node:path";

/** Where jobs are written down; injected, so that tests can let the disk be full. */
export interface JobFiles {
  /** Ids of the files that are there. */
  list(): Promise<readonly string[]>;
  /** What writes of a killed daemon left behind. Before the first write: it would take that one's file away as well. */
  removeLeftovers(): Promise<void>;
  read(id: string): Promise<string>;
  /** In one step and on disk when it resolves: nobody ever reads half a file. */
  write(id: string, text: string): Promise<void>;
  /** Not an error when there is none. */
  remove(id: string): Promise<void>;
  /** Renames what can't be read, and answers with its new name. */
  setAside(id: string): Promise<string>;
}

const fileName = /^([a-z]+-[0-9a-z]+)\.json$/;
/** What a write that was killed leaves behind; earlier versions left the one with digits. */
const leftover = /^(?:\.[a-z]+-[0-9a-z]+\.json\.tmp|[a-z]+-[0-9a-z]+\.json\.\d+)$/;

/** What writes them: makes the folder (mode 0700) and the file (0600), in one step and wholly. */
interface Disk {
  replace(name: string, text: string): Promise<void>;
}

/** One JSON file a job in `folder`, which is the one of `disk`. */
export function createJobFiles(folder: string, disk: Disk): JobFiles {
  const fileOf = (id: string): string => path.join(folder, `${id}.json`);
  const names = (): Promise<readonly string[]> =>
    readdir(folder).catch((error: unknown) => {
      if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
      throw error;
    });
  return {
    list: async () => (await names()).flatMap((name) => fileName.exec(name)?.[1] ?? []),
    async removeLeftovers() {
      const left = (await names()).filter((name) => leftover.test(name));
      await Promise.all(left.map((name) => rm(path.join(folder, name), { force: true })));
    },
    read: (id) => readFile(fileOf(id), "utf8"),
    write: (id, text) => disk.replace(path.basename(fileOf(id)), text),
    remove: (id) => rm(fileOf(id), { force: true }),
    async setAside(id) {
      const broken = `${fileOf(id)}.broken`;
      await rename(fileOf(id), broken);
      return broken;
    },
  };
}
