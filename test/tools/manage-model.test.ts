import { afterEach, describe, expect, it } from "vitest";
import { InvalidRequest } from "../../src/orchestrator/api/errors.ts";
import { createFakeOrchestrator } from "../support/fake-orchestrator.ts";
import { type Era, type MemoryClient, connectMemoryClient } from "../support/memory-client.ts";

const eras: readonly Era[] = ["legacy", "modern"];

describe("manage_model", () => {
  let connection: MemoryClient | undefined;
  afterEach(async () => connection?.close());

  it("pins and unpins, and says what that means", async () => {
    const pinned: [string, boolean][] = [];
    const orchestrator = createFakeOrchestrator({
      setPinned: async (_caller, name, isPinned) => {
        pinned.push([name, isPinned]);
        return name;
      },
    });
    connection = await connectMemoryClient(orchestrator);
    expect(await connection.call("manage_model", { action: "pin", model: "smollm2:135m" })).toEqual({
      content: [
        {
          type: "text",
          text: "smollm2:135m is pinned: once loaded it stays in memory until it is unpinned or the daemon exits",
        },
      ],
      structuredContent: { action: "pin", model: "smollm2:135m" },
    });
    expect(await connection.call("manage_model", { action: "unpin", model: "smollm2:135m" })).toMatchObject({
      content: [{ text: "smollm2:135m is no longer pinned" }],
    });
    expect(pinned).toEqual([
      ["smollm2:135m", true],
      ["smollm2:135m", false],
    ]);
  });

  it("refuses an unknown action with those that there are", async () => {
    connection = await connectMemoryClient(createFakeOrchestrator());
    const unknown = await connection.call("manage_model", { action: "hold", model: "smollm2:135m" });
    expect(JSON.stringify(unknown.content)).toContain(
      "must be one of show, delete, unload, unload_all, pin, unpin, create",
    );
  });

  it("shows what is known of a model", async () => {
    connection = await connectMemoryClient(createFakeOrchestrator());
    expect(await connection.call("manage_model", { action: "show", model: "qwen2.5-coder:7b" })).toMatchInlineSnapshot(`
      {
        "content": [
          {
            "text": "qwen2.5-coder:7b: qwen2, 7.6B, Q4_K_M, 4.7 GB; ollama, installed; context 32768; completion, tools, insert; profiles code; 28 layers; digest dae161e27b0e
      system: You are a helpful assistant.",
            "type": "text",
          },
        ],
        "structuredContent": {
          "action": "show",
          "details": {
            "architecture": "qwen2",
            "capabilities": [
              "completion",
              "tools",
              "insert",
            ],
            "context_tokens": 32768,
            "digest": "dae161e27b0e90dd1856c8bb3209201fd6736d8eb66298e75ed87571486f4364",
            "engine": "ollama",
            "family": "qwen2",
            "layer_count": 28,
            "parameter_size": "7.6B",
            "profiles": [
              "code",
            ],
            "quantization": "Q4_K_M",
            "size_bytes": 4683087332,
            "status": "installed",
            "system": "You are a helpful assistant.",
          },
          "model": "qwen2.5-coder:7b",
        },
      }
    `);
  });

  it("says of what it unloads that its pin ends", async () => {
    const held = { name: "smollm2:135m", engine: "llama-cpp", bytes: 700_000_000 };
    const unloaded = [
      { ...held, wasPinned: true },
      { ...held, name: "qwen2.5:7b", wasPinned: false },
    ];
    connection = await connectMemoryClient(createFakeOrchestrator({ unloadModels: async () => unloaded }));
    const answer = await connection.call("manage_model", { action: "unload_all" });
    expect(answer).toMatchObject({
      content: [{ text: "Unloaded smollm2:135m (700.0 MB; no longer pinned), qwen2.5:7b (700.0 MB)" }],
      structuredContent: { unloaded: [{ was_pinned: true }, { name: "qwen2.5:7b" }] },
    });
  });

  it("unloads one, or all without asking: nothing is lost", async () => {
    const orchestrator = createFakeOrchestrator();
    connection = await connectMemoryClient(orchestrator);
    expect(await connection.call("manage_model", { action: "unload", model: "smollm2:135m" })).toMatchInlineSnapshot(`
      {
        "content": [
          {
            "text": "Unloaded smollm2:135m (700.0 MB)",
            "type": "text",
          },
        ],
        "structuredContent": {
          "action": "unload",
          "model": "smollm2:135m",
          "unloaded": [
            {
              "bytes": 700000000,
              "name": "smollm2:135m",
            },
          ],
        },
      }
    `);
    expect(await connection.call("manage_model", { action: "unload_all" })).toMatchInlineSnapshot(`
      {
        "content": [
          {
            "text": "Unloaded smollm2:135m (700.0 MB)",
            "type": "text",
          },
        ],
        "structuredContent": {
          "action": "unload_all",
          "unloaded": [
            {
              "bytes": 700000000,
              "name": "smollm2:135m",
            },
          ],
        },
      }
    `);
    expect(orchestrator.asked).toEqual([
      ["unloadModels", "smollm2:135m"],
      ["unloadModels", undefined],
    ]);
  });

  it("makes a model of another, and says where it is", async () => {
    const orchestrator = createFakeOrchestrator();
    connection = await connectMemoryClient(orchestrator);
    const given = { base: "qwen2.5-coder:7b", system: "You rhyme.", parameters: { temperature: 1.2 } };
    expect(await connection.call("manage_model", { action: "create", model: "poet", ...given })).toEqual({
      content: [{ type: "text", text: "Created poet:latest (ollama, 4.7 GB)" }],
      structuredContent: {
        action: "create",
        model: "poet:latest",
        created: { engine: "ollama", size_bytes: 4_683_087_332 },
      },
    });
    expect(orchestrator.asked).toContainEqual(["createModel", { name: "poet", ...given }]);
  });

  it("asks before it replaces a model, and makes none without a base", async () => {
    const orchestrator = createFakeOrchestrator();
    connection = await connectMemoryClient(orchestrator);
    const call = { action: "create", model: "qwen2.5-coder:7b", base: "smollm2:135m" };
    const unconfirmed = await connection.call("manage_model", call);
    expect(unconfirmed).toMatchObject({ isError: true });
    expect(JSON.stringify(unconfirmed)).toContain("Replace qwen2.5-coder:7b (4.7 GB, ollama)?");
    expect(orchestrator.asked.map(([method]) => method)).not.toContain("createModel");
    await connection.call("manage_model", { ...call, confirm: true });
    expect(orchestrator.asked).toContainEqual([
      "createModel",
      { name: "qwen2.5-coder:7b", base: "smollm2:135m", mayReplace: true },
    ]);
    const baseless = await connection.call("manage_model", { action: "create", model: "poet" });
    expect(JSON.stringify(baseless)).toContain("needs a base");
  });

  it("says which model was not loaded", async () => {
    connection = await connectMemoryClient(createFakeOrchestrator({ unloadModels: async () => [] }));
    const one = await connection.call("manage_model", { action: "unload", model: "phi3:mini" });
    const all = await connection.call("manage_model", { action: "unload_all" });
    expect(one.content).toEqual([{ type: "text", text: "phi3:mini was not loaded." }]);
    expect(all.content).toEqual([{ type: "text", text: "Nothing was loaded." }]);
  });

  it("explains a delete that freed next to nothing: imported weights are shared with their source", async () => {
    connection = await connectMemoryClient(
      createFakeOrchestrator({
        deleteModel: async () => ({ name: "qwen2.5-coder:7b", engine: "llama-cpp", freedBytes: 266 }),
      }),
    );
    const result = await connection.call("manage_model", {
      action: "delete",
      model: "qwen2.5-coder:7b",
      confirm: true,
    });
    expect(result.content).toEqual([
      {
        type: "text",
        text: "qwen2.5-coder:7b deleted, 266 bytes freed: its weights are kept because another model or file uses them",
      },
    ]);
  });

  it("deletes at once when confirmed", async () => {
    connection = await connectMemoryClient(createFakeOrchestrator());
    const input = { action: "delete", model: "qwen2.5-coder:7b", confirm: true };
    expect(await connection.call("manage_model", input)).toMatchInlineSnapshot(`
      {
        "content": [
          {
            "text": "qwen2.5-coder:7b deleted, 4.7 GB freed",
            "type": "text",
          },
        ],
        "structuredContent": {
          "action": "delete",
          "freed_bytes": 4683087332,
          "model": "qwen2.5-coder:7b",
        },
      }
    `);
  });

  it("needs confirm from a client that can't ask, and deletes nothing without", async () => {
    const orchestrator = createFakeOrchestrator();
    connection = await connectMemoryClient(orchestrator);
    expect(await connection.call("manage_model", { action: "delete", model: "qwen2.5-coder:7b" }))
      .toMatchInlineSnapshot(`
        {
          "content": [
            {
              "text": "Delete qwen2.5-coder:7b (4.7 GB, ollama) from disk? Set "confirm" (boolean: true deletes the model's files).
        Ask the user, then call again with the answer.",
              "type": "text",
            },
          ],
          "isError": true,
        }
      `);
    expect(orchestrator.asked.map(([method]) => method)).not.toContain("deleteModel");
  });

  it("doesn't ask about a delete that the engine refuses", async () => {
    const described = createFakeOrchestrator();
    const orchestrator = createFakeOrchestrator({
      describeModel: async (...asked) => {
        const found = await described.describeModel(...asked);
        return { ...found, model: { ...found.model, refuses: ["delete"] } };
      },
      deleteModel: () => Promise.reject(new InvalidRequest("house can't delete models")),
    });
    connection = await connectMemoryClient(orchestrator);
    const { content } = await connection.call("manage_model", { action: "delete", model: "qwen2.5-coder:7b" });
    expect(JSON.stringify(content)).toContain("house can't delete models");
    expect(JSON.stringify(content)).not.toContain("from disk?");
  });

  it.each(eras)("asks the user before it deletes (%s era)", async (era) => {
    const orchestrator = createFakeOrchestrator();
    connection = await connectMemoryClient(orchestrator, {
      era,
      elicit: () => ({ action: "accept", content: { confirm: true } }),
    });
    const result = await connection.call("manage_model", { action: "delete", model: "qwen2.5-coder:7b" });
    expect(connection.questions).toEqual(["Delete qwen2.5-coder:7b (4.7 GB, ollama) from disk?"]);
    expect(result.content).toEqual([{ type: "text", text: "qwen2.5-coder:7b deleted, 4.7 GB freed" }]);
    expect(orchestrator.asked.at(-1)).toEqual(["deleteModel", "qwen2.5-coder:7b"]);
  });

  it.each(
    eras.flatMap((era) => [
      { era, answer: { action: "decline" as const } },
      { era, answer: { action: "cancel" as const } },
      { era, answer: { action: "accept" as const, content: { confirm: false } } },
    ]),
  )("deletes nothing when the user says no ($era era, $answer)", async ({ era, answer }) => {
    const orchestrator = createFakeOrchestrator();
    connection = await connectMemoryClient(orchestrator, { era, elicit: () => answer });
    const result = await connection.call("manage_model", { action: "delete", model: "qwen2.5-coder:7b" });
    expect(result.isError).toBe(true);
    expect(result.content).toEqual([
      {
        type: "text",
        text: "the user declined, so nothing was changed: Delete qwen2.5-coder:7b (4.7 GB, ollama) from disk?",
      },
    ]);
    expect(orchestrator.asked.map(([method]) => method)).not.toContain("deleteModel");
    expect(connection.questions).toHaveLength(1);
  });

  it("says what is wrong with a model whose file can't be read", async () => {
    const error = "cut:1b is cut off after 12 bytes";
    const listed = {
      name: "cut:1b",
      engine: "llama-cpp",
      sizeBytes: 12,
      isLoaded: false,
      trust: "local",
      status: "error",
      error,
    } as const;
    const facts = { name: "cut:1b", sizeBytes: 12, trust: "local", capabilities: [] } as const;
    connection = await connectMemoryClient({
      ...createFakeOrchestrator(),
      describeModel: () => Promise.resolve({ model: listed, facts }),
    });
    const result = await connection.call("manage_model", { action: "show", model: "cut:1b" });
    expect(result.content).toEqual([{ type: "text", text: `cut:1b: 12 bytes; llama-cpp, error (${error})` }]);
    expect(result.structuredContent).toMatchObject({ details: { status: "error", error } });
  });

  it("does not ask about a model that is unknown", async () => {
    connection = await connectMemoryClient(createFakeOrchestrator(), { elicit: () => ({ action: "cancel" }) });
    const result = await connection.call("manage_model", { action: "delete", model: "lama" });
    expect(result.content).toEqual([
      { type: "text", text: "no model lama\nCall list_models to see the installed models." },
    ]);
    expect(connection.questions).toEqual([]);
  });

  it("names the field when the model is missing", async () => {
    connection = await connectMemoryClient(createFakeOrchestrator());
    expect((await connection.call("manage_model", { action: "show" })).content).toMatchInlineSnapshot(`
      [
        {
          "text": "manage_model show needs a model
      Name a model in model (list_models shows them).",
          "type": "text",
        },
      ]
    `);
  });
});
