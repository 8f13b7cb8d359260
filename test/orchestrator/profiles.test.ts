import fc from "fast-check";
import { describe, expect, it, onTestFinished } from "vitest";
import { UnsupportedCapability } from "../../src/orchestrator/api/errors.ts";
import type { GenerationRequest } from "../../src/orchestrator/engines/generation.ts";
import { callerSettings } from "../../src/orchestrator/config/load.ts";
import { settingsSchema } from "../../src/orchestrator/config/schema.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../support/fake-engine.ts";
import type { FakeModel } from "../support/fake-ollama.ts";
import { createTestOrchestrator } from "../support/orchestrator.ts";
import { startPair } from "./engines/ollama/fixture.ts";

const roles = ["text", "vision", "audio", "web", "orchestrator", "swarm", "simple"];

/** Seven models, one of which sees and hears. */
const installed: readonly FakeModel[] = [
  { name: "llama3.1:8b", sizeBytes: 4_700_000, contextTokens: 131_072 },
  { name: "mistral:7b", sizeBytes: 4_100_000, contextTokens: 32_768 },
  { name: "qwen2.5:7b", sizeBytes: 4_600_000, contextTokens: 32_768 },
  { name: "phi4-mini:3.8b", sizeBytes: 2_500_000, contextTokens: 131_072 },
  { name: "tinyllama:1.1b", sizeBytes: 600_000, contextTokens: 2048 },
  { name: "gemma2:9b", sizeBytes: 5_400_000, contextTokens: 8192 },
  {
    name: "gemma3:4b",
    sizeBytes: 3_300_000,
    contextTokens: 131_072,
    capabilities: ["completion", "vision", "audio"],
  },
];

async function machine() {
  const { fake, engine } = await startPair({ models: installed });
  const harness = createTestOrchestrator([engine], { now: Date.now });
  onTestFinished(() => harness.orchestrator.close());
  return { ...harness, loads: () => fake.loads.map(({ name }) => name).toSorted() };
}

const shared = ["gemma3:4b", "phi4-mini:3.8b"];
const requests = [1, 2, 3].flatMap((turn) => roles.map((profile) => ({ profile, prompt: `Question ${turn}` })));

it("a model that lacks what a profile needs is not planned for it, and the reason says what it lacks", async () => {
  const blind = createFakeEngine("ollama", [fakeModel("llama3.2:3b", gigabyte), fakeModel("qwen2.5:3b", gigabyte)]);
  const { orchestrator, caller } = createTestOrchestrator([blind]);
  const asked = { prompt: "Hello", task: "general", profile: "vision" } as const;
  await expect(orchestrator.planGeneration(caller(), { ...asked, needs: ["vision"] })).rejects.toThrow(
    "none of the 2 models reads images",
  );
  const { reason } = await orchestrator.planGeneration(caller(), asked);
  expect(reason).toContain("lacks vision, which the profile vision needs");
  expect(reason).not.toContain("best available");
});

describe("seven roles with three requests each", () => {
  it("are served by two loaded models, whatever the order in which they arrive", async () => {
    const order = fc.shuffledSubarray(requests, { minLength: requests.length, maxLength: requests.length });
    await fc.assert(
      fc.asyncProperty(order, async (arriving) => {
        const { generate, loads, orchestrator } = await machine();
        for (const request of arriving) await generate(request);
        expect(loads()).toEqual(shared);
        await orchestrator.close();
      }),
      { numRuns: 6 },
    );
  }, 60_000);

  it("are served by two loaded models when all arrive at once", async () => {
    const { generate, loads } = await machine();
    const answers = await Promise.all(requests.map((request) => generate(request)));
    expect(loads()).toEqual(shared);
    const models = new Map(answers.map(({ route, model }) => [route.profile, model]));
    expect([...models].filter(([, model]) => model === "gemma3:4b").map(([profile]) => profile)).toEqual([
      "vision",
      "audio",
    ]);
  });

  it("would take seven loads with a model for each role", async () => {
    const { generate, loads } = await machine();
    for (const { prompt } of requests.slice(0, 3)) {
      for (const [at, profile] of roles.entries())
        await generate({ prompt, profile, model: installed[at]?.name ?? "" });
    }
    expect(loads()).toHaveLength(7);
  });
});

