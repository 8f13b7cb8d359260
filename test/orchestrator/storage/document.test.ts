import { mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import * as z from "zod";
import { StoreFailed } from "../../../src/orchestrator/api/errors.ts";
import { createDocumentFiles, type DocumentFiles } from "../../../src/orchestrator/storage/document-files.ts";
import { openDocument } from "../../../src/orchestrator/storage/document.ts";
import { type Counted, type Counter, counterOptions, openCounter } from "./counter.ts";

let folder: string;
let files: DocumentFiles;
let handedOut: DocumentFiles[];
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "ollm-documents-"));
  handedOut = [];
  files = filesIn(folder);
});
afterEach(async () => {
  await Promise.all(handedOut.map((each) => each.release("words.journal")));
  await rm(folder, { recursive: true, force: true });
});

/** The files as another process sees them. */
function filesIn(directory: string): DocumentFiles {
  const made = createDocumentFiles(directory);
  handedOut.push(made);
  return made;
}

const journal = () => path.join(folder, "words.journal");
const document = () => path.join(folder, "words.json");
const textOf = (file: string) => readFile(file, "utf8").catch(() => undefined);
const line = (n: number, word: string, v = 2) => `${JSON.stringify({ v, n, event: { word } })}\n`;

describe("a journaled document", () => {
  it("writes what it acknowledged only to its journal", async () => {
    const opened = await openCounter(files);
    expect(await opened.append({ word: "one" })).toBe(1);
    expect(await textOf(journal())).toBe(line(1, "one"));
    expect(await textOf(document())).toBeUndefined();
    expect(opened.state).toEqual({ words: ["one"], total: 1 });
  });

  it("is restored after the process ended without closing it", async () => {
    await (await openCounter(files)).append({ word: "one" });
    const again = await openCounter(filesIn(folder));
    expect(again.state.words).toEqual(["one"]);
    await again.append({ word: "two" });
    expect((await openCounter(filesIn(folder))).state).toEqual({ words: ["one", "two"], total: 2 });
  });

  it("folds the journal into the document on close, and rejects later events", async () => {
    const opened = await openCounter(files);
    await Promise.all([opened.append({ word: "one" }), opened.append({ word: "two" })]);
    await opened.close();
    expect(JSON.parse((await textOf(document())) ?? "")).toEqual({
      schemaVersion: 2,
      sequence: 2,
      words: ["one", "two"],
      total: 2,
    });
    expect(await textOf(journal())).toBeUndefined();
    await expect(opened.append({ word: "three" })).rejects.toThrow(StoreFailed);
    const again = await openCounter(files);
    expect(again.state.words).toEqual(["one", "two"]);
    expect(await again.append({ word: "three" })).toBe(3);
  });

  it("skips events that the document has already, after a crash between folding and trimming", async () => {
    await writeFile(document(), JSON.stringify({ schemaVersion: 2, sequence: 2, words: ["one", "two"], total: 2 }));
    await writeFile(journal(), line(1, "one") + line(2, "two") + line(3, "three"));
    expect((await openCounter(files)).state.words).toEqual(["one", "two", "three"]);
  });

  it("shares one write and one sync between concurrent events", async () => {
    let appends = 0;
    const counting = {
      ...files,
      append(name: string, text: string) {
        appends += 1;
        return files.append(name, text);
      },
    };
    const opened = await openCounter(counting);
    const totals = await Promise.all(Array.from({ length: 100 }, (_, index) => opened.append({ word: `w${index}` })));
    expect(totals.at(-1)).toBe(100);
    expect(appends).toBe(1);
  });

  it("folds during writes once the journal is as large as the document, and loses nothing", async () => {
    let folds = 0;
    const counting = {
      ...files,
      replace(name: string, text: string) {
        if (name === "words.json") folds += 1;
        return files.replace(name, text);
      },
    };
    const opened = await openCounter(counting);
    const word = "x".repeat(1_000);
    for (let round = 0; round < 40; round += 1) {
      await Promise.all(Array.from({ length: 50 }, (_, index) => opened.append({ word: `${round}-${index}-${word}` })));
    }
    // 2 MB in a document that doubles with each fold.
    expect(folds).toBeGreaterThan(1);
    expect(folds).toBeLessThan(6);
    const unclosed = await openCounter(filesIn(folder));
    expect(unclosed.state).toEqual(opened.state);
    expect(unclosed.state.total).toBe(2_000);
    await opened.close();
    expect((await openCounter(filesIn(folder))).state.total).toBe(2_000);
  });

  it("may have a state that isn't JSON: writes a snapshot, which the schema reads", async () => {
    const open = () =>
      openDocument<{ words: Set<string> }, Counted>({
        ...counterOptions(files),
        empty: () => ({ words: new Set() }),
        state: z.object({ words: z.array(z.string()) }).transform(({ words }) => ({ words: new Set(words) })),
        apply: ({ words }, { word }) => void words.add(word),
        snapshot: ({ words }) => ({ words: [...words] }),
        prune: ({ words }) => void words.delete("old"),
      });
    const opened = await open();
    for (const word of ["old", "one"]) await opened.append({ word });
    expect([...opened.state.words]).toEqual(["old", "one"]);
    await opened.close();
    const again = await open();
    expect(again.problems).toEqual([]);
    expect([...again.state.words]).toEqual(["one"]);
  });

  it("keeps everything in memory without files", async () => {
    const opened = await openCounter(undefined);
    await opened.append({ word: "one" });
    await opened.close();
    expect(opened.state.words).toEqual(["one"]);
  });

  it.skipIf(process.platform === "win32")("is accessible only to its user", async () => {
    const inside = path.join(folder, "home");
    const opened = await openCounter(filesIn(inside));
    await opened.append({ word: "one" });
    expect((await stat(inside)).mode & 0o777).toBe(0o700);
    expect((await stat(path.join(inside, "words.journal"))).mode & 0o777).toBe(0o600);
    await opened.close();
    expect((await stat(path.join(inside, "words.json"))).mode & 0o777).toBe(0o600);
  });
});

