import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { InvalidRequest } from "../../../src/orchestrator/api/errors.ts";
import type { MemoryEntry, MemoryFormat } from "../../../src/orchestrator/api/facade-recall.ts";
import { checkImport, exportEntries, parseExport } from "../../../src/orchestrator/recall/markdown.ts";
import { callerIn, openMemories, startMs } from "./open-memories.ts";

const shell = callerIn(undefined, "ollm");
const rules = { nowMs: startMs, isForced: false, takesProject: () => true };

const time = fc
  .date({ min: new Date(0), max: new Date(startMs), noInvalidDate: true })
  .map((date) => date.toISOString());
const text = fc.string({ unit: "binary", maxLength: 60 }).filter((each) => each.trim() !== "" && !/\p{Cs}/u.test(each));
const word = fc
  .string({ unit: "binary", minLength: 1, maxLength: 20 })
  .map((each) =>
    each
      .normalize("NFC")
      .replaceAll(/[\p{Cc}\p{Cs}\u2028\u2029,]/gu, "")
      .trim(),
  )
  .filter((each) => each !== "" && each.length <= 50);
const entry: fc.Arbitrary<MemoryEntry> = fc
  .record({
    key: word,
    value: text,
    category: fc.constantFrom("fact" as const, "preference" as const, "context" as const),
    project: fc.option(word.map((each) => `/${each}`)),
    tags: fc.uniqueArray(word, { maxLength: 3 }),
    isPinned: fc.boolean(),
    createdAt: time,
    updatedAt: time,
    accessCount: fc.nat(),
    previous: fc.option(fc.record({ value: text, updatedAt: time })),
  })
  .map(({ project, previous, ...rest }) => ({
    ...rest,
    source: "system",
    scope: project === null ? "global" : "project",
    ...(project === null ? {} : { project }),
    ...(previous === null ? {} : { previous }),
  }));
const entries = fc.uniqueArray(entry, { selector: ({ project, key }) => `${project ?? ""}\n${key}`, maxLength: 5 });

const readBack = (given: readonly MemoryEntry[], format: MemoryFormat) =>
  checkImport(parseExport(exportEntries(given, format, startMs), format), { ...rules, isForced: true });
const sorted = (given: readonly MemoryEntry[]) =>
  given.toSorted((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));

describe("an export", () => {
  it("is restored completely from JSON", async () => {
    await fc.assert(
      fc.asyncProperty(entries, async (given) => {
        expect(await readBack(given, "json")).toEqual({ entries: given, refused: [] });
      }),
    );
  });

  it("is restored from Markdown except for previous values", async () => {
    await fc.assert(
      fc.asyncProperty(entries, async (given) => {
        // A text without entries is rejected.
        fc.pre(given.length > 0);
        const expected = given.map(({ previous: _previous, ...rest }) => rest);
        const { entries: read, refused } = await readBack(given, "markdown");
        expect({ read: sorted(read), refused }).toEqual({ read: sorted(expected), refused: [] });
      }),
    );
  });

  it("is readable as Markdown, by category", async () => {
    const { memories } = openMemories();
    await memories.remember(shell, { key: "editor", value: "helix", category: "preference", tags: ["tools", "tui"] });
    await memories.remember(shell, { key: "db", value: "postgres\n\n# on port 5433", isPinned: true });
    expect((await memories.export(shell, "markdown")).text).toMatchInlineSnapshot(`
      "# Memory

      Exported 2026-11-21T00:00:00.000Z.

      ## Preferences

      ### editor

      > helix

      - tags: tools, tui
      - source: user
      - created: 2026-11-21T00:00:00.000Z
      - updated: 2026-11-21T00:00:00.000Z
      - used: 0

      ## Facts

      ### db

      > postgres
      >
      > # on port 5433

      - pinned: yes
      - source: user
      - created: 2026-11-21T00:00:00.000Z
      - updated: 2026-11-21T00:00:00.000Z
      - used: 0
      "
    `);
  });

  it("contains the caller's entries, and for the user's shell those of all projects", async () => {
    const { memories } = openMemories();
    await memories.remember(callerIn("/work/a"), { key: "db", value: "postgres", scope: "project" });
    await memories.remember(callerIn("/work/a"), { key: "db", value: "sqlite", scope: "global" });
    const count = async (caller: typeof shell) =>
      parseExport((await memories.export(caller, "json")).text, "json").length;
    expect([await count(callerIn("/work/b")), await count(callerIn("/work/a")), await count(shell)]).toEqual([1, 2, 2]);
  });
});

