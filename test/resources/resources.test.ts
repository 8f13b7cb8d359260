import { afterEach, describe, expect, it } from "vitest";
import { EngineUnreachable } from "../../src/orchestrator/api/errors.ts";
import { advice } from "../../src/orchestrator/api/next-step.ts";
import { matchResource } from "../../src/resources/definition.ts";
import { resources } from "../../src/resources/index.ts";
import { UnknownModel } from "../../src/orchestrator/api/errors.ts";
import { createFakeOrchestrator } from "../support/fake-orchestrator.ts";
import { type Era, type MemoryClient, connectMemoryClient } from "../support/memory-client.ts";

const eras: readonly Era[] = ["legacy", "modern"];

describe("resources", () => {
  let connection: MemoryClient;
  afterEach(async () => connection.close());

  /** The JSON of one resource. */
  async function read(uri: string, replace = {}): Promise<unknown> {
    connection = await connectMemoryClient(createFakeOrchestrator(replace));
    const { contents } = await connection.client.readResource({ uri });
    expect(contents).toHaveLength(1);
    const [content] = contents;
    expect(content).toMatchObject({ uri, mimeType: "application/json" });
    return JSON.parse(content !== undefined && "text" in content ? content.text : "");
  }

  it("lists the fixed ones and every model", async () => {
    connection = await connectMemoryClient(createFakeOrchestrator());
    const list = await connection.client.listResources();
    expect(list.resources.map(({ uri, name }) => `${uri} ${name}`)).toMatchInlineSnapshot(`
      [
        "ollm://status/ram ram-status",
        "ollm://decisions decisions",
        "ollm://metrics metrics",
        "ollm://jobs jobs",
        "ollm://models models",
        "ollm://models/database model-database",
        "ollm://comparisons comparisons",
        "ollm://evals evals",
        "ollm://settings settings",
        "ollm://profiles profiles",
        "ollm://memory memory",
        "ollm://requests requests",
        "ollm://models/qwen2.5-coder%3A7b qwen2.5-coder:7b",
        "ollm://models/smollm2%3A135m smollm2:135m",
      ]
    `);
    const { resourceTemplates } = await connection.client.listResourceTemplates();
    expect(resourceTemplates.every(({ icons }) => icons?.length === 1)).toBe(true);
    expect(resourceTemplates.map(({ icons: _icons, ...rest }) => rest)).toMatchInlineSnapshot(`
      [
        {
          "description": "The last 10,000 requests, newest first: client, task, model, outcome, times, tokens, cost, and why that model; never their texts. Filters: outcome is answered, doubtful, cancelled, failed or failed:CLASS; from and to are ISO 8601; before is that of the page before, for older ones; limit is 100 unless given, at most 1000. by, such as model,client, adds the 1,000 largest groups of all that match: by model, engine, profile, client, task, day, hour, minute.",
          "mimeType": "application/json",
          "name": "requests",
          "title": "Requests",
          "uriTemplate": "ollm://requests{?model,client,task,trace,outcome,from,to,limit,before,by}",
        },
        {
          "description": "Background job: state, progress, the text so far, and the result when it has ended.",
          "mimeType": "application/json",
          "name": "job",
          "title": "Job",
          "uriTemplate": "ollm://jobs/{id}",
        },
        {
          "description": "As JSON, one a line: the answers of a job with for_each, in the order of its texts, while it runs those so far; the changed files of delegate, with their diffs.",
          "mimeType": "application/jsonl",
          "name": "results",
          "title": "Results of a batch or a worker",
          "uriTemplate": "ollm://results/{id}",
        },
        {
          "description": "One model: facts from its file and from the model database. Names are percent-encoded.",
          "mimeType": "application/json",
          "name": "model",
          "title": "Model",
          "uriTemplate": "ollm://models/{name}",
        },
        {
          "description": "Answers of several models to one prompt, with figures, order of execution, judgement and winner.",
          "mimeType": "application/json",
          "name": "comparison",
          "title": "Comparison",
          "uriTemplate": "ollm://comparisons/{id}",
        },
        {
          "description": "How models did on a set of cases: by task quality, time, memory, cost; which is better; what was missed.",
          "mimeType": "application/json",
          "name": "eval",
          "title": "Eval",
          "uriTemplate": "ollm://evals/{id}",
        },
        {
          "description": "One profile: its values with their sources, the model that would answer now, and what was learned.",
          "mimeType": "application/json",
          "name": "profile",
          "title": "Profile",
          "uriTemplate": "ollm://profiles/{name}",
        },
        {
          "description": "One prompt template: text, variables, and settings for its answers.",
          "mimeType": "application/json",
          "name": "template",
          "title": "Prompt template",
          "uriTemplate": "ollm://templates/{name}",
        },
        {
          "description": "One memory, by its percent-encoded key, with its previous value.",
          "mimeType": "application/json",
          "name": "memory-entry",
          "title": "Memory",
          "uriTemplate": "ollm://memory/{key}",
        },
      ]
    `);
  });

  it("have a ttl in the modern era: none for measured data, minutes for data that is part of this version", async () => {
    connection = await connectMemoryClient(createFakeOrchestrator(), { era: "modern" });
    const kept = async (uri: string) => {
      const { ttlMs, cacheScope } = await connection.client.readResource({ uri });
      return { ttlMs, cacheScope };
    };
    expect(await kept("ollm://models/database")).toEqual({ ttlMs: 300_000, cacheScope: "private" });
    expect(await kept("ollm://status/ram")).toEqual({ ttlMs: 0, cacheScope: "private" });
    await connection.close();
    connection = await connectMemoryClient(createFakeOrchestrator());
    expect(await kept("ollm://models/database")).toEqual({});
  });

  it("lists the fixed ones while models can't be listed, with the reason in the log", async () => {
    connection = await connectMemoryClient(
      createFakeOrchestrator({
        listModels: async () => {
          throw new EngineUnreachable("ollama does not answer");
        },
      }),
    );
    expect((await connection.client.listResources()).resources).toHaveLength(12);
    expect(connection.logged).toEqual(["ollm warn: resources/list: ollama does not answer"]);
  });

  it("ollm://status/ram", async () => {
    expect(await read("ollm://status/ram")).toMatchInlineSnapshot(`
      {
        "available_bytes": 9200000000,
        "gpus": [
          {
            "free_bytes": 6000000000,
            "name": "Test GPU",
            "total_bytes": 8000000000,
          },
        ],
        "loaded": [
          {
            "bytes": 700000000,
            "engine": "llama-cpp",
            "name": "smollm2:135m",
          },
        ],
        "loaded_bytes": 700000000,
        "sampled_at": "2026-11-21T12:00:00.000Z",
        "swap_total_bytes": 2000000000,
        "swap_used_bytes": 500000000,
        "total_bytes": 16000000000,
        "warning": "swap is in use: 500 MB",
      }
    `);
  });

  it("ollm://models", async () => {
    expect(await read("ollm://models")).toMatchInlineSnapshot(`
      {
        "models": [
          {
            "capabilities": [
              "completion",
              "tools",
              "insert",
            ],
            "context_tokens": 32768,
            "engine": "ollama",
            "family": "qwen2",
            "fits": true,
            "is_loaded": false,
            "is_remote": false,
            "modified_at": "2026-11-01T10:00:00Z",
            "name": "qwen2.5-coder:7b",
            "parameter_size": "7.6B",
            "profiles": [
              "code",
            ],
            "quantization": "Q4_K_M",
            "size_bytes": 4683087332,
            "status": "installed",
            "tokens_per_second": 18.42,
          },
          {
            "engine": "llama-cpp",
            "fits": true,
            "is_loaded": true,
            "is_remote": false,
            "name": "smollm2:135m",
            "size_bytes": 270898672,
            "status": "loaded",
          },
        ],
        "total": 2,
      }
    `);
  });

  it("ollm://profiles, and one of them with its sources and the model that would answer", async () => {
    const { profiles } = (await read("ollm://profiles")) as { profiles: { name: string }[] };
    expect(profiles.map(({ name }) => name)).toEqual(expect.arrayContaining(["code", "swarm", "python"]));
    await connection?.close();
    expect(await read("ollm://profiles/swarm")).toMatchObject({
      name: "swarm",
      max_tokens: 1024,
      fallback: "general",
      builds_on: "general",
      sources: { maxTokens: "built-in" },
      answers: { model: "qwen2.5-coder:7b", engine: "ollama", reason: "code model that fits" },
    });
    await connection?.close();
    const nothing = new UnknownModel("no model is installed", { next: { step: "listModels" } });
    const planGeneration = () => Promise.reject(nothing);
    const unanswered = await read("ollm://profiles/swarm", { planGeneration });
    expect(unanswered).toMatchObject({ name: "swarm", unavailable: "no model is installed" });
  });

  it("ollm://comparisons, with the beginning of each prompt", async () => {
    const found = {
      id: "compare-1",
      createdAt: "2026-11-21T12:00:00.000Z",
      prompt: "x".repeat(1000),
      task: "general",
      results: [{ model: "a:1b", engine: "ollama", text: "Yes." }],
      order: "",
      winner: "a:1b",
    };
    const comparisons = { list: () => Promise.resolve([found]) } as never;
    expect(await read("ollm://comparisons", { comparisons })).toEqual({
      comparisons: [
        {
          id: "compare-1",
          created_at: "2026-11-21T12:00:00.000Z",
          prompt: "x".repeat(200),
          task: "general",
          models: ["a:1b"],
          winner: "a:1b",
        },
      ],
    });
  });

  it("ollm://models/database", async () => {
    expect(await read("ollm://models/database")).toMatchInlineSnapshot(`
      {
        "entries": [
          {
            "capabilities": [
              "completion",
              "tools",
            ],
            "context_tokens": 128000,
            "family": "llama",
            "output_tokens": 4096,
            "pattern": "llama3.1:*",
            "profiles": [
              "general",
              "code",
            ],
            "source": "https://ollama.com/library/llama3.1",
          },
        ],
      }
    `);
  });

  it("ollm://models/{name}", async () => {
    expect(await read("ollm://models/qwen2.5-coder%3A7b")).toMatchInlineSnapshot(`
      {
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
        "fits": true,
        "is_loaded": false,
        "is_remote": false,
        "layer_count": 28,
        "modified_at": "2026-11-01T10:00:00Z",
        "name": "qwen2.5-coder:7b",
        "parameter_size": "7.6B",
        "profiles": [
          "code",
        ],
        "quantization": "Q4_K_M",
        "size_bytes": 4683087332,
        "status": "installed",
        "system": "You are a helpful assistant.",
        "tokens_per_second": 18.42,
      }
    `);
  });

  it("ollm://models/{name} has the time since when its engine is down", async () => {
    const orchestrator = createFakeOrchestrator();
    const describeModel: typeof orchestrator.describeModel = async (caller, name) => ({
      ...(await orchestrator.describeModel(caller, name)),
      staleSince: "2026-11-21T11:00:00Z",
    });
    expect(await read("ollm://models/qwen2.5-coder%3A7b", { describeModel })).toMatchObject({
      stale_since: "2026-11-21T11:00:00Z",
    });
  });

  it("ollm://models/{name} also accepts unencoded names", async () => {
    expect(await read("ollm://models/smollm2:135m")).toMatchObject({ name: "qwen2.5-coder:7b" });
  });

  it.each(eras)("returns not found for an unknown model and an unknown URI alike (%s era)", async (era) => {
    connection = await connectMemoryClient(createFakeOrchestrator(), { era });
    const { client } = connection;
    await expect(client.readResource({ uri: "ollm://models/lama" })).rejects.toMatchObject({
      code: -32602,
      message: expect.stringContaining("no model lama"),
      data: { uri: "ollm://models/lama" },
    });
    await expect(client.readResource({ uri: "ollm://nothing" })).rejects.toMatchObject({
      code: -32602,
      data: { uri: "ollm://nothing" },
    });
  });

  it("shows other failures with their message", async () => {
    const broken = {
      ramStatus: async () => {
        throw new EngineUnreachable("ollama does not answer", { next: advice("start it") });
      },
    };
    await expect(read("ollm://status/ram", broken)).rejects.toMatchObject({
      code: -32603,
      message: expect.stringContaining("ollama does not answer\nStart it."),
    });
  });
});

describe("matchResource", () => {
  it.each([
    ["ollm://models/hf.co%2Forg%2Frepo%3AQ4_K_M", "hf.co/org/repo:Q4_K_M"],
    ["ollm://models/hf.co/org/repo:Q4_K_M", "hf.co/org/repo:Q4_K_M"],
    ["ollm://models/a%20b", "a b"],
  ])("finds the name in %s", (uri, name) => {
    expect(matchResource(resources, uri)?.variables).toEqual({ name });
  });

  it("prefers the exact URI", () => {
    expect(matchResource(resources, "ollm://models/database")?.definition.name).toBe("model-database");
  });

  it.each(["ollm://models/", "ollm://models/%zz", "ollm://model", "file:///etc/passwd", ""])(
    "matches no definition for %s",
    (uri) => {
      expect(matchResource(resources, uri)).toBeUndefined();
    },
  );
});
