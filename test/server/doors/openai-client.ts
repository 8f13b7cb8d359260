import OpenAI, { type ClientOptions } from "openai";
import { onTestFinished } from "vitest";
import type { Engine } from "../../../src/orchestrator/engines/engine.ts";
import type { Generation, GenerationRequest } from "../../../src/orchestrator/engines/generation.ts";
import { type FakeEngine, createFakeEngine, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";
import { type TestListenerSetup, startListener } from "../http/listener-fixture.ts";

const able = { capabilities: ["completion", "tools", "vision", "thinking", "audio"] as const };
const embeds = { capabilities: ["embedding"] as const };

interface Setup {
  readonly answer?: FakeEngine["answer"];
  readonly engine?: Partial<Engine>;
  readonly http?: TestListenerSetup["settings"];
  readonly settings?: object;
  readonly client?: ClientOptions;
}

const whole: Generation = {
  text: "",
  finishReason: "stop",
  promptTokens: 40,
  cachedPromptTokens: 32,
  completionTokens: 6,
  loadMs: 0,
  firstTokenMs: 1,
  prefillMs: 1,
  decodeMs: 10,
  totalMs: 11,
};

/** OpenAI's own client against a real listener, with the real orchestrator and an engine that the test answers for. */
export async function openAiAgainst({
  answer = inPieces(["Hello"]),
  engine: more,
  http,
  settings,
  client: options,
}: Setup = {}) {
  const asked: GenerationRequest[] = [];
  const engine = createFakeEngine(
    "ollama",
    [
      fakeModel("able:1b", gigabyte, { ...able, modifiedAt: "2026-11-01T10:00:00Z" }),
      fakeModel("plain:1b", gigabyte),
      fakeModel("minilm:latest", gigabyte / 10, embeds),
    ],
    {
      audioFormats: ["wav", "mp3"],
      embedding: {
        embed: async (_model, inputs) => ({ vectors: inputs.map((text) => [text.length, 0.5, -1]), promptTokens: 7 }),
      },
      ...more,
    },
  );
  // Pieces are streamed as the test says.
  engine.generate = async (request, sink, signal) => {
    asked.push(request);
    engine.resident.set(request.model, {
      name: request.model,
      sizeBytes: gigabyte,
      vramBytes: 0,
      contextTokens: request.contextTokens,
    });
    return { ...whole, ...(await answer(request, sink, signal)) };
  };
  const { orchestrator } = createTestOrchestrator([engine], { ...(settings && { settings }) });
  const listener = await startListener({ orchestrator, settings: { doors: ["openai"], ...http } });
  onTestFinished(async () => {
    await listener.close();
    await orchestrator.close();
  });
  const baseURL = `http://127.0.0.1:${listener.port}/v1`;
  const client = new OpenAI({ baseURL, apiKey: listener.token, maxRetries: 0, ...options });
  return { client, engine, listener, orchestrator, asked, last: () => asked.at(-1) };
}

/** An answer in pieces, with everything that a protocol shows of it. */
export const inPieces =
  (pieces: readonly string[], more: Partial<Generation> = {}, thoughts: readonly string[] = []): FakeEngine["answer"] =>
  async (_request, sink) => {
    for (const thought of thoughts) sink.thinking(thought);
    for (const piece of pieces) {
      sink.text(piece);
      // A read of its own for the client.
      await new Promise((resolve) => setImmediate(resolve));
    }
    const thinking = thoughts.length > 0 && { thinking: thoughts.join("") };
    return { text: pieces.join(""), ...thinking, ...more };
  };
