import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { resources as every } from "../../src/resources/index.ts";
import { createFakeMemories, createFakeOrchestrator } from "../support/fake-orchestrator.ts";
import { type MemoryClient, connectMemoryClient } from "../support/memory-client.ts";

describe("ollm://memory", () => {
  let connection: MemoryClient;
  beforeEach(async () => {
    connection = await connectMemoryClient(createFakeOrchestrator({ memories: createFakeMemories() }));
  });
  afterEach(async () => connection.close());

  async function read(uri: string): Promise<Record<string, unknown>> {
    const [content] = (await connection.client.readResource({ uri })).contents;
    return JSON.parse(content !== undefined && "text" in content ? content.text : "") as Record<string, unknown>;
  }

  const remember = (key: string, value: string) => connection.call("remember", { key, value });

  it("has the newest entries and their total number", async () => {
    for (let index = 0; index < 205; index += 1) await remember(`note ${index}`, "text");
    const { entries, total } = await read("ollm://memory");
    expect(total).toBe(205);
    expect(entries).toHaveLength(200);
  });

  it("has fewer entries if they are long, because clients limit the size of messages", async () => {
    for (let index = 0; index < 30; index += 1) await remember(`novel ${index}`, "x".repeat(60_000));
    const { entries, total } = await read("ollm://memory");
    expect(total).toBe(30);
    expect(entries).toHaveLength(16);
  });

  it.each(["plain", "with space", "a/b?c#d", "50 %", "ключ", "__proto__"])(
    "has the entry %s under its encoded key",
    async (key) => {
      await remember(key, "before");
      await remember(key, "now");
      const entry = await read(`ollm://memory/${encodeURIComponent(key)}`);
      expect(entry).toMatchObject({
        key,
        value: "now",
        category: "fact",
        source: "llm",
        previous: { value: "before" },
      });
      const { resources } = await connection.client.listResources();
      expect(resources).toContainEqual(
        expect.objectContaining({ uri: `ollm://memory/${encodeURIComponent(key)}`, name: key }),
      );
    },
  );

  it("is an error for an unknown key", async () => {
    await expect(read("ollm://memory/nothing")).rejects.toThrow(/nothing is remembered/);
  });

  it.each(["%00", "%20", "a".repeat(201)])("rejects the invalid key %s", async (key) => {
    await expect(read(`ollm://memory/${key}`)).rejects.toMatchObject({ code: -32602 });
  });

  it("lists the newest keys in menus, and completes every key", async () => {
    for (let index = 0; index < 205; index += 1) await remember(`note ${index}`, "text");
    const uris: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await connection.client.listResources(cursor === undefined ? {} : { cursor });
      uris.push(...page.resources.map(({ uri }) => uri).filter((uri) => uri.startsWith("ollm://memory/")));
      cursor = page.nextCursor;
    } while (cursor !== undefined);
    expect(uris).toHaveLength(200);
    const ref = { type: "ref/resource" as const, uri: "ollm://memory/{key}" };
    const { completion } = await connection.client.complete({ ref, argument: { name: "key", value: "note " } });
    expect(completion.total).toBe(205);
  });

  it("is affected only by changes of memories", () => {
    for (const resource of every.filter(({ uri }) => uri.startsWith("ollm://memory"))) {
      expect(resource.isTouchedBy?.({ kind: "memories", isListChanged: false }, {})).toBe(true);
      expect(resource.isTouchedBy?.({ kind: "memory" }, {})).toBe(false);
    }
  });
});
