import { Ollama } from "ollama";
import type { Engine } from "../../../src/orchestrator/engines/engine.ts";
import type { GenerationRequest, GenerationSink } from "../../../src/orchestrator/engines/generation.ts";
import { type FakeEngine, createFakeEngine, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";
import type { TestListener, startListeners } from "../http/listener-fixture.ts";

type Answer = (
  request: GenerationRequest,
  sink: GenerationSink,
  signal: AbortSignal,
) => Promise<Partial<Awaited<ReturnType<Engine["generate"]>>>>;

export function signalled(): { readonly promise: Promise<void>; resolve(): void } {
  let resolve = (): void => undefined;
  const promise = new Promise<void>((done) => (resolve = done));
  return { promise, resolve: () => resolve() };
}

const times = { loadMs: 0, firstTokenMs: 1, prefillMs: 1, decodeMs: 10, totalMs: 11 };

/** Streams what it returns in pieces of three characters, unless `answer` sent something itself. */
function scripted(answer: Answer): { readonly engine: FakeEngine; readonly asked: GenerationRequest[] } {
  const asked: GenerationRequest[] = [];
  const tools = { capabilities: ["completion", "tools", "vision", "thinking"] as const };
  const models = [
    fakeModel("small:1b", gigabyte, { ...tools, family: "qwen2", parameterSize: "1B", quantization: "Q4_K_M" }),
    fakeModel("plain:latest", gigabyte / 2),
    fakeModel("vectors:latest", gigabyte / 4, { capabilities: ["embedding"] }),
  ];
  const engine: FakeEngine = createFakeEngine("ollama", models, {
    async generate(request, sink, signal) {
      asked.push(request);
      engine.calls.push(`generate ${request.model}`);
      if (request.keepAliveSeconds === 0) engine.resident.delete(request.model);
      const text = "Hello there";
      let sent = "";
      const heard: GenerationSink = {
        thinking: (delta) => sink.thinking(delta),
        phase: (phase) => sink.phase(phase),
        text: (delta) => {
          sent += delta;
          sink.text(delta);
        },
      };
      const given = await answer(request, heard, signal);
      const whole = given.text ?? (sent === "" ? text : sent);
      for (let at = sent.length; at < whole.length; at += 3) sink.text(whole.slice(at, at + 3));
      return { finishReason: "stop", promptTokens: 5, completionTokens: 3, ...times, ...given, text: whole };
    },
    embedding: {
      embed: async (_model, texts) => ({
        vectors: texts.map((_text, at) => [3, 4, at]),
        promptTokens: 2 * texts.length,
      }),
    },
  });
  return { engine, asked };
}

export async function door(start: ReturnType<typeof startListeners>, answer: Answer = async () => ({})) {
  const { engine, asked } = scripted(answer);
  const { orchestrator } = createTestOrchestrator([engine]);
  const listener = await start({ orchestrator, settings: { doors: ["ollama"] } });
  return { engine, asked, listener, orchestrator, client: clientOf(listener) };
}

function clientOf({ port, token }: TestListener): Ollama {
  return new Ollama({ host: `http://127.0.0.1:${port}`, headers: { authorization: `Bearer ${token}` } });
}

export const question = [{ role: "user", content: "What is the weather in Paris?" }];
export const weather = {
  type: "function",
  function: {
    name: "get_weather",
    description: "Weather of a city",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};

export async function linesOf(listener: TestListener, target: string, body: object) {
  const answer = await listener.ask(target, { body });
  return {
    ...answer,
    lines: answer.text.split("\n").flatMap((line) => (line === "" ? [] : [JSON.parse(line) as never])),
  };
}
