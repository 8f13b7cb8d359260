import { afterEach, describe, expect, it } from "vitest";
import { matching } from "../../src/server/mcp/handle-prompts.ts";
import { createFakeOrchestrator, smollm } from "../support/fake-orchestrator.ts";
import { fakeTemplates } from "../support/fake-templates.ts";
import { connectMemoryClient, type Era, type MemoryClient } from "../support/memory-client.ts";

const eras: readonly Era[] = ["legacy", "modern"];

describe("completions of a partly typed name", () => {
  const known = ["llama3.2:1b", "codellama:7b", "Qwen3:4b", "qwen2.5-coder:7b"];
  it.each([
    ["", known],
    ["qwen", ["Qwen3:4b", "qwen2.5-coder:7b"]],
    ["LLAMA", ["llama3.2:1b", "codellama:7b"]],
    ["code", ["codellama:7b", "qwen2.5-coder:7b"]],
    ["lama3.2:1b", ["llama3.2:1b"]],
    ["lamla3.2:1b", ["llama3.2:1b"]],
    ["mistral", []],
  ])("%j: %j", (typed, expected) => {
    expect(matching(typed, known)).toEqual(expected);
  });
});

describe.each(eras)("completions in the %s era", (era) => {
  let connection: MemoryClient;
  afterEach(async () => connection.close());

  const models = { type: "ref/resource", uri: "ollm://models/{name}" } as const;

  it("of a template's variable name the resources that there are", async () => {
    connection = await connectMemoryClient(createFakeOrchestrator(), { era });
    const { completion } = await connection.client.complete({ ref: models, argument: { name: "name", value: "smol" } });
    expect(completion).toEqual({ values: ["smollm2:135m"], total: 1, hasMore: false });
  });

  it("of a prompt's arguments name what is allowed, else models, profiles and keys, and nothing of others", async () => {
    const memories = { matching: async () => ["city", "editor"] } as never;
    connection = await connectMemoryClient(createFakeOrchestrator({ templates: fakeTemplates(), memories }), { era });
    const ref = { type: "ref/prompt", name: "greet" } as const;
    const values = async (name: string) =>
      (await connection.client.complete({ ref, argument: { name, value: "c" } })).completion.values;
    expect(await values("tone")).toEqual(["curt", "calm"]);
    expect((await values("profile")).slice(0, 2)).toEqual(["code", "creative"]);
    expect(await values("profile")).toContain("documentation");
    expect(await values("model")).toEqual(["qwen2.5-coder:7b"]);
    expect(await values("key")).toEqual(["city"]);
    expect(await values("who")).toEqual([]);
  });

  it("refuse a prompt that is none, and name the nearest", async () => {
    connection = await connectMemoryClient(createFakeOrchestrator({ templates: fakeTemplates() }), { era });
    const ref = { type: "ref/prompt", name: "great" } as const;
    const completing = connection.client.complete({ ref, argument: { name: "who", value: "" } });
    await expect(completing).rejects.toMatchObject({ code: -32602, message: expect.stringContaining('"greet"') });
  });

  it("are at most a hundred, and say how many there are", async () => {
    const many = Array.from({ length: 150 }, (_unused, index) => ({ ...smollm, name: `m${index}` }));
    const orchestrator = createFakeOrchestrator({
      listModels: async () => ({ models: many, total: many.length, stale: [] }),
    });
    connection = await connectMemoryClient(orchestrator, { era });
    const { completion } = await connection.client.complete({ ref: models, argument: { name: "name", value: "m" } });
    expect(completion).toMatchObject({ total: 150, hasMore: true });
    expect(completion.values).toHaveLength(100);
  });

  it.each([
    ["a template that is none", { type: "ref/resource", uri: "ollm://models" } as const, "name"],
    ["a variable that is none", models, "id"],
  ])("refuse %s", async (_what, ref, name) => {
    connection = await connectMemoryClient(createFakeOrchestrator(), { era });
    await expect(connection.client.complete({ ref, argument: { name, value: "" } })).rejects.toMatchObject({
      code: -32602,
    });
  });
});
