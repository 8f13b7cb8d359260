import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createMemorySearch } from "../../../src/orchestrator/recall/search.ts";
import { entryOf } from "./entries.ts";

const everything = () => true;
const silentLog = { debug: () => undefined, info: () => undefined, warn: () => undefined };

function searchOf(texts: Readonly<Record<string, string>>) {
  const search = createMemorySearch({ log: silentLog, embed: () => Promise.resolve(undefined) });
  for (const [key, value] of Object.entries(texts)) search.add(key, entryOf(key, value));
  return search;
}

function similarTo(key: string, value: string, others: Readonly<Record<string, string>>) {
  return searchOf({ ...others, [key]: value }).similar(key, entryOf(key, value), everything);
}

/** Inserts, deletes or replaces one letter. */
function edited(text: string, at: number, how: number): string {
  const place = at % (text.length + 1);
  return `${text.slice(0, place)}${how === 0 ? "" : "x"}${text.slice(how === 1 ? place : place + 1)}`;
}

describe("similar keys", () => {
  it.each([
    ["with another case or separator", "Preferred_Editor", "preferred-editor"],
    ["in camelCase", "preferredEditor", "preferred editor"],
    ["in full-width letters", "ｅｄｉｔｏｒ", "editor"],
    ["with a typo", "databse", "database"],
  ])("include keys %s", async (_what, key, other) => {
    expect(await similarTo(key, "one", { [other]: "two", unrelated: "three" })).toEqual([other]);
  });

  it.each([
    ["that differ in a number", "server-1", "server-2"],
    ["that only start alike", "db", "db-password"],
    ["that are short", "cat", "car"],
  ])("don't include keys %s", async (_what, key, other) => {
    expect(await similarTo(key, "one", { [other]: "two" })).toEqual([]);
  });

  it("include keys with nearly the same value", async () => {
    const others = {
      editor: "The user edits text with Neovim on Linux",
      shell: "The user works in the fish shell",
    };
    expect(await similarTo("tool", "the user edits text with neovim on linux now", others)).toEqual(["editor"]);
  });

  it("include keys with the same short value, a common word and no different number", async () => {
    const others = { "favourite editor": "Helix", pet: "helix", "editor 2": "helix", "which editor": "vim" };
    expect(await similarTo("preferred editor", "helix", others)).toEqual(["favourite editor"]);
  });

  it("never include the key itself, removed entries or hidden ones", async () => {
    const search = searchOf({ a: "a", b: "b", c: "c" });
    for (const id of ["a", "b", "c"]) search.add(id, entryOf("editor", id));
    await search.similar("a", entryOf("editor", "a"), everything);
    search.remove("b");
    expect(await search.similar("a", entryOf("editor", "a"), everything)).toEqual(["c"]);
    expect(await search.similar("a", entryOf("editor", "a"), (id) => id !== "c")).toEqual([]);
  });

  it("don't include previous keys and values of an entry", async () => {
    const search = searchOf({ editor: "the user edits text with neovim on linux" });
    const now = "the user edits text with neovim on linux now";
    expect(await search.similar("tool", entryOf("tool", now), everything)).toEqual(["editor"]);
    search.add("editor", entryOf("editor", "helix"));
    expect(await search.similar("tool", entryOf("tool", now), everything)).toEqual([]);
  });

  it("include values that share three fifths of their words, in any order and wherever they differ", async () => {
    const words = fc.uniqueArray(
      fc.constantFrom(..."abcdefghijklmnopqrstuvw".split("").map((letter) => letter.repeat(3))),
      {
        minLength: 5,
        maxLength: 15,
      },
    );
    await fc.assert(
      fc.asyncProperty(words, fc.array(words, { maxLength: 10 }), fc.nat(100), async (shared, others, seed) => {
        // Of n words, a quarter are replaced: 3/4 n of 5/4 n in all are shared.
        const other = shared.map((word, index) => (index < Math.floor(shared.length / 4) ? `${word}z` : word));
        const rotated = [...other.slice(seed % other.length), ...other.slice(0, seed % other.length)];
        const unlike = Object.fromEntries(others.map((each, index) => [`${index} qqqq ${index}`, each.join(" ")]));
        const found = await similarTo("new", shared.join(" "), { ...unlike, yyyyyyyyyy: rotated.join(" ") });
        const nearer = found.length === 5;
        expect(nearer || found.includes("yyyyyyyyyy")).toBe(true);
      }),
    );
  });

  it("include keys of four letters and more with one typo, wherever it is and whatever else there is", async () => {
    const letters = fc
      .string({ unit: fc.constantFrom("a", "b", "c", "d", "é", " "), minLength: 4, maxLength: 20 })
      .filter((text) => text.trim() === text && !text.includes("  "));
    await fc.assert(
      fc.asyncProperty(
        letters,
        fc.array(letters, { maxLength: 20 }),
        fc.tuple(fc.nat(30), fc.nat(2)),
        async (key, others, [at, how]) => {
          const asked = edited(key, at, how);
          fc.pre(asked !== key && asked.length >= 4 && asked.trim() === asked && !asked.includes("  "));
          const unlike = Object.fromEntries(others.map((each, index) => [each, `value${index}`]));
          const found = await similarTo(asked, "one", { ...unlike, [key]: "two" });
          // Of more than five, only the nearest are told.
          expect(found.length === 5 || found.includes(key)).toBe(true);
        },
      ),
    );
  });

  it("include keys within two typos, wherever they are, nearest first", async () => {
    const letters = fc.string({ unit: fc.constantFrom("a", "b", "c", "d", "é", " "), minLength: 8, maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(
        letters.filter((text) => text.trim() === text && !text.includes("  ")),
        fc.tuple(fc.nat(30), fc.nat(2)),
        fc.tuple(fc.nat(30), fc.nat(2)),
        async (key, [at, how], [thenAt, thenHow]) => {
          const asked = edited(edited(key, at, how), thenAt, thenHow);
          fc.pre(asked !== key && asked.trim() === asked && asked.length >= 8 && !asked.includes("  "));
          expect(await similarTo(asked, "one", { [key]: "two" })).toEqual([key]);
        },
      ),
    );
    const keys = { "editor of texxx": "1", "editor of texts": "2", "editor of tabs": "3", "editor of tex": "4" };
    expect((await similarTo("editor of text", "0", keys)).slice(0, 2).toSorted()).toEqual([
      "editor of tex",
      "editor of texts",
    ]);
    expect(await similarTo("editor of text", "0", { "editor of texxx": "1" })).toEqual(["editor of texxx"]);
    expect(await similarTo("editor", "0", { edit: "1" })).toEqual([]);
  });

  it("are few among thousands of copies", async () => {
    const copies = Object.fromEntries(
      Array.from({ length: 2_000 }, (_unused, index) => [`note ${index}`, "the same few words again"]),
    );
    expect((await similarTo("new", "the same few words again", copies)).length).toBe(5);
  });
});
