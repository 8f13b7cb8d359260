import { beforeEach, describe, expect, it } from "vitest";
import { InvalidRequest, UnknownMemory } from "../../../src/orchestrator/api/errors.ts";
import { callerIn, openMemories, startMs, type TestMemories } from "./open-memories.ts";

let test: TestMemories;
beforeEach(() => {
  test = openMemories();
});
const caller = callerIn();
const entryOf = async (key: string, asking = caller) => (await test.memories.recall(asking, { key })).entries[0];

describe("remember", () => {
  it("stores a global fact and reports that it is new", async () => {
    const { entry, isNew } = await test.memories.remember(caller, { key: " editor ", value: "helix" });
    expect(isNew).toBe(true);
    expect(entry).toEqual({
      key: "editor",
      value: "helix",
      category: "fact",
      scope: "global",
      tags: [],
      isPinned: false,
      source: "llm",
      createdAt: "2026-11-21T00:00:00.000Z",
      updatedAt: "2026-11-21T00:00:00.000Z",
      accessCount: 0,
    });
    expect(test.changes).toEqual([{ kind: "memories changed", isListChanged: true }]);
  });

  it("updates a key, and keeps its previous value and omitted fields", async () => {
    const first = { key: "editor", value: "vim", category: "preference", tags: ["tools"], isPinned: true } as const;
    await test.memories.remember(caller, first);
    test.clock.nowMs += 1_000;
    const { entry, isNew } = await test.memories.remember(caller, { key: "editor", value: "helix" });
    expect(isNew).toBe(false);
    expect(entry).toMatchObject({
      value: "helix",
      category: "preference",
      tags: ["tools"],
      isPinned: true,
      createdAt: "2026-11-21T00:00:00.000Z",
      updatedAt: "2026-11-21T00:00:01.000Z",
      previous: { value: "vim", updatedAt: "2026-11-21T00:00:00.000Z" },
    });
    expect(test.changes.at(-1)).toEqual({ kind: "memories changed", isListChanged: false });
  });

  it("keeps the previous value when the same value is saved again", async () => {
    for (const value of ["vim", "helix", "helix"]) await test.memories.remember(caller, { key: "editor", value });
    expect((await entryOf("editor"))?.previous?.value).toBe("vim");
  });

  it("keeps each previous value when two calls write one key concurrently", async () => {
    await Promise.all(["a", "b"].map((value) => test.memories.remember(caller, { key: "k", value })));
    expect(await entryOf("k")).toMatchObject({ value: "b", previous: { value: "a" } });
  });

  it.each(["ollm", "ollm-dashboard"])("distinguishes the user's own %s from an assistant", async (client) => {
    await test.memories.remember(callerIn(undefined, client), { key: "k", value: "v" });
    expect((await entryOf("k"))?.source).toBe("user");
  });

  it("deletes an entry when its time to live ends", async () => {
    await test.memories.remember(caller, { key: "a", value: "v", ttlSeconds: 60 });
    await test.memories.remember(caller, { key: "b", value: "v" });
    test.clock.nowMs = startMs + 60_000;
    const { entries } = await test.memories.recall(caller, {});
    expect(entries.map(({ key }) => key)).toEqual(["b"]);
    await expect(entryOf("a")).rejects.toThrow(UnknownMemory);
    expect((await test.memories.remember(caller, { key: "a", value: "again" })).isNew).toBe(true);
    expect(await entryOf("a")).not.toHaveProperty("previous");
  });

  it("renews, changes or removes the time to live of a key that is saved again", async () => {
    const endOf = async (value: string, more: object = {}) =>
      (await test.memories.remember(caller, { key: "k", value, ...more })).entry.expiresAt;
    expect(await endOf("a", { ttlSeconds: 60 })).toBe("2026-11-21T00:01:00.000Z");
    test.clock.nowMs = startMs + 50_000;
    expect(await endOf("b")).toBe("2026-11-21T00:01:50.000Z");
    test.clock.nowMs = startMs + 100_000;
    expect((await entryOf("k"))?.value).toBe("b");
    expect(await endOf("c", { ttlSeconds: 3_600 })).toBe("2026-11-21T01:01:40.000Z");
    expect(await endOf("d", { ttlSeconds: 0 })).toBeUndefined();
    expect(await endOf("e")).toBeUndefined();
  });

  it.each(["__proto__", "constructor", "toString", "🦊", "a/b?c#d%00", "…"])(
    "treats %j as an ordinary key",
    async (key) => {
      await test.memories.remember(caller, { key, value: "v" });
      expect((await entryOf(key))?.key).toBe(key);
      expect(await test.memories.forget(caller, { key })).toEqual([key]);
      expect((await test.memories.recall(caller, {})).total).toBe(0);
    },
  );

  it("treats é as one key however it was typed, and reports Cyrillic е as similar to e", async () => {
    await test.memories.remember(caller, { key: "cafe\u0301", value: "v" });
    expect((await test.memories.remember(caller, { key: "caf\u00e9", value: "w" })).isNew).toBe(false);
    await test.memories.remember(caller, { key: "editor", value: "helix" });
    const lookAlike = await test.memories.remember(caller, { key: "\u0435ditor", value: "vim" });
    expect(lookAlike).toMatchObject({ isNew: true, similarKeys: ["editor"] });
    expect((await entryOf("editor"))?.value).toBe("helix");
  });

  it.each([
    ["an empty key", { key: "", value: "v" }, "the key is empty"],
    ["a blank key", { key: " \t", value: "v" }, "the key is empty"],
    ["a key of 1 MiB", { key: "k".repeat(1024 ** 2), value: "v" }, "the key has 1048576 characters; at most 200"],
    ["a key of 201 characters", { key: "k".repeat(201), value: "v" }, "the key has 201 characters"],
    ["a line break in a key", { key: "a\nb", value: "v" }, "the key contains a line break"],
    ["a line separator in a key", { key: "a\u2028b", value: "v" }, "the key contains a line break"],
    ["a NUL in a key", { key: "a\0b", value: "v" }, "the key contains a line break or another control character"],
    ["an empty value", { key: "k", value: "" }, "the value is empty"],
    ["a blank value", { key: "k", value: " \n " }, "the value is empty"],
    ["a huge value", { key: "k", value: "é".repeat(32_769) }, "the value has 65.5 kB; at most 64 KiB"],
    ["too many tags", { key: "k", value: "v", tags: Array.from({ length: 21 }, (_, i) => `t${i}`) }, "21 tags"],
    ["a tag with a comma", { key: "k", value: "v", tags: ["a,b"] }, "a tag is too long, or contains a comma"],
    ["a negative time to live", { key: "k", value: "v", ttlSeconds: -1 }, "ttl must be between 1 and"],
    ["an endless time to live", { key: "k", value: "v", ttlSeconds: 1e12 }, "ttl must be between 1 and"],
    [
      "project scope without a project",
      { key: "k", value: "v", scope: "project" as const },
      "this connection has none",
    ],
  ])("rejects %s and stores nothing", async (_name, request, message) => {
    await expect(test.memories.remember(caller, request)).rejects.toThrow(InvalidRequest);
    await expect(test.memories.remember(caller, request)).rejects.toThrow(message);
    expect((await test.memories.recall(caller, {})).total).toBe(0);
  });

  it("accepts the longest allowed value and key", async () => {
    const key = "k".repeat(200);
    await test.memories.remember(caller, { key, value: "v".repeat(65_536) });
    expect((await entryOf(key))?.value).toHaveLength(65_536);
  });

  it("rejects what looks like a secret, without repeating it, unless forced", async () => {
    const request = { key: "openai", value: `use sk-${"a1B2".repeat(10)}` };
    const refused: unknown = await test.memories.remember(caller, request).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(InvalidRequest);
    expect(String(refused)).toContain("looks like an API key (sk-…)");
    expect(String(refused)).not.toContain("a1B2");
    expect((await test.memories.remember(caller, { ...request, isForced: true })).isNew).toBe(true);
  });
});

