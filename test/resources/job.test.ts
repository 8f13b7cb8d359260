import { afterEach, describe, expect, it } from "vitest";
import type { GenerateResult } from "../../src/orchestrator/api/facade.ts";
import { createFakeJobs, createFakeOrchestrator, drivenOperation } from "../support/fake-orchestrator.ts";
import { connectMemoryClient, type MemoryClient } from "../support/memory-client.ts";

describe("ollm://jobs/{id}", () => {
  let connection: MemoryClient | undefined;
  afterEach(async () => connection?.close());

  it("has the whole text so far, and is listed", async () => {
    const jobs = createFakeJobs();
    const text = "Once upon a time ".repeat(300);
    const operation = { ...drivenOperation<GenerateResult>(), partial: () => ({ text, thinking: "" }) };
    const caller = { id: "1", client: "claude-desktop", signal: new AbortController().signal } as never;
    const outcome = operation.follow(new AbortController().signal).then(() => ({}));
    jobs.adopt(caller, { tool: "route_and_generate", operation, outcome, errorText: String });
    operation.report({ message: "smollm2:135m: 9 tokens", completionTokens: 9 });
    connection = await connectMemoryClient(createFakeOrchestrator({ jobs }));

    const { resources } = await connection.client.listResources();
    expect(resources).toContainEqual(expect.objectContaining({ uri: "ollm://jobs/generate-1" }));
    const { contents } = await connection.client.readResource({ uri: "ollm://jobs/generate-1" });
    const [content] = contents;
    expect(JSON.parse(content !== undefined && "text" in content ? content.text : "")).toEqual({
      id: "generate-1",
      state: "running",
      title: "generate with smollm2:135m",
      tool: "route_and_generate",
      client: "claude-desktop",
      started_at: "1970-01-01T00:00:00.000Z",
      progress: { message: "smollm2:135m: 9 tokens", completion_tokens: 9 },
      partial_text: text,
    });
  });

  it("has the answers so far of a comparison, by model", async () => {
    const jobs = createFakeJobs();
    const answers = [{ model: "smollm2:135m", text: "Hel" }];
    const operation = { ...drivenOperation<GenerateResult>(), partial: () => ({ text: "", thinking: "", answers }) };
    const caller = { id: "1", client: "claude-desktop", signal: new AbortController().signal } as never;
    const outcome = operation.follow(new AbortController().signal).then(() => ({}));
    jobs.adopt(caller, { tool: "compare", operation, outcome, errorText: String });
    connection = await connectMemoryClient(createFakeOrchestrator({ jobs }));

    const { contents } = await connection.client.readResource({ uri: "ollm://jobs/generate-1" });
    expect(JSON.parse(contents[0] !== undefined && "text" in contents[0] ? contents[0].text : "")).toMatchObject({
      partial_answers: answers,
    });
    const list = await connection.client.readResource({ uri: "ollm://jobs" });
    expect(
      JSON.parse(list.contents[0] !== undefined && "text" in list.contents[0] ? list.contents[0].text : ""),
    ).toEqual({
      jobs: [
        {
          id: "generate-1",
          state: "running",
          title: "generate with smollm2:135m",
          tool: "compare",
          client: "claude-desktop",
          started_at: "1970-01-01T00:00:00.000Z",
        },
      ],
    });
  });

  it("is an error for an unknown job", async () => {
    connection = await connectMemoryClient(createFakeOrchestrator());
    await expect(connection.client.readResource({ uri: "ollm://jobs/generate-1" })).rejects.toThrow(
      /no job generate-1/,
    );
  });
});