/** One engine that records what it is asked. */
function recording(profiles: object, more: { readonly settings?: object; readonly models?: readonly string[] } = {}) {
  const { models = ["llama3.1:8b"] } = more;
  const engine = createFakeEngine(
    "ollama",
    models.map((name) => fakeModel(name, gigabyte, { contextTokens: 131_072 })),
  );
  const asked: GenerationRequest[] = [];
  engine.answer = (request) => {
    asked.push(request);
    return Promise.resolve({});
  };
  const settings = settingsSchema.parse({ memory: { bufferBytes: 0 }, profiles, ...more.settings });
  const harness = createTestOrchestrator([engine], { settings });
  return { ...harness, asked, engine, settings: callerSettings(settings, new Map()) };
}

const legal = { legal: { temperature: 0.1, topP: 0.5, maxTokens: 77, system: "Quote the clause." } };

describe("a request's sampling and system prompt", () => {
  it("are those of the profile, before those of the model's settings and the general ones", async () => {
    const { generate, asked } = recording(legal, {
      settings: {
        models: { "*": { options: { temperature: 1, topP: 0.9, maxTokens: 5 }, system: "Be brief." } },
        options: { temperature: 1.5, topP: 0.8, maxTokens: 6 },
      },
    });
    await generate({ prompt: "Hi", profile: "legal" });
    expect(asked[0]).toMatchObject({
      sampling: { temperature: 0.1, topP: 0.5 },
      maxTokens: 77,
      messages: [{ role: "system", content: "Quote the clause." }, { role: "user" }],
    });
    await generate({ prompt: "Hi", profile: "general" });
    expect(asked[1]).toMatchObject({
      sampling: { temperature: 1, topP: 0.9 },
      maxTokens: 5,
      messages: [{ role: "system", content: "Be brief." }, { role: "user" }],
    });
  });

  it("are the request's own where it has them", async () => {
    const { generate, asked } = recording(legal);
    await generate({ prompt: "Hi", profile: "legal", temperature: 2, topP: 1, maxTokens: 9, system: "Own." });
    expect(asked[0]).toMatchObject({
      sampling: { temperature: 2, topP: 1 },
      maxTokens: 9,
      messages: [{ role: "system", content: "Own." }, { role: "user" }],
    });
  });

  it.each([
    ["named", { profile: "legal" }, "Quote the clause."],
    ["chosen by the task", {}, "Of the project."],
  ])("prefer the profile's prompt to the project's only when it is %s", async (_how, request, system) => {
    const { generate, asked, caller, settings } = recording(legal, {
      settings: { model: { routing: { defaultProfile: "legal" } } },
    });
    await generate(
      { prompt: "Hi", ...request },
      caller({ settings: { ...settings, systemPrompt: "Of the project." } }),
    );
    expect(asked[0]?.messages[0]).toMatchObject({ role: "system", content: system });
  });

  it("are not those of the profile for recordings if a transcript was only guessed from the words", async () => {
    const { generate, asked } = recording({});
    const prompt = "Explain what a transcript of records is";
    const guessed = await generate({ prompt });
    const stated = await generate({ prompt, task: "transcription" });
    expect([guessed, stated].map(({ route: { task, profile } }) => ({ task, profile }))).toEqual([
      { task: "transcription", profile: "general" },
      { task: "transcription", profile: "audio" },
    ]);
    expect(asked.map(({ messages: [first] }) => first?.role)).toEqual(["user", "system"]);
  });

  it("stay as they are in a conversation whose first turn had no system prompt", async () => {
    const { generate, asked, caller, settings } = recording(legal);
    const first = await generate({ prompt: "Hi", continueId: "new", task: "general" });
    const model = { ...settings.model, routing: { ...settings.model.routing, defaultProfile: "legal" } };
    const continueId = first.continueId ?? "";
    await generate({ prompt: "And?", continueId, task: "general" }, caller({ settings: { ...settings, model } }));
    expect(asked[1]?.messages.map(({ role }) => role)).toEqual(["user", "assistant", "user"]);
  });
});

