import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { TextIndex, fold, wordsOf } from "../../../src/orchestrator/recall/text-index.ts";

const everything = () => true;

function indexOf(...entries: readonly (readonly [key: string, value: string, tags?: readonly string[]])[]) {
  const index = new TextIndex();
  for (const [key, value, tags = []] of entries) index.put({ id: key, key, value, tags });
  return { index, find: (query: string) => index.search(query, everything).map(({ id }) => id) };
}

describe("full-text search", () => {
  const { find } = indexOf(
    ["project-database", "Postgres 16 with pgvector"],
    ["preferredEditor", "Neovim"],
    ["住所", "東京都に住んでいます"],
    ["deploy", "make ship", ["release"]],
    ["café", "opens at nine"],
  );

  it.each([
    ["a word of the value", "postgres", "project-database"],
    ["a word with a typo", "postgress", "project-database"],
    ["a word with two letters swapped", "deplyo", "deploy"],
    ["a prefix of a word", "pgvec", "project-database"],
    ["a part of a key in camelCase", "editor", "preferredEditor"],
    ["a tag", "release", "deploy"],
    ["text without spaces between words", "東京", "住所"],
    ["a single letter inside such text", "京", "住所"],
    ["a word without its accent", "cafe", "café"],
    ["full-width letters", "ＮＥＯＶＩＭ", "preferredEditor"],
    ["a word in a question", "what is the database that we use?", "project-database"],
  ])("finds %s", (_what, query, key) => expect(find(query)).toEqual([key]));

  it("finds nothing in an empty index or for an empty query", () => {
    expect(find("quantum chromodynamics")).toEqual([]);
    expect(find("")).toEqual([]);
    expect(find("!?")).toEqual([]);
    expect(indexOf(["k", "\u0300"]).find("\u0301")).toEqual([]);
  });

  it("matches numbers exactly: 8081 is not 8080", () => {
    expect(indexOf(["port", "8080"]).find("8081")).toEqual([]);
  });

  it("ranks a match in the key above one in the value", () => {
    expect(indexOf(["a", "about the editor"], ["editor", "vim"]).find("editor")).toEqual(["editor", "a"]);
  });

  it("doesn't find removed entries and previous values", () => {
    const { index, find: search } = indexOf(["a", "apples"], ["b", "bananas"]);
    index.put({ id: "a", key: "a", value: "oranges", tags: [] });
    index.remove("b");
    index.remove("never there");
    expect([search("apples"), search("bananas"), search("oranges")]).toEqual([[], [], ["a"]]);
    expect(index.size).toBe(1);
  });

  it("shows only visible entries", () => {
    const { index } = indexOf(["mine", "secret plan"], ["yours", "secret plan"]);
    expect(index.search("plan", (id) => id === "mine").map(({ id }) => id)).toEqual(["mine"]);
  });

  it("finds every entry by any of its words, whatever its text", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", minLength: 1, maxLength: 40 }), (value) => {
        const [word] = wordsOf(value, "asked");
        fc.pre(word !== undefined);
        expect(indexOf(["k", value]).find(word)).toEqual(["k"]);
      }),
    );
  });
});

describe("folding", () => {
  it("keeps marks in scripts where they are letters", () => {
    expect(fold("が")).toBe("が");
    expect(fold("हिन्दी")).toBe("हिन्दी");
    expect(fold("ÀÉÎ")).toBe("aei");
  });
});