describe("a page of an export", () => {
  it("follows the previous page, whatever was added or changed meanwhile, unless its last entry was deleted", async () => {
    const { memories } = openMemories();
    for (const key of ["a", "b", "c"]) await memories.remember(shell, { key, value: "v" });
    const keysOf = (exported: string) => parseExport(exported, "json").map((each) => (each as { key: string }).key);
    const first = await memories.export(shell, "json", { maxChars: 500 });
    expect([keysOf(first.text), first.next]).toEqual([["a", "b"], "b"]);
    await memories.remember(shell, { key: "c", value: "w", isPinned: true });
    await memories.remember(shell, { key: "d", value: "v" });
    const second = await memories.export(shell, "json", { maxChars: 500, after: "b" });
    expect([keysOf(second.text), second.next]).toEqual([["c", "d"], undefined]);
    await memories.forget(shell, { key: "b" });
    await expect(memories.export(shell, "json", { after: "b" })).rejects.toThrow(InvalidRequest);
  });
});

describe("an import", () => {
  it("stores complete entries with source system, and keeps previous values", async () => {
    const from = openMemories();
    await from.memories.remember(shell, { key: "editor", value: "helix", isPinned: true });
    const { text: exported } = await from.memories.export(shell, "json");
    const { memories, changes } = openMemories();
    await memories.remember(shell, { key: "editor", value: "vim" });
    expect(await memories.import(shell, exported, "json")).toEqual({ imported: 1, refused: [] });
    expect((await memories.recall(shell, { key: "editor" })).entries[0]).toMatchObject({
      value: "helix",
      isPinned: true,
      source: "system",
      previous: { value: "vim" },
    });
    expect(changes.at(-1)).toEqual({ kind: "memories changed", isListChanged: true });
  });

  it("imports valid entries and reports why others are rejected", async () => {
    const { memories } = openMemories();
    const given = [
      { key: "good", value: "v" },
      { key: "", value: "v" },
      { key: "blank", value: " " },
      { key: "good", value: "again" },
      { key: "huge", value: "v".repeat(65_537) },
      { key: "over", value: "v", expiresAt: "2026-01-01T00:00:00.000Z" },
      { key: "mood", value: "v", category: "mood" },
      { key: "token", value: `ghp_${"a1B2".repeat(9)}` },
      { key: "elsewhere", value: "v", scope: "project", project: "/work/b" },
      { key: "nowhere", value: "v", scope: "project" },
      { value: "v" },
      "text",
    ];
    const result = await memories.import(callerIn("/work/a"), JSON.stringify({ version: 1, entries: given }), "json");
    expect(result).toMatchInlineSnapshot(`
      {
        "imported": 1,
        "refused": [
          "entry 2: the key is empty",
          ""blank": the value is empty",
          ""good": duplicate key",
          ""huge": the value has 65.5 kB; at most 64 KiB are allowed",
          ""over": expired at 2026-01-01T00:00:00.000Z",
          ""mood": Invalid option: expected one of "fact"|"preference"|"context" → at category",
          ""token": looks like a GitHub token (ghp_…)",
          ""elsewhere": belongs to another project, /work/b",
          ""nowhere": scope is project, but project is missing",
          "entry 11: Invalid input: expected string, received undefined → at key",
          "entry 12: Invalid input: expected object, received string",
        ],
      }
    `);
    expect((await memories.recall(shell, {})).entries.map(({ key, value }) => [key, value])).toEqual([["good", "v"]]);
  });

  it("accepts hand-written Markdown", async () => {
    const { memories } = openMemories();
    const written = "## Preferences\r\n\r\n### editor\r\n> helix\r\n> with vim keys\r\n\r\n- tags: a, b\r\n";
    expect(await memories.import(shell, written, "markdown")).toEqual({ imported: 1, refused: [] });
    expect((await memories.recall(shell, { key: "editor" })).entries[0]).toMatchObject({
      value: "helix\nwith vim keys",
      category: "preference",
      tags: ["a", "b"],
    });
  });

  it.each([
    ["json", "{", "the text is not JSON"],
    ["json", "[]", "not an export of memories"],
    ["json", '{"version":2,"entries":[]}', "the export has version 2; this program reads up to 1"],
    ["markdown", "# Notes\n\nhello", "the Markdown has no entries"],
  ] as const)("rejects a text that is not an export (%s %j)", async (format, broken, message) => {
    const { memories } = openMemories();
    await expect(memories.import(shell, broken, format)).rejects.toThrow(InvalidRequest);
    await expect(memories.import(shell, broken, format)).rejects.toThrow(message);
  });

  it("imports secrets only when forced", async () => {
    const { memories } = openMemories();
    const given = JSON.stringify({ version: 1, entries: [{ key: "k", value: `ghp_${"a1B2".repeat(9)}` }] });
    expect((await memories.import(shell, given, "json")).imported).toBe(0);
    expect((await memories.import(shell, given, "json", { isForced: true })).imported).toBe(1);
  });
});
