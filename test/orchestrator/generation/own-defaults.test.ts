import { describe, expect, it } from "vitest";
import type { GenerationRequest } from "../../../src/orchestrator/engines/generation.ts";
import type { GenerateRequest } from "../../../src/orchestrator/api/facade.ts";
import type { ModelFacts } from "../../../src/orchestrator/api/types.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";

const poet = fakeModel("poet:latest", gigabyte, { modifiedAt: "2026-01-01T00:00:00.000Z" });
const parameters = { temperature: 1.2, num_predict: 7, num_ctx: 8192 };

/** The engine's request for a model that has its own system prompt and parameters. */
async function asked(
  request: Partial<GenerateRequest> = {},
  settings: object = { unset: ["temperature", "maxTokens"] },
  own: Partial<ModelFacts> = { system: "You rhyme.", parameters },
) {
  const engine = createFakeEngine("ollama", [poet]);
  const { describe: plain } = engine;
  const seen: GenerationRequest[] = [];
  const harness = createTestOrchestrator([
    Object.assign(engine, {
      describe: async (name: string, signal: AbortSignal) => ({ ...(await plain(name, signal)), ...own }),
      answer: (generation: GenerationRequest) => {
        seen.push(generation);
        return Promise.resolve({});
      },
    }),
  ]);
  const plainCaller = harness.caller();
  const caller = harness.caller({ settings: { ...plainCaller.settings, ...settings } });
  await harness.orchestrator.memories.remember(caller, { key: "style", value: "Be brief.", category: "preference" });
  await (
    await harness.orchestrator.generate(caller, { prompt: "hi", model: "poet", ...request })
  ).follow(caller.signal);
  const [first] = seen;
  if (first === undefined) throw new Error("the engine got no request");
  const { messages, sampling, maxTokens, contextTokens } = first;
  const [system] = messages.filter(({ role }) => role === "system").map(({ content }) => content);
  return { system, temperature: sampling.temperature, maxTokens, contextTokens, calls: engine.calls };
}

describe("a model's own defaults", () => {
  it("apply where neither request nor settings have a value", async () => {
    expect(await asked()).toMatchObject({ temperature: 1.2, maxTokens: 7, contextTokens: 8192 });
  });

  it("include the system prompt, before remembered entries", async () => {
    const { system } = await asked();
    expect(system).toMatch(/^You rhyme\.\n\n[\s\S]*Be brief\./);
  });

  it("are overridden by the request", async () => {
    const request = { system: "Prose.", temperature: 0.1, maxTokens: 50, contextTokens: 16_384, useMemory: false };
    expect(await asked(request)).toMatchObject({
      system: "Prose.",
      temperature: 0.1,
      maxTokens: 50,
      contextTokens: 16_384,
    });
  });

  it("are overridden by explicit settings, but not by default settings", async () => {
    expect(await asked({}, {})).toMatchObject({ temperature: 0.7, maxTokens: 4096, contextTokens: 8192 });
    expect(await asked({}, { unset: [] })).toMatchObject({ temperature: 0.7, maxTokens: 4096 });
    const models = { "poet*": { options: { temperature: 0.3, maxTokens: 9 }, system: "Rap.", contextTokens: 512 } };
    const more = await asked({ useMemory: false }, { models, unset: ["temperature", "maxTokens"] });
    expect(more).toMatchObject({ system: "Rap.", temperature: 0.3, maxTokens: 9 });
  });

  it("are ignored where they are invalid or mean no limit", async () => {
    const invalid = { temperature: "hot", num_predict: -1, num_ctx: 1.5 };
    expect(await asked({}, undefined, { parameters: invalid })).toMatchObject({
      temperature: 0.7,
      maxTokens: 4096,
      contextTokens: 4096,
    });
  });
});
