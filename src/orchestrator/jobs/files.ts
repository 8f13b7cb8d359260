import { readdir, readFile, rename, rm } from "node:fs/promises";
import path from "node:path";

/** Storage of jobs; injected, so that tests can simulate a full disk. */
export interface JobFiles {
  /** Ids of the stored jobs. */
  list(): Promise<readonly string[]>;
  /** Removes temporary files of a killed daemon. Call it before the first write, whose temporary file it would remove. */
  removeLeftovers(): Promise<void>;
  read(id: string): Promise<string>;
  /** Atomic; the file is on disk when the promise resolves. */
  write(id: string, text: string): Promise<void>;
  /** Does nothing if there is no such file. */
  remove(id: string): Promise<void>;
  /** Renames an unreadable file and returns its new name. */
  setAside(id: string): Promise<string>;
}

const fileName = /^([a-z]+-[0-9a-z]+)\.json$/;
/** Temporary files of an interrupted write; the names with digits are from earlier versions. */
const leftover = /^(?:\.[a-z]+-[0-9a-z]+\.json\.tmp|[a-z]+-[0-9a-z]+\.json\.\d+)$/;

/** Writes files atomically and creates the folder; modes 0600 and 0700. */
interface Disk {
  replace(name: string, text: string): Promise<void>;
}

/** One JSON file per job in `folder`, which is also the folder of `disk`. */
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
