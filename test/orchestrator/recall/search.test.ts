import { describe, expect, it } from "vitest";
import { PromptTooLong } from "../../../src/orchestrator/api/errors.ts";
import type { Embed } from "../../../src/orchestrator/recall/vector-cache.ts";
import { Meaning } from "../../../src/orchestrator/recall/meaning.ts";
import { createMemorySearch } from "../../../src/orchestrator/recall/search.ts";
import { fuseRankings } from "../../../src/orchestrator/recall/text-index.ts";
import { createMemoryDocumentFiles } from "../../support/memory-document-files.ts";
import { entryOf } from "./entries.ts";

const log = { debug: () => undefined, info: () => undefined, warn: () => undefined };
const signal = new AbortController().signal;
const all = { accepts: () => true, limit: 10, signal };

/** Vectors that distinguish animals, storage and everything else. */
const subjects = [/dog|pet|rex|animal/i, /postgres|database|storage/i];

function vectorOf(text: string): readonly number[] {
  const noise = Array.from(text).reduce((sum, letter) => (sum * 31 + (letter.codePointAt(0) ?? 0)) % 1000, 7) / 10_000;
  return [...subjects.map((subject) => (subject.test(text) ? 1 : 0)), 0.5 + noise, noise];
}

/** An embedding model that records its inputs. */
function fakeModel(model = "minilm") {
  const asked: string[][] = [];
  const embed: Embed = async (texts) => {
    asked.push([...texts]);
    return { model, vectors: texts.map(vectorOf) };
  };
  return { asked, embed };
}

function fakeFiles(texts = new Map<string, string>()) {
  return { files: createMemoryDocumentFiles(texts), texts };
}

function filled(parts: Partial<Parameters<typeof createMemorySearch>[0]>) {
  const search = createMemorySearch({ log, embed: async () => undefined, ...parts });
  search.add("dog", entryOf("dog", "called Rex"));
  search.add("db", entryOf("project-database", "Postgres 16"));
  search.add("lunch", entryOf("lunch", "noodles"));
  return search;
}

describe("a search", () => {
  it("uses only text without an embedding model, and reports it", async () => {
    const search = filled({});
    expect(await search.search("postgress", all)).toEqual({ ids: ["db"], total: 1, method: "text" });
    expect((await search.search("animal", all)).ids).toEqual([]);
  });

  it("finds entries by meaning that share no words, and reports it", async () => {
    const search = filled({ embed: fakeModel().embed });
    expect(await search.search("which animal", all)).toEqual({ ids: ["dog"], total: 1, method: "hybrid" });
    await search.close();
  });

  it("shows only visible entries, by meaning too, and counts them before the limit", async () => {
    const search = filled({ embed: fakeModel().embed });
    search.add("cat", entryOf("cat", "also an animal"));
    expect((await search.search("animal", { ...all, accepts: (id) => id !== "dog" })).ids).toEqual(["cat"]);
    expect(await search.search("animal", { ...all, limit: 1 })).toMatchObject({ total: 2, ids: [expect.any(String)] });
    await search.close();
  });

  it("continues without a model that fails", async () => {
    const search = filled({ embed: () => Promise.reject(new Error("engine down")) });
    expect(await search.search("rex", all)).toEqual({ ids: ["dog"], total: 1, method: "text" });
    await search.close();
  });

  it("halves a text that is too long for the model", async () => {
    const { embed } = fakeModel();
    const search = filled({
      embed: async (texts, ...rest) => {
        if (texts.some((text) => text.length > 60)) {
          throw new PromptTooLong("too long", { promptTokens: 300, contextTokens: 256 });
        }
        return embed(texts, ...rest);
      },
    });
    search.add("long", entryOf("cat", `an animal ${"and so on ".repeat(100)}`));
    expect((await search.search("pet", all)).method).toBe("hybrid");
    await search.close();
  });

  it("ends when its call is cancelled", async () => {
    const search = filled({ embed: () => new Promise(() => undefined) });
    const call = new AbortController();
    const asked = search.search("rex", { ...all, signal: call.signal });
    call.abort("cancelled");
    await expect(asked).rejects.toThrow(/cancelled/);
  });
});

