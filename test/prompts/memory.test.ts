import { afterEach, describe, expect, it } from "vitest";
import { createFakeMemories, createFakeOrchestrator } from "../support/fake-orchestrator.ts";
import {
  connectMemoryClient,
  type Era,
  type MemoryClient,
  type MemoryClientOptions,
} from "../support/memory-client.ts";

const eras: readonly Era[] = ["legacy", "modern"];

describe("the prompt memory", () => {
  let connection: MemoryClient | undefined;
  afterEach(async () => connection?.close());

  async function connect(options: MemoryClientOptions = {}) {
    connection = await connectMemoryClient(createFakeOrchestrator({ memories: createFakeMemories() }), options);
    const { client, call } = connection;
    const prompt = async (given: Record<string, string>) => {
      const { messages } = await client.getPrompt({ name: "memory", arguments: given });
      return messages.map(({ content }) => ("text" in content ? content.text : "")).join("\n");
    };
    const keys = async () => {
      const { structuredContent } = await call("recall", {});
      return (structuredContent as { entries: { key: string }[] }).entries.map(({ key }) => key);
    };
    return { ...connection, prompt, keys };
  }

  it.each(eras)("adds, lists and forgets at once (%s)", async (era) => {
    const { prompt, keys } = await connect({ era });
    expect(await prompt({})).toMatch(/Nothing is remembered yet/);
    expect(await prompt({ action: "add", key: "tone", value: "short" })).toMatch(/"key":"tone","value":"short"/);
    expect(await keys()).toEqual(["tone"]);
    expect(await prompt({ action: "add", key: "tone", value: "long" })).toMatch(/in place of "short"/);
    expect(await prompt({ action: "list" })).toContain(`{"key":"tone","value":"long","category":"fact"}`);
    expect(await prompt({ action: "list", key: "tone" })).toContain(`"key":"tone"`);
    expect(await prompt({ action: "forget", key: "tone" })).toMatch(/removed "tone"/);
    expect(await keys()).toEqual([]);
  });

  it("lists the beginning of long values", async () => {
    const { prompt } = await connect();
    await prompt({ action: "add", key: "novel", value: "x".repeat(5_000) });
    expect((await prompt({})).length).toBeLessThan(1_000);
  });

  it("asks before it clears, and clears nothing when the answer is no", async () => {
    const answers = [
      { action: "decline" as const },
      { action: "accept" as const, content: { confirm: false } },
      { action: "accept" as const, content: { confirm: true } },
    ];
    const { prompt, keys, questions, call } = await connect({ elicit: () => answers.shift() ?? { action: "cancel" } });
    for (const key of ["a", "b"]) await call("remember", { key, value: "1" });
    for (let no = 0; no < 2; no += 1) {
      await expect(prompt({ action: "clear" })).rejects.toThrow(/declined/);
      expect(await keys()).toHaveLength(2);
    }
    expect(await prompt({ action: "clear" })).toMatch(/deleted all memories \(2 entries\)/);
    expect(await keys()).toEqual([]);
    expect(questions).toEqual(Array(3).fill("Forget everything (2 entries)?"));
  });

  it("tells the assistant to ask and call forget if the client can't ask, whatever arguments it sends", async () => {
    const { prompt, keys, call } = await connect();
    await call("remember", { key: "a", value: "1" });
    expect(await prompt({ action: "clear", confirm: "true" })).toMatch(/call the tool forget with all true/);
    expect(await keys()).toEqual(["a"]);
  });

  it("asks for missing arguments, or tells the assistant to ask", async () => {
    const { prompt, keys, close } = await connect({
      elicit: () => ({ action: "accept", content: { key: "k", value: "v" } }),
    });
    await prompt({ action: "add" });
    expect(await keys()).toEqual(["k"]);
    await close();
    const other = await connect();
    expect(await other.prompt({ action: "add", key: "k" })).toMatch(/call the tool remember/);
    expect(await other.prompt({ action: "forget" })).toMatch(/call the tool forget/);
  });

  it("rejects an unknown action", async () => {
    const { prompt } = await connect();
    await expect(prompt({ action: "wipe" })).rejects.toThrow(/list, add, forget, clear/);
  });

  it("completes actions and keys", async () => {
    const { client, call } = await connect();
    await call("remember", { key: "database", value: "1" });
    const complete = async (name: string, value: string) =>
      (await client.complete({ ref: { type: "ref/prompt", name: "memory" }, argument: { name, value } })).completion
        .values;
    expect(await complete("action", "f")).toEqual(["forget"]);
    expect(await complete("key", "data")).toEqual(["database"]);
  });
});
