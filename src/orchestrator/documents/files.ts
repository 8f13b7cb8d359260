/** The disk below a document: tests fill it up, break it and count what is synced. Names are plain (`memory.json`). */
export interface DocumentFiles {
  /** Undefined when there is none. */
  read(name: string): Promise<string | undefined>;
  /** In one step, and on disk when it resolves: nobody ever reads half a file. */
  replace(name: string, text: string): Promise<void>;
  /** Adds to the end, making the file; on disk (fsync) when it resolves. */
  append(name: string, text: string): Promise<void>;
  remove(name: string): Promise<void>;
  /** Renames what can't be read (`memory.json.broken-<time>`), and answers with its new path. */
  setAside(name: string): Promise<string>;
}