describe("an invalid document or journal", () => {
  const aside = async (name: string) => (await readdir(folder)).find((each) => each.startsWith(`${name}.broken-`));
  const whole = JSON.stringify({ schemaVersion: 2, sequence: 1, words: ["one"], total: 1 });

  it.each([
    ["empty", ""],
    ["truncated", whole.slice(0, 40)],
    ["not a document", "[]"],
    ["of another form", JSON.stringify({ schemaVersion: 2, sequence: 1, words: "one" })],
    ["of a future version", whole.replace('"schemaVersion":2', '"schemaVersion":3')],
  ])("is set aside with a message when the document is %s; the journal is still applied", async (_name, text) => {
    await writeFile(document(), text);
    await writeFile(journal(), line(7, "seven"));
    const opened = await openCounter(files);
    expect(opened.state).toEqual({ words: ["seven"], total: 1 });
    expect(opened.problems).toHaveLength(1);
    expect(opened.problems[0]).toMatch(/^words\.json can't be read: .+; it was set aside as .+broken-/);
    expect(await textOf(path.join(folder, (await aside("words.json")) ?? ""))).toBe(text);
    await opened.append({ word: "eight" });
    await opened.close();
    expect((await openCounter(files)).state.words).toEqual(["seven", "eight"]);
  });

  it("names the version found and the version supported", async () => {
    await writeFile(document(), whole.replace('"schemaVersion":2', '"schemaVersion":3'));
    expect((await openCounter(files)).problems[0]).toContain("it has version 3; this program reads up to 2");
  });

  it("drops the incomplete end of a journal, which was never acknowledged", async () => {
    await writeFile(journal(), line(1, "one") + line(2, "two").slice(0, -4));
    const opened = await openCounter(files);
    expect(opened.state.words).toEqual(["one"]);
    expect(opened.problems).toEqual([]);
    await opened.append({ word: "three" });
    expect((await openCounter(filesIn(folder))).state.words).toEqual(["one", "three"]);
  });

  it("treats an empty journal as one without events", async () => {
    await writeFile(journal(), "");
    const opened = await openCounter(files);
    expect(opened.problems).toEqual([]);
    expect(await opened.append({ word: "one" })).toBe(1);
  });

  it.each([
    ["a damaged line", 'x{"v":2}\n', "line 2 is not JSON"],
    ["a line of a future version", line(2, "two", 3), "line 2 has version 3; this program reads up to 2"],
    ["a missing line", line(4, "four"), "line 2 has number 4 after number 1"],
    ["an unknown event", '{"v":2,"n":2,"event":{"verb":"go"}}\n', "line 2 has an unknown event"],
  ])("sets a journal with %s aside and keeps the events before it", async (_name, broken, message) => {
    const text = line(1, "one") + broken + line(3, "three");
    await writeFile(journal(), text);
    const opened = await openCounter(files);
    expect(opened.state.words).toEqual(["one"]);
    expect(opened.problems).toEqual([expect.stringContaining(message)]);
    expect(await textOf(path.join(folder, (await aside("words.journal")) ?? ""))).toBe(text);
    // Not closed: the earlier events are in the document already.
    expect((await openCounter(filesIn(folder))).state.words).toEqual(["one"]);
    expect(await opened.append({ word: "two" })).toBe(2);
  });

  it("keeps the rows and lines that can be read, if they don't depend on each other, and notes the others", async () => {
    const lost: unknown[] = [];
    const options = {
      ...counterOptions(files),
      state: z.object({ words: z.array(z.string()), total: z.number().default(0) }),
      rows: { words: z.string() },
      noteLost: (state: Counter, rows: readonly unknown[]) => {
        lost.push(...rows);
        state.words.push("(lost)");
      },
    };
    await writeFile(document(), JSON.stringify({ schemaVersion: 2, sequence: 1, words: ["one", 2], total: 2 }));
    await writeFile(journal(), `${line(2, "two")}x\n{"v":2,"n":4,"event":{"verb":"go"}}\n${line(5, "five")}`);
    const opened = await openDocument(options);
    expect(opened.state.words).toEqual(["one", "two", "five", "(lost)"]);
    expect(lost).toEqual([2, undefined, { verb: "go" }]);
    expect(opened.problems).toEqual([
      expect.stringMatching(/^words\.json can't be read: .*; the other rows were kept; it was set aside as/),
      expect.stringMatching(
        /^words\.journal is damaged: line 2 is not JSON; the other lines were kept; it was set aside/,
      ),
    ]);
    // Not closed, as after a crash: nothing is lost again.
    const again = await openDocument({ ...options, files: filesIn(folder) });
    expect(again.problems).toEqual([]);
    expect(again.state.words).toEqual(["one", "two", "five", "(lost)"]);
    expect(await again.append({ word: "six" })).toBe(3);
  });

  it("never comes from an event: one that its schema refuses is not stored", async () => {
    const opened = await openCounter(files);
    await opened.append({ word: "one" });
    await expect(opened.append({ word: 2 as never })).rejects.toThrow("words: an event was not stored");
    await opened.append({ word: "three" });
    const again = await openCounter(filesIn(folder));
    expect(again.problems).toEqual([]);
    expect(again.state.words).toEqual(["one", "three"]);
  });

  it("is never overwritten when it can't be set aside", async () => {
    await writeFile(document(), "broken");
    const stuck = { ...files, setAside: () => Promise.reject(new Error("EROFS: read-only")) };
    const opened = await openCounter(stuck);
    await expect(opened.append({ word: "one" })).rejects.toThrow(/it can't be set aside: EROFS/);
    await opened.close();
    expect(await textOf(document())).toBe("broken");
    expect(opened.state.words).toEqual([]);
  });

  it("is not changed when it can't be read at all", async () => {
    const locked = { ...files, read: () => Promise.reject(new Error("EACCES: permission denied")) };
    await expect(openCounter(locked)).rejects.toThrow("words.json can't be read: EACCES");
  });
});

describe("a journal that changes under a running process", () => {
  it.each([
    ["removed", (file: string) => rm(file)],
    ["moved away", (file: string) => rename(file, `${file}.moved`)],
    ["emptied", (file: string) => writeFile(file, "")],
    ["replaced", async (file: string) => [await rm(file), await writeFile(file, "from elsewhere\n".repeat(100))]],
  ])("loses nothing that was acknowledged when it was %s", async (_how, change) => {
    const warnings: string[] = [];
    const log = { ...counterOptions(files).log, warn: (text: string) => void warnings.push(text) };
    const opened = await openCounter(files, { log });
    await Promise.all(["one", "two"].map((word) => opened.append({ word })));
    await change(journal());
    await opened.append({ word: "three" });
    await opened.append({ word: "four" });
    expect(warnings).toEqual([expect.stringMatching(/^documents: words\.journal was removed or changed/)]);
    // Not closed, as after a crash.
    const again = await openCounter(filesIn(folder));
    expect(again.state.words).toEqual(["one", "two", "three", "four"]);
    expect(again.problems).toEqual([]);
  });

  it("loses nothing when it was removed before the first event, or with its folder", async () => {
    await writeFile(journal(), line(1, "one"));
    const opened = await openCounter(files);
    await rm(journal());
    await opened.append({ word: "two" });
    await rm(folder, { recursive: true });
    await opened.append({ word: "three" });
    expect((await openCounter(filesIn(folder))).state.words).toEqual(["one", "two", "three"]);
  });

  it("rejects new events while the lost ones can't be written", async () => {
    let isFull = true;
    const filling = {
      ...files,
      replace: (name: string, text: string) =>
        isFull ? Promise.reject(new Error("ENOSPC: no space left on device")) : files.replace(name, text),
    };
    const opened = await openCounter(filling);
    await opened.append({ word: "one" });
    await rm(journal());
    await expect(opened.append({ word: "two" })).rejects.toThrow(/words can't be written: ENOSPC/);
    isFull = false;
    await opened.append({ word: "three" });
    expect((await openCounter(filesIn(folder))).state.words).toEqual(["one", "three"]);
  });
});

describe("a full disk", () => {
  it("fails the write, keeps the state, and works again when there is space", async () => {
    let isFull = true;
    const filling = {
      ...files,
      append: (name: string, text: string) =>
        isFull ? Promise.reject(new Error("ENOSPC: no space left on device")) : files.append(name, text),
    };
    const opened = await openCounter(filling);
    await expect(opened.append({ word: "one" })).rejects.toThrow(/words can't be written: ENOSPC/);
    expect(opened.state.words).toEqual([]);
    isFull = false;
    expect(await opened.append({ word: "two" })).toBe(1);
    expect((await openCounter(filesIn(folder))).state.words).toEqual(["two"]);
  });

  it("may prevent a fold, but loses nothing that was acknowledged", async () => {
    const filling = { ...files, replace: () => Promise.reject(new Error("ENOSPC: no space left on device")) };
    const opened = await openCounter(filling);
    for (let index = 0; index < 400; index += 1) await opened.append({ word: `${index}${"x".repeat(1_000)}` });
    await opened.close();
    expect((await openCounter(filesIn(folder))).state.total).toBe(400);
  });
});
