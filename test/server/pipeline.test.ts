import { mkdtemp, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, describe, expect, it, vi } from "vitest";
import { InvalidConfig, ModelDoesNotFit } from "../../src/orchestrator/api/errors.ts";
import type { GenerateResult } from "../../src/orchestrator/api/facade.ts";
import { eventually } from "../support/eventually.ts";
import { createFakeOrchestrator, drivenOperation, generated } from "../support/fake-orchestrator.ts";
import { connectMemoryClient, type Era, type MemoryClient } from "../support/memory-client.ts";

const eras: readonly Era[] = ["legacy", "modern"];

describe.each(eras)("a call in the %s era", (era) => {
  let connection: MemoryClient;
  afterEach(async () => connection?.close());

  /** A generation under way that the test drives, and the call that waits for it. */
  async function startGeneration(options: { readonly signal?: AbortSignal; readonly progress?: string[] } = {}) {
    const operation = drivenOperation<GenerateResult>();
    const orchestrator = createFakeOrchestrator({ generate: async () => operation });
    connection = await connectMemoryClient(orchestrator, { era });
    const { progress } = options;
    const call = connection.client.callTool(
      { name: "route_and_generate", arguments: { prompt: "Hi" } },
      {
        ...(options.signal && { signal: options.signal }),
        ...(progress && { onprogress: ({ message }) => progress.push(message ?? "") }),
      },
    );
    call.catch(() => undefined);
    return { operation, call, orchestrator };
  }

  it("passes the caller to the orchestrator", async () => {
    const orchestrator = createFakeOrchestrator();
    connection = await connectMemoryClient(orchestrator, { era });
    await connection.call("system_status");
    expect(orchestrator.callers[0]).toMatchObject({ id: "caller-1", client: "test-client", clientVersion: "1.0.0" });
    expect(orchestrator.callers[0]?.settings.privacy).toBe("local_only");
  });

  it("relays progress to a client that asks for it", async () => {
    const progress: string[] = [];
    const { operation, call } = await startGeneration({ progress });
    operation.report({ message: "loading smollm2:135m" });
    await eventually(() => expect(progress).toEqual(["loading smollm2:135m"]));
    operation.succeed(generated);
    await call;
  });

  it("sends no progress to a client that does not", async () => {
    const { operation, call } = await startGeneration();
    operation.report({ message: "loading" });
    operation.succeed(generated);
    await call;
    expect(connection.received).toHaveLength(1);
  });

  it("ends as cancelled when the client cancels", async () => {
    const abort = new AbortController();
    const { operation, call } = await startGeneration({ signal: abort.signal });
    await eventually(() => expect(operation.followers()).toBe(1));
    abort.abort();
    await expect(call).rejects.toThrow();
    await eventually(() => expect(operation.ends).toEqual(["cancelled"]));
  });

  it("ends as disconnected when the client disconnects", async () => {
    const { operation } = await startGeneration();
    await eventually(() => expect(operation.followers()).toBe(1));
    await connection.close();
    await eventually(() => expect(operation.ends).toEqual(["disconnected"]));
  });

  it("shows message and next steps of our own errors, and logs nothing", async () => {
    const { operation, call } = await startGeneration();
    operation.fail(
      new ModelDoesNotFit("qwen3:32b needs 24 GB, 9.2 GB are free", { next: { step: "useModel", model: "qwen3:4b" } }),
    );
    expect(await call).toMatchObject({
      isError: true,
      content: [
        {
          type: "text",
          text: 'qwen3:32b needs 24 GB, 9.2 GB are free\nUse model "qwen3:4b", or do the task yourself.',
        },
      ],
    });
    expect(connection.logged).toEqual([]);
  });

  it("shows a defect as an internal error, with its stack only in the log", async () => {
    const { operation, call } = await startGeneration();
    operation.fail(new TypeError("x is not a function"));
    const result = await call;
    expect(result.isError).toBe(true);
    expect(JSON.stringify(result.content)).not.toContain("x is not a function");
    expect(JSON.stringify(result.content)).toContain("internal error in route_and_generate");
    expect(connection.logged.join("\n")).toMatch(/TypeError: x is not a function\n\s+at /);
  });

  it("answers wrong arguments with text that the model can act on, before it opens the orchestrator", async () => {
    const open = vi.fn(async (): Promise<never> => {
      throw new Error("must not be opened");
    });
    connection = await connectMemoryClient(createFakeOrchestrator(), { era, open });
    const result = await connection.call("smart_load", { modell: "m" });
    expect(result).toMatchObject({
      isError: true,
      content: [
        {
          text: '"model" is required (string); unknown field "modell", did you mean "model"?\nCorrect the arguments and call again.',
        },
      ],
    });
    expect(open).not.toHaveBeenCalled();
  });

  it("shows a wrong setting to the call that needs the orchestrator, and lists tools all the same", async () => {
    const open = async (): Promise<never> => {
      throw new InvalidConfig("config.yaml:3: privacy is 1", { next: { step: "editSettings" } });
    };
    connection = await connectMemoryClient(createFakeOrchestrator(), { era, open });
    const result = await connection.call("system_status");
    expect(result.content).toEqual([
      { type: "text", text: "config.yaml:3: privacy is 1\nCorrect config.yaml (`ollm config edit` opens it)." },
    ]);
    expect((await connection.client.listTools()).tools.length).toBeGreaterThan(0);
  });

  it("names the nearest tool when there is none of that name", async () => {
    connection = await connectMemoryClient(createFakeOrchestrator(), { era });
    await expect(connection.call("list_model")).rejects.toThrow(
      'Unknown tool "list_model", did you mean "list_models"?',
    );
  });

  it("lists for an unknown tool only those that are on for this caller", async () => {
    connection = await connectMemoryClient(createFakeOrchestrator(), { era, toolSets: ["recall", "compare"] });
    await expect(connection.call("zzz")).rejects.toThrow('Unknown tool "zzz", tools: recall, compare');
    await expect(connection.call("list_model")).rejects.toThrow("tools: recall, compare");
  });

  it.each(["copilot-cli", "@cline/core", "qwen-cli-mcp-client-ollm", "claude-code"])(
    "answers %s, which gives its model text and structured form, once",
    async (clientName) => {
      connection = await connectMemoryClient(createFakeOrchestrator(), { era, clientName });
      const { content, structuredContent } = await connection.call("route_and_generate", { prompt: "Hi" });
      expect(structuredContent).toMatchObject({ text: expect.stringMatching(/./) });
      expect(content).toHaveLength(clientName === "claude-code" ? 2 : 0);
      const failed = await connection.call("route_and_generate", {});
      expect(failed).toMatchObject({ isError: true, content: [{ text: expect.stringContaining("prompt") }] });
    },
  );

  it("lists all tools for an unknown tool of the shell", async () => {
    const orchestrator = createFakeOrchestrator();
    connection = await connectMemoryClient(orchestrator, { era, toolSets: ["recall"], clientName: "ollm" });
    await expect(connection.call("update_confg")).rejects.toThrow('did you mean "update_config"?');
  });
});

describe("files of a call", () => {
  it("may lie in the roots that a client offers", async () => {
    const folder = await realpath(await mkdtemp(path.join(tmpdir(), "ollm-client-root-")));
    await writeFile(path.join(folder, "a.txt"), "from the client's root");
    const orchestrator = createFakeOrchestrator();
    const connection = await connectMemoryClient(orchestrator, { roots: [pathToFileURL(folder).href] });
    await connection.call("route_and_generate", { prompt: "Hi", files: ["a.txt"] });
    expect(orchestrator.asked[0]?.[1]).toMatchObject({ files: [{ path: "a.txt", text: "from the client's root" }] });
    await connection.close();
    await rm(folder, { recursive: true });
  });
});
