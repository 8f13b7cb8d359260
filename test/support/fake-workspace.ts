import { InvalidRequest } from "../../src/orchestrator/api/errors.ts";
import type { Verdict, Workspace } from "../../src/orchestrator/api/facade-batches.ts";

/** A workspace in memory; `run` says what a command finds in its files. */
export function createFakeWorkspace(
  files: Readonly<Record<string, string>>,
  run: (texts: ReadonlyMap<string, string>) => Partial<Verdict> = () => ({}),
) {
  const before = new Map(Object.entries(files));
  const texts = new Map(before);
  const log: string[] = [];
  const textOf = (path: string): string => {
    const text = texts.get(path);
    if (text === undefined) throw new InvalidRequest(`there is no file ${path}`);
    return text;
  };
  const workspace: Workspace = {
    id: "delegate-00000001",
    notes: [],
    list: () => Promise.resolve([...texts.keys()]),
    read: async (path) => textOf(path),
    grep: (text) => Promise.resolve([...texts].filter(([, whole]) => whole.includes(text)).map(([path]) => path)),
    async edit(path, from, to) {
      if (textOf(path).split(from).length !== 2) throw new InvalidRequest(`the text is not in ${path} once`);
      texts.set(
        path,
        textOf(path).replace(from, () => to),
      );
      return textOf(path).length;
    },
    async write(path, text) {
      texts.set(path, text);
      return text.length;
    },
    text: (path) => Promise.resolve(texts.get(path)),
    run() {
      log.push("run");
      return Promise.resolve({ passed: false, how: "exit code 1", output: "", ...run(texts) });
    },
    async keep() {
      const changed = [...texts].filter(([path, text]) => before.get(path) !== text);
      if (changed.length > 0) log.push("keep");
      return changed.map(([path]) => ({
        path,
        kind: before.has(path) ? "changed" : "added",
        diff: `diff --git a/${path} b/${path}\n@@ -1 +1 @@\n-old\n+new\n`,
      }));
    },
    remove: async () => void log.push("remove"),
  };
  return { workspace, texts, log };
}
