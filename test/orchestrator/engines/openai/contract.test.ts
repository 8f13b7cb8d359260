import { describe, it } from "vitest";
import { createOpenAiEngine } from "../../../../src/orchestrator/engines/openai/index.ts";
import type { OpenAiOptions } from "../../../../src/orchestrator/engines/openai/server.ts";
import { callsAsText } from "../../../engine-contract-tools.ts";
import { describeEngineContract, type ContractRule, type EngineContract } from "../../../engine-contract.ts";
import { startFakeOpenAi, type FakeOpenAiOptions } from "../../../support/fake-openai.ts";
import { openAiOptions } from "./fixture.ts";

const divergences = (reason: string, rules: readonly ContractRule[]) => rules.map((rule) => ({ rule, reason }));

const noLibrary = divergences("these servers take no models over their API", [
  "a local GGUF is imported, listed and removed",
  "importing a missing file fails",
]);
const noResidency = divergences("its models are loaded by the server alone", [
  "a model is listed as loaded from its load to its unload",
  "a load has the context and the memory that the load rules predict",
  "loading a loaded model is cheap",
  "unloading a model that is not loaded succeeds",
]);
const noLayers = divergences("its list has neither layers nor metadata", [
  "describe returns context, layers, vocabulary and capabilities",
]);
const saysNothingOfTools = divergences("its list says nothing of tools, which its models are known for", [
  "a model with tools is described as one",
]);
const noSizes = divergences("a cloud tells neither sizes nor its version", [
  "the list contains the chat model with its size",
  "health returns a version",
]);

function onFake(fakeOptions: FakeOpenAiOptions, options: Partial<OpenAiOptions>): EngineContract["create"] {
  return async () => {
    const fake = await startFakeOpenAi({ tokensPerSecond: 500, ...fakeOptions });
    return { engine: createOpenAiEngine(openAiOptions(fake.baseUrl, options)), dispose: () => fake.close() };
  };
}

const chatModel = { id: "smollm2", contextTokens: 2_048, hasTools: true };

describeEngineContract({
  name: "openai (fake llama-server)",
  models: { chat: "smollm2", tools: "smollm2" },
  create: onFake({ dialect: "llama-server", models: [chatModel] }, {}),
  divergences: [...noLibrary, ...noResidency, ...noLayers],
});

describeEngineContract({
  name: "openai (fake cloud)",
  models: {
    chat: "gpt-fake",
    embedding: "text-embedding-fake",
    tools: "gpt-fake",
    thinkingTools: "thinker-fake",
  },
  create: onFake(
    {
      dialect: "cloud",
      apiKey: "key-of-the-test",
      models: [
        { id: "gpt-fake", contextTokens: 2_048 },
        { id: "thinker-fake", contextTokens: 2_048, thinking: "A city is asked for." },
        { id: "text-embedding-fake", isEmbedding: true },
      ],
    },
    { serverKind: "cloud", trust: "remote", apiKey: async () => "key-of-the-test" },
  ),
  divergences: [...noLibrary, ...noResidency, ...noLayers, ...noSizes, ...saysNothingOfTools],
});

const ownContext = divergences("the context of a load is a setting of the server", [
  "a model is listed as loaded from its load to its unload",
  "a load has the context and the memory that the load rules predict",
  "loading a loaded model is cheap",
]);

/** Its list tells that a server is in router mode, and the facts of a model while that is loaded. */
const afterLoad = async (baseUrl: string, dispose: () => Promise<void> = async () => {}) => {
  const engine = createOpenAiEngine(openAiOptions(baseUrl));
  const never = new AbortController().signal;
  await engine.list(never);
  await engine.residency?.load("smollm2", { contextTokens: 2_048 }, () => {}, never);
  return { engine, dispose };
};

describeEngineContract({
  name: "openai (fake llama-server in router mode)",
  models: { chat: "smollm2", tools: "smollm2" },
  create: async () => {
    const fake = await startFakeOpenAi({ dialect: "llama-router", models: [chatModel], loadDelayMs: 20 });
    return await afterLoad(fake.baseUrl, () => fake.close());
  },
  divergences: [...noLibrary, ...noLayers, ...ownContext],
});

const vllmHasNoSize = divergences("vLLM doesn't tell the size of a model", [
  "the list contains the chat model with its size",
]);

/** Real servers, by the variable with their base address; each serves SmolLM2 with 2,048 tokens as `smollm2`. */
const realServers: readonly (readonly [string, string, EngineContract["divergences"]])[] = [
  ["llama-server or alike", "OLLM_TEST_OPENAI_URL", noResidency],
  ["vllm-router", "OLLM_TEST_ROUTER_URL", noResidency],
  ["vLLM", "OLLM_TEST_VLLM_URL", [...noResidency, ...vllmHasNoSize]],
  ["llama-server in router mode", "OLLM_TEST_ROUTER_MODE_URL", ownContext],
];
for (const [program, variable, own = []] of realServers) {
  const baseUrl = process.env[variable];
  if (baseUrl === undefined)
    describe(`engine contract: openai (real ${program})`, () => {
      it.skip(`runs against a real ${program} (${variable} is not set)`, () => {});
    });
  else
    describeEngineContract({
      name: `openai (real ${program}, ${baseUrl})`,
      models: {
        chat: process.env["OLLM_TEST_OPENAI_MODEL"] ?? "smollm2",
        ...(process.env["OLLM_TEST_OPENAI_TOOLS_MODEL"] !== undefined && {
          tools: process.env["OLLM_TEST_OPENAI_TOOLS_MODEL"],
        }),
        // llama-server with --embeddings answers both.
        ...(process.env["OLLM_TEST_OPENAI_EMBEDDING_MODEL"] !== undefined &&
          variable === "OLLM_TEST_OPENAI_URL" && { embedding: process.env["OLLM_TEST_OPENAI_EMBEDDING_MODEL"] }),
      },
      create: () => afterLoad(baseUrl),
      divergences: [...noLibrary, ...noLayers, ...callsAsText(process.env["OLLM_TEST_OPENAI_TOOLS_MODEL"]), ...own],
    });
}