describe("scopes", () => {
  const inA = callerIn("/work/a");
  const inB = callerIn("/work/b");

  it("shows a project's entries only to callers in that project", async () => {
    await test.memories.remember(inA, { key: "db", value: "postgres", scope: "project" });
    expect((await test.memories.recall(inA, {})).total).toBe(1);
    expect((await test.memories.recall(inB, {})).total).toBe(0);
    expect((await test.memories.recall(caller, {})).total).toBe(0);
    await expect(entryOf("db", inB)).rejects.toThrow(UnknownMemory);
    await expect(test.memories.forget(inB, { key: "db" })).rejects.toThrow(UnknownMemory);
  });

  it("separates a project's key from the same global key, which it hides", async () => {
    await test.memories.remember(inA, { key: "db", value: "sqlite" });
    await test.memories.remember(inA, { key: "db", value: "postgres", scope: "project" });
    expect((await entryOf("db", inA))?.value).toBe("postgres");
    expect((await entryOf("db", inB))?.value).toBe("sqlite");
    expect((await test.memories.recall(inA, { key: "db", scope: "global" })).entries[0]?.value).toBe("sqlite");
    expect((await test.memories.recall(inA, {})).total).toBe(2);
    expect(await test.memories.forget(inA, { key: "db" })).toEqual(["db"]);
    expect((await entryOf("db", inA))?.value).toBe("sqlite");
  });

  it("keeps a key's scope when none is given", async () => {
    await test.memories.remember(inA, { key: "db", value: "postgres", scope: "project" });
    const { entry } = await test.memories.remember(inA, { key: "db", value: "mariadb" });
    expect(entry).toMatchObject({ scope: "project", project: "/work/a" });
    expect((await test.memories.remember(inB, { key: "db", value: "none" })).entry.scope).toBe("global");
  });
});

