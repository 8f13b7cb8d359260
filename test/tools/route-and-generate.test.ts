import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { GenerateRequest, GenerateResult } from "../../src/orchestrator/api/facade.ts";
import { createFakeOrchestrator, doneOperation, generated } from "../support/fake-orchestrator.ts";
import { connectMemoryClient, type MemoryClient } from "../support/memory-client.ts";

const png = Buffer.from("89504e470d0a1a0a", "hex");

describe("route_and_generate", () => {
  let folder = "";
  let connection: MemoryClient | undefined;
  beforeEach(async () => {
    folder = await mkdtemp(path.join(tmpdir(), "ollm-test-"));
  });
  afterEach(async () => {
    await connection?.close();
    await rm(folder, { recursive: true });
  });

  it("answers with the text alone in its first block, and the figures", async () => {
    connection = await connectMemoryClient(createFakeOrchestrator());
    expect(await connection.call("route_and_generate", { prompt: "Capital of France?" })).toMatchInlineSnapshot(`
      {
        "content": [
          {
            "text": "The capital of France is Paris.",
            "type": "text",
          },
          {
            "text": "smollm2:135m, 92.3 tokens/s",
            "type": "text",
          },
        ],
        "structuredContent": {
          "model": "smollm2:135m",
          "text": "The capital of France is Paris.",
        },
      }
    `);
  });

  it.each([
    ["auto", undefined],
    ["Auto", undefined],
    ["qwen3:4b", "qwen3:4b"],
  ])("takes model %j as %j", async (model, asked) => {
    const requests: GenerateRequest[] = [];
    connection = await connectMemoryClient(
      createFakeOrchestrator({
        generate: async (_caller, request) => {
          requests.push(request);
          return doneOperation(generated);
        },
      }),
    );
    await connection.call("route_and_generate", { prompt: "Hi", model, task: "Summarize" });
    expect(requests).toMatchObject([{ task: "summarization" }]);
    expect(requests[0]?.model).toBe(asked);
  });

  it("leaves the speed out where it is unknown", async () => {
    connection = await connectMemoryClient(
      createFakeOrchestrator({ generate: async () => doneOperation({ ...generated, tokensPerSecond: 0 }) }),
    );
    const { content, structuredContent } = await connection.call("route_and_generate", { prompt: "Hi" });
    expect(structuredContent).not.toHaveProperty("tokens_per_second");
    expect(content).toContainEqual({ type: "text", text: "smollm2:135m" });
  });

  it("says how much of the prompt came from a cache, and whether from disk", async () => {
    const counts = { promptTokens: 2_263, cachedPromptTokens: 2_214 };
    const requests: GenerateRequest[] = [];
    const shown = async (more: object) => {
      connection = await connectMemoryClient(
        createFakeOrchestrator({
          generate: async (_caller, request) => {
            requests.push(request);
            return doneOperation({ ...generated, ...counts, ...more });
          },
        }),
      );
      const { content } = await connection.call("route_and_generate", {
        prompt: "Hi",
        explain: true,
        cache_prompt: false,
      });
      return JSON.stringify(content);
    };
    expect(await shown({})).toContain('; cached 2,214 of 2,263 prompt tokens"');
    expect(await shown({ restoredPromptTokens: 2_214 })).toContain("; cached 2,214 of 2,263 prompt tokens, from disk");
    expect(await shown({ cachedPromptTokens: 0 })).not.toContain("cached");
    expect(requests[0]?.cachePrompt).toBe(false);
  });

  it("adds route and timing when asked to explain", async () => {
    connection = await connectMemoryClient(createFakeOrchestrator());
    const { structuredContent } = await connection.call("route_and_generate", { prompt: "Hi", explain: true });
    const { route, timing } = structuredContent as Record<string, unknown>;
    expect({ route, timing }).toMatchInlineSnapshot(`
      {
        "route": {
          "attempts": [
            {
              "engine": "llama-cpp",
              "model": "smollm2:135m",
              "outcome": "answered",
            },
          ],
          "because": "nothing points to another task",
          "considered": [
            {
              "engine": "llama-cpp",
              "expected_seconds": 3.3,
              "model": "smollm2:135m",
              "terms": "loaded, of the profile, merit 4.1, 0.13 billion parameters; load 0 + prompt 0.1 + answer 3.3 s, measured",
            },
            {
              "engine": "ollama",
              "model": "nomic-embed-text",
              "rejected": "no completion",
            },
          ],
          "options": [
            "max_tokens 100 (models.smollm2*)",
          ],
          "profile": "general",
          "task": "general",
        },
        "timing": {
          "first_token_ms": 56,
          "load_ms": 0,
          "queue_ms": 0,
        },
      }
    `);
  });

  it("shows thinking only to those who asked for it", async () => {
    connection = await connectMemoryClient(createFakeOrchestrator());
    const silent = await connection.call("route_and_generate", { prompt: "Hi" });
    const thinking = await connection.call("route_and_generate", { prompt: "Hi", think: "low" });
    expect(silent.structuredContent).not.toHaveProperty("thinking");
    expect(thinking.structuredContent).toHaveProperty("thinking", "France. Capital. Paris.");
  });

  it("says what was cut and what was done differently", async () => {
    connection = await connectMemoryClient(
      createFakeOrchestrator({
        generate: async () =>
          doneOperation({
            ...generated,
            finishReason: "length",
            notes: ["answer limited to 8192 tokens instead of 9000"],
          }),
      }),
    );
    const result = await connection.call("route_and_generate", { prompt: "Hi" });
    expect(result.content[1]).toEqual({
      type: "text",
      text: "smollm2:135m, 92.3 tokens/s, cut at max_tokens\nnote: answer limited to 8192 tokens instead of 9000",
    });
    expect(result.structuredContent).toMatchObject({
      finish_reason: "length",
      notes: ["answer limited to 8192 tokens instead of 9000"],
    });
  });

  it("says that an answer was cut where it repeated itself", async () => {
    connection = await connectMemoryClient(
      createFakeOrchestrator({
        generate: async () =>
          doneOperation({ ...generated, finishReason: "repetition", notes: ["it repeated itself"] }),
      }),
    );
    const result = await connection.call("route_and_generate", { prompt: "Hi" });
    expect(result.content[1]).toMatchObject({
      text: expect.stringMatching(/^smollm2:135m, 92\.3 tokens\/s\nnote: it repeated itself$/),
    });
    expect(result.structuredContent).toMatchObject({ finish_reason: "repetition", notes: ["it repeated itself"] });
  });

  it("hands everything on, with files and images read", async () => {
    await writeFile(path.join(folder, "notes.txt"), "remember the milk");
    await writeFile(path.join(folder, "dot.png"), png);
    const orchestrator = createFakeOrchestrator();
    connection = await connectMemoryClient(orchestrator, { fileRoots: [folder] });
    const schema = { type: "object", properties: { answer: { type: "string" } } };
    await connection.call("route_and_generate", {
      prompt: "What must I remember?",
      system: "Be brief.",
      task: "general",
      complexity: "low",
      profile: "fast",
      model: "smollm2:135m",
      files: ["notes.txt"],
      images: ["dot.png"],
      format: schema,
      max_tokens: 100,
      temperature: 0.2,
      top_p: 0.9,
      context_tokens: 4096,
      think: false,
      keep_alive: -1,
      privacy: "local_only",
    });
    const request: GenerateRequest = {
      prompt: "What must I remember?",
      system: "Be brief.",
      task: "general",
      complexity: "low",
      profile: "fast",
      model: "smollm2:135m",
      files: [{ path: "notes.txt", text: "remember the milk" }],
      images: [png.toString("base64")],
      format: schema,
      maxTokens: 100,
      temperature: 0.2,
      topP: 0.9,
      contextTokens: 4096,
      think: false,
      keepAliveSeconds: -1,
      privacy: "local_only",
    };
    expect(orchestrator.asked).toEqual([["generate", request]]);
  });

  it("writes the answer to output_path instead of returning it", async () => {
    connection = await connectMemoryClient(createFakeOrchestrator(), { fileRoots: [folder] });
    const result = await connection.call("route_and_generate", { prompt: "Hi", output_path: "answer.md" });
    const file = (result.structuredContent as { output_path: string }).output_path;
    expect(await readFile(file, "utf8")).toBe("The capital of France is Paris.");
    expect(result.content).toEqual([
      { type: "text", text: `Wrote 31 characters to ${file} (smollm2:135m, 92.3 tokens/s)` },
    ]);
    expect(result.structuredContent).not.toHaveProperty("text");
  });

  it("refuses a taken output_path before the model works", async () => {
    await writeFile(path.join(folder, "taken.md"), "precious");
    const orchestrator = createFakeOrchestrator();
    connection = await connectMemoryClient(orchestrator, { fileRoots: [folder] });
    const result = await connection.call("route_and_generate", { prompt: "Hi", output_path: "taken.md" });
    expect(result.content).toEqual([
      { type: "text", text: "the output file taken.md already exists, and is not overwritten\nChoose another name." },
    ]);
    expect(orchestrator.asked).toEqual([]);
    expect(await readFile(path.join(folder, "taken.md"), "utf8")).toBe("precious");
  });

  it("fills a template in, and what the request says itself counts before what the template says", async () => {
    const orchestrator = createFakeOrchestrator({
      templates: {
        render: async (_caller: unknown, name: string, variables: object) => ({
          rendered: {
            template: { name, options: { temperature: 0.2, maxTokens: 50 }, model: "qwen3:4b" },
            text: `filled ${JSON.stringify(variables)}`,
            system: "of the template",
          },
        }),
      } as never,
    });
    connection = await connectMemoryClient(orchestrator);
    const template = { template: "translate", variables: { language: "Dutch" } };
    await connection.call("route_and_generate", template);
    await connection.call("route_and_generate", { ...template, prompt: "now", temperature: 1, model: "smollm2:135m" });
    const requests = orchestrator.asked.filter(([method]) => method === "generate").map(([, request]) => request);
    const common = { system: "of the template", maxTokens: 50 };
    expect(requests).toEqual([
      { ...common, prompt: 'filled {"language":"Dutch"}', temperature: 0.2, model: "qwen3:4b" },
      { ...common, prompt: 'filled {"language":"Dutch"}\n\nnow', temperature: 1, model: "smollm2:135m" },
    ]);
  });

  it.each([
    [{}, "prompt is missing"],
    [{ prompt: "Hi", variables: { a: 1 } }, "variables belong to a template, and none is given"],
  ])("refuses %j: %s", async (input, message) => {
    connection = await connectMemoryClient(createFakeOrchestrator());
    const { isError, content } = await connection.call("route_and_generate", input);
    expect(isError).toBe(true);
    expect(content[0]).toMatchObject({ text: expect.stringContaining(message) });
  });

  it("hands on a conversation, and says with explain what of the memory was used", async () => {
    const more = { continueId: "1a2b3c4d", conversationTokens: 99, memoryUsed: { keys: ["style"], tokens: 31 } };
    const orchestrator = createFakeOrchestrator({ generate: async () => doneOperation({ ...generated, ...more }) });
    connection = await connectMemoryClient(orchestrator);
    const plain = await connection.call("route_and_generate", { prompt: "Hi", continue_id: "new", use_memory: false });
    expect(plain.structuredContent).toEqual({
      text: generated.text,
      model: "smollm2:135m",
      continue_id: "1a2b3c4d",
    });
    const explained = await connection.call("route_and_generate", { prompt: "Hi", explain: true });
    expect(explained.structuredContent).toMatchObject({ memory_used: { keys: ["style"], tokens: 31 } });
  });

  describe.each(["legacy", "modern"] as const)("says in the text too, a line each (%s)", (era) => {
    async function textOf(more: Partial<GenerateResult>, input: Record<string, unknown> = {}) {
      const orchestrator = createFakeOrchestrator({ generate: async () => doneOperation({ ...generated, ...more }) });
      connection = await connectMemoryClient(orchestrator, { era });
      const { content } = await connection.call("route_and_generate", { prompt: "Hi", ...input });
      const [own, ...rest] = content.map((block) => (block.type === "text" ? block.text : ""));
      expect(own).toBe(generated.text);
      return rest.join("\n").split("\n");
    }

    it("that a conversation was cut, and limits lowered", async () => {
      const notes = [
        "the oldest 4 messages of the conversation were left out: the prompt has 9000 tokens;\n  the window of x has 8192",
        "context limited to 8192 tokens instead of 65536: the window of smollm2:135m",
      ];
      expect(await textOf({ notes })).toEqual([
        "smollm2:135m, 92.3 tokens/s",
        "note: the oldest 4 messages of the conversation were left out: the prompt has 9000 tokens; the window of x has 8192",
        "note: context limited to 8192 tokens instead of 65536: the window of smollm2:135m",
      ]);
    });

    it("the id of the conversation, and how to use it", async () => {
      const lines = await textOf({ continueId: "1a2b3c4d", conversationTokens: 99 }, { continue_id: "new" });
      expect(lines).toEqual([
        "smollm2:135m, 92.3 tokens/s",
        'continue_id "1a2b3c4d" continues this conversation (99 tokens)',
      ]);
    });

    it("with explain the reason, what was considered and tried, the times, and what was remembered", async () => {
      const attempts = [
        { model: "qwen3:4b", engine: "ollama", outcome: "it crashed" },
        { model: "smollm2:135m", engine: "llama-cpp", outcome: "answered" },
      ];
      const more = { route: { ...generated.route, attempts }, memoryUsed: { keys: ["style"], tokens: 31 } };
      expect(await textOf(more, { explain: true })).toEqual([
        "smollm2:135m, 92.3 tokens/s",
        "reason: already loaded, fits task general",
        "task general: nothing points to another task; profile general",
        "considered:",
        "1. smollm2:135m on llama-cpp: 3.3 s (loaded, of the profile, merit 4.1, 0.13 billion parameters; load 0 + prompt 0.1 + answer 3.3 s, measured)",
        "- nomic-embed-text on ollama: no completion",
        "options: max_tokens 100 (models.smollm2*)",
        "attempts: qwen3:4b on ollama (it crashed); smollm2:135m on llama-cpp (answered)",
        "queued 0 ms, loaded in 0 ms, first token after 56 ms",
        "remembered: style (31 tokens)",
      ]);
    });

    it("with explain the profile that was asked for, and the one that the model matches", async () => {
      const more = { route: { ...generated.route, task: "code" as const, profile: "code", fallback: "general" } };
      expect(await textOf(more, { explain: true })).toContain(
        "task code: nothing points to another task; profile code, served by general",
      );
    });

    it("nothing where nothing was asked or done otherwise", async () => {
      expect(await textOf({})).toEqual(["smollm2:135m, 92.3 tokens/s"]);
    });
  });

  it("names the files that changed while they were read in parts, and only then", async () => {
    const [edited, removed] = [path.join(folder, "edited.md"), path.join(folder, "removed.md")];
    let parts: GenerateResult["parts"] = { total: 3 };
    const generate = async () => {
      await writeFile(edited, "a later version");
      await rm(removed, { force: true });
      return doneOperation({ ...generated, ...(parts !== undefined && { parts }) });
    };
    connection = await connectMemoryClient(createFakeOrchestrator({ generate }), {
      roots: [pathToFileURL(folder).href],
    });
    const notes = async () => {
      await writeFile(edited, "the first version");
      await writeFile(removed, "text");
      const request = { prompt: "Summarise", files: [edited, removed] };
      const { structuredContent } = await (connection as MemoryClient).call("route_and_generate", request);
      return (structuredContent as { readonly notes?: readonly string[] }).notes;
    };
    expect(await notes()).toEqual([
      "edited.md changed while it was read: the answer describes the earlier version",
      "removed.md was removed while it was read: the answer describes it as it was",
    ]);
    parts = undefined;
    expect(await notes()).toBeUndefined();
  });
});