describe("a profile's models", () => {
  it("are tried in its order, then those of its fallback chain", async () => {
    const models = ["llama3.1:8b", "phi4-mini:3.8b", "mistral:7b", "qwen2.5:7b"];
    const { orchestrator, caller } = recording(
      { mine: { models: ["qwen2.5:7b", "phi4-mini:3.8b"], fallback: ["mistral:7b"] } },
      { models },
    );
    const { route, reason } = await orchestrator.planGeneration(caller(), { prompt: "Hi", profile: "mine" });
    expect(route.considered.map(({ model }) => model)).toEqual([
      "qwen2.5:7b",
      "phi4-mini:3.8b",
      "mistral:7b",
      "llama3.1:8b",
    ]);
    expect(reason).toContain("fits mine profile");
  });

  it("come last when they were measured to be slower than it allows, or to fail more often", async () => {
    const models = ["llama3.1:8b", "mistral:7b"];
    const { orchestrator, caller, generate, engine } = recording(
      { quick: { extends: "general", maxLatencyMs: 500 }, sure: { extends: "general", minSuccessRate: 0.9 } },
      { models },
    );
    const first = async (profile: string) =>
      (await orchestrator.planGeneration(caller(), { prompt: "Hi", profile })).route.considered[0]?.model;
    expect([await first("quick"), await first("sure")]).toEqual(["llama3.1:8b", "llama3.1:8b"]);
    engine.answer = () => Promise.resolve({ firstTokenMs: 2000 });
    await generate({ prompt: "Hi", model: "llama3.1:8b" });
    expect([await first("quick"), await first("general")]).toEqual(["mistral:7b", "llama3.1:8b"]);
  });
});

describe("a model's own thresholds", () => {
  it("put it last once it was measured to miss them, and the reason says so", async () => {
    const models = ["llama3.1:8b", "mistral:7b"];
    const { orchestrator, caller, generate, engine } = recording({}, { models });
    const first = async (limits: Record<string, { maxLatencyMs?: number }>) => {
      const own = caller();
      const asked = { ...own, settings: { ...own.settings, models: limits } };
      return (await orchestrator.planGeneration(asked, { prompt: "Hi" })).route.considered[0]?.model;
    };
    engine.answer = () => Promise.resolve({ firstTokenMs: 2000 });
    await generate({ prompt: "Hi", model: "llama3.1:8b" });
    expect(await first({})).toBe("llama3.1:8b");
    expect(await first({ "llama*": { maxLatencyMs: 2500 } })).toBe("llama3.1:8b");
    expect(await first({ "llama*": { maxLatencyMs: 1500 } })).toBe("mistral:7b");
    expect(await first({ "*": { maxLatencyMs: 1500 } })).toBe("mistral:7b");
  });
});

describe("a recording", () => {
  const audio = [{ format: "wav", data: "UklGRg==" }] as const;
  const hears = { capabilities: ["completion", "audio"], contextTokens: 8192 } as const;

  it("goes to a model that hears, on an engine that takes its format", async () => {
    const models = [fakeModel("llama3.1:8b", gigabyte), fakeModel("gemma4:e4b", gigabyte, hears)];
    const engine = createFakeEngine("ollama", models, { audioFormats: ["wav"] });
    const asked: GenerationRequest[] = [];
    engine.answer = (request) => {
      asked.push(request);
      return Promise.resolve({});
    };
    const { generate } = createTestOrchestrator([engine]);
    const { model, route } = await generate({ prompt: "Write down what is said", audio });
    expect({ model, profile: route.profile, task: route.task }).toEqual({
      model: "gemma4:e4b",
      profile: "audio",
      task: "transcription",
    });
    expect(asked[0]?.messages.at(-1)).toMatchObject({ role: "user", audio });
    await expect(generate({ prompt: "Listen", audio: [{ format: "mp3", data: "SUQzBAA=" }] })).rejects.toThrow(
      "takes no mp3 recordings",
    );
  });

  it.each([
    ["no model hears", { capabilities: ["completion"] } as const, ["wav"] as const, "audio"],
    ["the engine takes none", hears, undefined, "takes no wav recordings"],
  ])("is refused before anything is sent if %s", async (_why, facts, audioFormats, problem) => {
    const engine = createFakeEngine("ollama", [fakeModel("m:1b", gigabyte, facts)], audioFormats && { audioFormats });
    let answered = 0;
    engine.answer = () => {
      answered += 1;
      return Promise.resolve({});
    };
    const { generate } = createTestOrchestrator([engine]);
    for (const model of [undefined, "m:1b"]) {
      const failure = generate({ prompt: "Listen", audio, ...(model !== undefined && { model }) });
      await expect(failure).rejects.toThrow(problem);
      await expect(failure).rejects.toThrow(UnsupportedCapability);
    }
    expect(answered).toBe(0);
  });
});
