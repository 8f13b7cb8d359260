import { createMemoryDocumentFiles } from "./memory-document-files.ts";
import type { JobFiles } from "../../src/orchestrator/jobs/record.ts";

/** The files of jobs in memory; while `failWith` is set, every write fails with it. */
export interface MemoryJobFiles extends JobFiles {
  readonly texts: Map<string, string>;
  failWith: Error | undefined;
}

export function createMemoryJobFiles(): MemoryJobFiles {
  const texts = new Map<string, string>();
  const files: MemoryJobFiles = {
    texts,
    failWith: undefined,
    disk: createMemoryDocumentFiles(),
    list: async () => [...texts.keys()].filter((id) => !id.endsWith(".broken")),
    removeLeftovers: () => Promise.resolve(),
    async read(id) {
      const text = texts.get(id);
      if (text === undefined) throw new Error(`ENOENT: ${id}`);
      return text;
    },
    async write(id, text) {
      if (files.failWith !== undefined) throw files.failWith;
      texts.set(id, text);
    },
    async remove(id) {
      texts.delete(id);
    },
    async setAside(id) {
      texts.set(`${id}.broken`, texts.get(id) ?? "");
      texts.delete(id);
      return `${id}.broken`;
    },
  };
  return files;
}
