import type { DocumentFiles } from "../../src/orchestrator/storage/document-files.ts";

/** The files of documents in memory; a file that can't be parsed fails the test. */
export function createMemoryDocumentFiles(texts = new Map<string, string>()): DocumentFiles {
  return {
    read: async (name) => texts.get(name),
    replace: async (name, text) => void texts.set(name, text),
    append: async (name, text) => void texts.set(name, (texts.get(name) ?? "") + text),
    holds: async (name) => texts.has(name),
    remove: async (name) => void texts.delete(name),
    setAside: (name) => Promise.reject(new Error(`${name} can't be read`)),
    release: async () => undefined,
  };
}
