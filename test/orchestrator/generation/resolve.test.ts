import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { GenerateRequest } from "../../../src/orchestrator/api/facade.ts";
import type { CallerContext } from "../../../src/orchestrator/api/types.ts";
import { callerSettings } from "../../../src/orchestrator/config/load.ts";
import { settingsSchema } from "../../../src/orchestrator/config/schema.ts";
import type { GenerationRequest } from "../../../src/orchestrator/engines/generation.ts";
import { originsOf, resolve } from "../../../src/orchestrator/generation/resolve.ts";
import { forModel } from "../../../src/orchestrator/routing/model-overrides.ts";
import { choiceOf } from "../../../src/orchestrator/generation/route.ts";
import { plainSettings } from "../../support/caller-settings.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";

const prices = { inputPerMillion: 10, outputPerMillion: 10, currency: "USD", date: "2026-11-23" };

it("a model whose setting limits its answers is charged for that many tokens by the router, too", async () => {
  const engine = createFakeEngine("paid", [fakeModel("kimi-k2", gigabyte, { trust: "remote" })], {
    kind: "openai",
    trust: "remote",
    pricesOf: () => prices,
    // 4,096 tokens cost 0.04.
    monthlyBudget: 0.01,
  });
  const { generate } = createTestOrchestrator([engine], {
    settings: { privacy: "allow_remote", models: { "kimi*": { options: { maxTokens: 100 } } } },
    now: Date.now,
  });
  expect((await generate({ prompt: "hello" })).model).toBe("kimi-k2");
  expect((await generate({ prompt: "hello", model: "kimi-k2" })).model).toBe("kimi-k2");
});

const maybe = <Value>(value: fc.Arbitrary<Value>) => fc.option(value, { nil: undefined });
const temperature = fc.constantFrom(0, 0.1, 0.9, 1.5);
const topP = fc.constantFrom(0.2, 0.5, 1);
const maxTokens = fc.integer({ min: 1, max: 6000 });
const contextTokens = fc.constantFrom(4096, 6000, 16_384, 100_000);
const system = fc.constantFrom("Be brief.", "Rhyme.");
const given = <Shape extends object>(shape: { [Key in keyof Shape]: fc.Arbitrary<Shape[Key]> }) =>
  fc.record(shape).map((record) => JSON.parse(JSON.stringify(record)) as Partial<Shape>);

const layers = fc.record({
  request: given({
    temperature: maybe(temperature),
    topP: maybe(topP),
    maxTokens: maybe(maxTokens),
    contextTokens: maybe(contextTokens),
    system: maybe(system),
    profile: maybe(fc.constantFrom("mine", "simple", "general")),
  }),
  profile: given({
    temperature: maybe(temperature),
    topP: maybe(topP),
    maxTokens: maybe(maxTokens),
    system: maybe(system),
  }),
  models: given({
    options: given({ temperature: maybe(temperature), topP: maybe(topP), maxTokens: maybe(maxTokens) }),
    contextTokens: maybe(contextTokens),
    system: maybe(system),
  }),
  options: given({ temperature: maybe(temperature), topP: maybe(topP), maxTokens: maybe(maxTokens) }),
  numCtx: maybe(contextTokens),
  own: given({ temperature: maybe(temperature), num_predict: maybe(maxTokens), num_ctx: maybe(contextTokens) }),
});

const model = "poet:latest";
const windowTokens = 8192;

describe("the options of a request", () => {
  it("do not depend on which stage asks: router, reservation, engine and load have the same", async () => {
    await fc.assert(
      fc.asyncProperty(layers, async ({ request, profile, models, options, numCtx, own }) => {
        const settings = settingsSchema.parse({
          model: { routing: { defaultProfile: "mine" } },
          profiles: { mine: { extends: "general", ...profile } },
          models: { "poet*": models },
          options,
          providers: { ollama: { options: { ...(numCtx !== undefined && { numCtx }) } } },
        });
        const unset = (["temperature", "maxTokens"] as const).filter((name) => options[name] === undefined);
        const sent: GenerationRequest[] = [];
        const engine = createFakeEngine("ollama", [fakeModel(model, gigabyte, { contextTokens: windowTokens })]);
        const { describe: plain } = engine;
        Object.assign(engine, {
          describe: async (name: string, signal: AbortSignal) => ({ ...(await plain(name, signal)), parameters: own }),
          answer: (asked: GenerationRequest) => {
            sent.push(asked);
            return Promise.resolve({});
          },
        });
        const { orchestrator, caller, generate } = createTestOrchestrator([engine], { settings });
        const asking = caller({ settings: { ...callerSettings(settings), unset } });
        const whole = { prompt: "Hi", task: "general", ...request } as GenerateRequest;
        const planned = await orchestrator.planGeneration(asking, whole);
        const loaded = await orchestrator.planLoad(asking, {
          model,
          ...(request.contextTokens !== undefined && { contextTokens: Math.min(request.contextTokens, windowTokens) }),
        });
        await generate(whole, asking);

        const resolved = resolve(whole, asking);
        const ownDefaults = JSON.parse(
          JSON.stringify({ temperature: own.temperature, maxTokens: own.num_predict, contextTokens: own.num_ctx }),
        ) as object;
        const expected = forModel(resolved, model, ownDefaults);
        const [{ sampling, maxTokens: sentTokens, contextTokens: sentContext, messages } = {} as GenerationRequest] =
          sent;
        expect(sampling).toEqual(expected.sampling);
        expect(messages.find(({ role }) => role === "system")?.content).toBe(expected.system);
        expect(sentTokens).toBe(Math.min(expected.maxTokens, windowTokens - 8));
        expect(sentContext).toBe(planned.plan.contextTokens);
        if (request.maxTokens === undefined) expect(loaded.contextTokens).toBe(planned.plan.contextTokens);
        expect(choiceOf(resolved).ask.limitOf?.(model)).toBe(forModel(resolved, model, {}).maxTokens);
        expect(choiceOf(resolved).ask.privacy).toBe(resolved.privacy);
      }),
      { numRuns: 60 },
    );
  });

  it("say where they come from, unless it is the request", () => {
    const settings = {
      ...plainSettings,
      models: { "kimi*": { options: { maxTokens: 100 } }, "*": { system: "Rhyme." } },
      profiles: { mine: { extends: "general", topP: 0.5 } },
      unset: ["temperature", "maxTokens"] as const,
    };
    const caller = {
      id: "test",
      client: "test",
      roots: [],
      settings,
      signal: AbortSignal.timeout(1000),
    } as CallerContext;
    const from = (request: Partial<GenerateRequest>, name = "kimi-k2", own = {}) => {
      const resolved = resolve({ prompt: "Hi", ...request }, caller);
      return originsOf(resolved, name, forModel(resolved, name, own)).map((each) => `${each.name}: ${each.from}`);
    };
    expect(from({ profile: "mine" }).toSorted()).toEqual([
      "maxTokens: models.kimi*",
      "system: models.*",
      "temperature: default",
      "topP: profile mine",
    ]);
    expect(from({ maxTokens: 5, temperature: 0, system: "Prose." }, "llama3.2")).toEqual([]);
    expect(from({}, "poet", { temperature: 1.2, contextTokens: 512 })).toContain("temperature: model");
    expect(from({}, "poet", { temperature: 1.2, contextTokens: 512 })).toContain("contextTokens: model");
  });
});
