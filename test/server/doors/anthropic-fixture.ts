import Anthropic, { type APIError } from "@anthropic-ai/sdk";
import { onTestFinished } from "vitest";
import type { Orchestrator } from "../../../src/orchestrator/api/facade.ts";
import type { Engine } from "../../../src/orchestrator/engines/engine.ts";
import type { Generation, GenerationRequest, GenerationSink } from "../../../src/orchestrator/engines/generation.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";
import { type TestListener, startListener } from "../http/listener-fixture.ts";

export const hello = { role: "user", content: "hello" } as const;
export const plain = { model: "coder:7b", max_tokens: 100, messages: [hello] };
export const weather = {
  name: "get_weather",
  description: "The weather of a city.",
  input_schema: { type: "object" as const, properties: { city: { type: "string" as const } }, required: ["city"] },
};

type Answer = (request: GenerationRequest, sink: GenerationSink, signal: AbortSignal) => Promise<Partial<Generation>>;

const times = { loadMs: 0, firstTokenMs: 1, prefillMs: 1, decodeMs: 10, totalMs: 11 };

/** A listener with the door, and Anthropic's own client, which reaches nothing else. */
export async function openDoor(orchestrator: Orchestrator, modelNames: Readonly<Record<string, string>> = {}) {
  const listener = await startListener({ orchestrator, settings: { doors: ["anthropic"], modelNames } });
  onTestFinished(() => listener.close());
  return { listener, client: clientOf(listener) };
}

export function clientOf(listener: TestListener, more: { readonly authToken?: string } = {}): Anthropic {
  const home = `http://127.0.0.1:${listener.port}`;
  return new Anthropic({
    baseURL: home,
    apiKey: null,
    authToken: listener.token,
    maxRetries: 0,
    fetch(input, init) {
      const url = input instanceof Request ? input.url : String(input);
      if (!url.startsWith(`${home}/`)) throw new Error(`the client asks ${url}`);
      return fetch(input, init);
    },
    ...more,
  });
}

/** The same in front of an orchestrator with an engine that answers as the test says. */
export async function openScripted(answer: Answer, more: Partial<Engine> = {}) {
  const sent: GenerationRequest[] = [];
  const capabilities = ["completion", "tools", "vision", "thinking"] as const;
  const models = [fakeModel("coder:7b", 4 * gigabyte, { capabilities }), fakeModel("plain:1b", gigabyte)];
  const engine = createFakeEngine("fake", models, {
    async generate(request, sink, signal) {
      sent.push(request);
      const answered = await answer(request, sink, signal);
      const { text = "" } = answered;
      return { text, finishReason: "stop", promptTokens: 20, completionTokens: 3, ...times, ...answered };
    },
    ...more,
  });
  const { orchestrator } = createTestOrchestrator([engine]);
  return { ...(await openDoor(orchestrator, { "claude-haiku-*": "coder:7b" })), engine, sent };
}

/** The error with which a request ends. */
export const failureOf = (answer: PromiseLike<unknown>): Promise<APIError> =>
  Promise.resolve(answer).then(
    () => Promise.reject(new Error("it was answered")),
    (error: unknown) => error as APIError,
  );