describe("recall", () => {
  it("lists pinned entries first, then the newest, filtered and limited", async () => {
    for (const [index, key] of ["old", "pinned", "new"].entries()) {
      test.clock.nowMs = startMs + index;
      await test.memories.remember(caller, { key, value: "v", isPinned: key === "pinned" });
    }
    const keys = async (more: object) => (await test.memories.recall(caller, more)).entries.map(({ key }) => key);
    expect(await keys({})).toEqual(["pinned", "new", "old"]);
    expect(await keys({ limit: 2 })).toEqual(["pinned", "new"]);
    expect(await test.memories.recall(caller, { limit: 1 })).toMatchObject({ total: 3, method: "list" });
    expect(await keys({ category: "preference" })).toEqual([]);
  });

  it("names the nearest keys when there is none", async () => {
    await test.memories.remember(caller, { key: "preferred editor", value: "helix" });
    await expect(test.memories.recall(caller, { key: "prefered editor" })).rejects.toMatchObject({
      message: 'nothing is remembered under "prefered editor"',
      next: [{ step: "didYouMean", names: ['"preferred editor"'] }],
    });
  });

  it("counts what was recalled, not what was listed, and writes the counts with the next change", async () => {
    await test.memories.remember(caller, { key: "a", value: "v" });
    await entryOf("a");
    await entryOf("a");
    await test.memories.recall(caller, {});
    expect((await test.memories.recall(caller, {})).entries[0]?.accessCount).toBe(2);
    await test.memories.remember(caller, { key: "b", value: "v" });
    expect((await entryOf("a"))?.accessCount).toBe(2);
  });

  it.each([0, -1, 1.5, Number.NaN])("refuses limit %d", async (limit) => {
    await expect(test.memories.recall(caller, { limit })).rejects.toThrow(/limit must be a whole number of at least 1/);
  });
});

describe("forget", () => {
  beforeEach(async () => {
    await test.memories.remember(caller, { key: "a", value: "v", category: "preference" });
    await test.memories.remember(caller, { key: "b", value: "v" });
  });

  it("reports what it would delete, and deletes that", async () => {
    expect(await test.memories.matching(caller, { category: "preference" })).toEqual(["a"]);
    expect(await test.memories.forget(caller, { category: "preference" })).toEqual(["a"]);
    expect((await test.memories.recall(caller, {})).entries.map(({ key }) => key)).toEqual(["b"]);
    expect(await test.memories.forget(caller, { isAll: true })).toEqual(["b"]);
    expect(await test.memories.forget(caller, { isAll: true })).toEqual([]);
  });

  it("rejects a request that names no entries", async () => {
    await expect(test.memories.forget(caller, {})).rejects.toThrow("no key, category or scope was given");
    await expect(test.memories.matching(caller, {})).rejects.toThrow(InvalidRequest);
    await expect(test.memories.forget(caller, { key: "c" })).rejects.toThrow(UnknownMemory);
    expect((await test.memories.recall(caller, {})).total).toBe(2);
  });
});
