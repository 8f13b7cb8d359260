import { onTestFinished } from "vitest";
import { createOllamaEngine } from "../../../../src/orchestrator/engines/ollama/index.ts";
import type { OllamaTimeouts } from "../../../../src/orchestrator/engines/ollama/transport.ts";
import type { GenerationRequest, GenerationSink } from "../../../../src/orchestrator/engines/generation.ts";
import type { NextStep } from "../../../../src/orchestrator/api/next-step.ts";
import { startFakeOllama, type FakeOllama, type FakeOllamaOptions } from "../../../support/fake-ollama.ts";

type OllamaEngineOptions = Parameters<typeof createOllamaEngine>[0];

export const never = new AbortController().signal;

/** Creates an engine for that address; it is closed when the test ends. */
export function engineAt(
  host: string,
  timeouts: Partial<OllamaTimeouts> = {},
  more: Pick<OllamaEngineOptions, "allowedHosts" | "inspect" | "pool"> = {},
): ReturnType<typeof createOllamaEngine> {
  const log = { debug() {}, info() {}, warn() {} };
  const engine = createOllamaEngine({ host, now: () => performance.now(), log, timeouts, ...more });
  onTestFinished(() => engine.close());
  return engine;
}

/** Starts a fake server and an engine for it; both are closed when the test ends. */
export async function startPair(
  options: FakeOllamaOptions = {},
  timeouts: Partial<OllamaTimeouts> = {},
): Promise<{ readonly fake: FakeOllama; readonly engine: ReturnType<typeof createOllamaEngine> }> {
  const fake = await startFakeOllama(options);
  onTestFinished(() => fake.close());
  return { fake, engine: engineAt(fake.url, timeouts) };
}

export function chatRequest(request: Partial<GenerationRequest> = {}): GenerationRequest {
  return {
    model: "smollm2:135m",
    messages: [{ role: "user", content: "Name three colours." }],
    maxTokens: 64,
    sampling: {},
    contextTokens: 2_048,
    ...request,
  };
}

/** A sink that records all calls. */
export function createRecorder(): GenerationSink & {
  readonly heard: { text: string[]; thinking: string[]; phases: string[] };
} {
  const heard = { text: [] as string[], thinking: [] as string[], phases: [] as string[] };
  return {
    heard,
    text: (delta) => heard.text.push(delta),
    thinking: (delta) => heard.thinking.push(delta),
    phase: (phase) => heard.phases.push(phase),
  };
}

/** Returns the error of a promise that must reject. */
export async function rejection(
  promise: Promise<unknown>,
): Promise<Error & { next?: readonly NextStep[]; cause?: unknown }> {
  try {
    await promise;
  } catch (error) {
    return error as Error;
  }
  throw new Error("it did not reject");
}
