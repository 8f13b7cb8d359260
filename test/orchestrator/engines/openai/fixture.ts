import { onTestFinished } from "vitest";
import type { Engine } from "../../../../src/orchestrator/engines/engine.ts";
import { createOpenAiEngine } from "../../../../src/orchestrator/engines/openai/index.ts";
import type { OpenAiOptions } from "../../../../src/orchestrator/engines/openai/server.ts";
import { startFakeOpenAi, type FakeOpenAi, type FakeOpenAiOptions } from "../../../support/fake-openai.ts";

const limits = { connectMs: 5_000, firstTokenMs: 30_000, betweenTokensMs: 30_000, totalMs: 120_000 };

/** The options of an engine at that address; those of a local server unless given. */
export function openAiOptions(baseUrl: string, more: Partial<OpenAiOptions> = {}): OpenAiOptions {
  return {
    id: "house",
    serverKind: "local",
    baseUrl,
    trust: "local",
    apiKey: async () => undefined,
    limits,
    connections: 10,
    connectionKeepAliveMs: 30_000,
    allowedHosts: () => [],
    now: () => performance.now(),
    log: { debug() {}, info() {}, warn() {} },
    ...more,
  };
}

/** Starts a fake server and an engine for it; both are closed when the test ends. */
export async function startPair(
  fakeOptions: FakeOpenAiOptions = {},
  more: Omit<Partial<OpenAiOptions>, "limits"> & { readonly limits?: Partial<OpenAiOptions["limits"]> } = {},
  /** The end of the address as the settings have it, in place of the fake's base path. */
  written?: string,
): Promise<{ readonly fake: FakeOpenAi; readonly engine: Engine }> {
  const fake = await startFakeOpenAi(fakeOptions);
  onTestFinished(() => fake.close());
  const all = { ...more, limits: { ...limits, ...more.limits } };
  const engine = createOpenAiEngine(openAiOptions(written === undefined ? fake.baseUrl : fake.url + written, all));
  onTestFinished(() => engine.close());
  return { fake, engine };
}