describe("vectors", () => {
  it("are made once, stored on disk, and made again only for changed entries", async () => {
    const { files, texts } = fakeFiles();
    const first = filled({ embed: fakeModel().embed, files });
    await first.search("pet", all);
    await first.close();
    expect([...texts.keys()]).toEqual(["memory-vectors.jsonl"]);

    const { asked, embed } = fakeModel();
    const second = filled({ embed, files });
    second.add("lunch", entryOf("lunch", "soup"));
    await second.search("pet", all);
    await second.close();
    expect(asked).toEqual([["pet"], ["lunch: soup"]]);
  });

  it("are made again when the model changes", async () => {
    const { files, texts } = fakeFiles();
    const first = filled({ embed: fakeModel("one").embed, files });
    await first.search("pet", all);
    await first.close();
    const { asked, embed } = fakeModel("two");
    const second = filled({ embed, files });
    expect(await second.search("animal", all)).toMatchObject({ ids: ["dog"], method: "hybrid" });
    await second.close();
    expect(asked.flat()).toEqual(expect.arrayContaining(["dog: called Rex", "lunch: noodles"]));
    expect(texts.get("memory-vectors.jsonl")).toMatch(/^\{"version":1,"model":"two"\}\n/);
  });

  it.each([
    ["garbage", "\u0000garbage"],
    ["of a future version", `{"version":2,"model":"minilm"}\n`],
    ["truncated", `{"version":1,"model":"minilm"}\n{"hash":"abc","vec`],
    ["of another form", `{"version":1,"model":"minilm"}\n[]\n{"hash":1}\n{"hash":"x","vector":""}\n`],
  ])("are discarded when the cache is %s", async (_what, text) => {
    const { files } = fakeFiles(new Map([["memory-vectors.jsonl", text]]));
    const search = filled({ embed: fakeModel().embed, files });
    expect(await search.search("animal", all)).toMatchObject({ ids: ["dog"], method: "hybrid" });
    await search.close();
    const again = filled({ embed: fakeModel().embed, files });
    expect(await again.search("animal", all)).toMatchObject({ ids: ["dog"], method: "hybrid" });
    await again.close();
  });

  it("that can't be written are used nevertheless", async () => {
    const { files } = fakeFiles();
    const full = () => Promise.reject(new Error("ENOSPC"));
    const search = filled({ embed: fakeModel().embed, files: { ...files, append: full, replace: full } });
    expect(await search.search("animal", all)).toMatchObject({ ids: ["dog"], method: "hybrid" });
    await search.close();
  });
});

describe("searching by meaning", () => {
  it("times out, and doesn't wait again while the model is late", async () => {
    let answer: (() => void) | undefined;
    const { embed } = fakeModel();
    const meaning = new Meaning({
      log,
      embed: async (texts, ...rest) => {
        if (texts[0] === "slow") await new Promise<void>((resolve) => (answer = resolve));
        return embed(texts, ...rest);
      },
    });
    meaning.put("dog", entryOf("dog", "Rex"));
    expect(await meaning.ask("slow", { signal, waitMs: 1 })).toBeUndefined();
    expect(await meaning.ask("pet", { signal, waitMs: 60_000 })).toBeUndefined();
    answer?.();
    await expect.poll(() => meaning.ask("pet", { signal, waitMs: 60_000 })).toBeDefined();
    await meaning.close();
  });
});

describe("relevant entries", () => {
  it.each([
    ["the key of an entry", "How do I migrate the database?", ["db"]],
    ["a distinctive word of a value", "create an index in postgres", ["db"]],
    ["a plural", "Write about dogs", ["dog"]],
    ["nothing", "Write a poem about a river in the morning", []],
    ["common words only", "what is it and how can I use it", []],
    ["a misspelt word", "the postgrss thing", []],
  ])("with %s", async (_what, prompt, ids) => {
    expect(await filled({}).relevant(prompt, all)).toEqual(ids);
  });

  it.each(["before", "after"])("are searched by a question %s a long text", async (where) => {
    const text = Array.from({ length: 5_000 }, (_unused, index) => `wx${index}y`).join(" ");
    const question = "How do I migrate the database?";
    const asked: string[] = [];
    const search = filled({
      embed: async (texts) => {
        asked.push(...texts);
        return undefined;
      },
    });
    const prompt = where === "before" ? `${question}\n${text}` : `${text}\n${question}`;
    expect(await search.relevant(prompt, all)).toEqual(["db"]);
    expect(asked).toEqual([expect.stringContaining(question)]);
    await search.close();
  });

  it("need more than one matching word of a value in a long prompt", async () => {
    const text = Array.from({ length: 100 }, (_unused, index) => `w${String.fromCharCode(97 + (index % 26))}x${index}`);
    expect(await filled({}).relevant(`${text.join(" ")} noodles`, all)).toEqual([]);
  });

  it("are compared by meaning only with a loaded model", async () => {
    const given: unknown[] = [];
    const search = filled({
      embed: async (_texts, _signal, options) => {
        given.push(options);
        return undefined;
      },
    });
    await search.relevant("pets", all);
    expect(given).toEqual([{ kind: "query", isLoadedOnly: true }]);
    await search.close();
  });
});

describe("reciprocal-rank fusion", () => {
  it("ranks entries that are high in both rankings above the first of one", () => {
    expect(
      fuseRankings([
        ["a", "b"],
        ["c", "b"],
      ]),
    ).toEqual(["b", "a", "c"]);
    expect(fuseRankings([[], ["x"]])).toEqual(["x"]);
  });
});
