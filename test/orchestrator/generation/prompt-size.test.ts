import { describe, expect, it } from "vitest";
import { estimateTokens } from "../../../src/orchestrator/routing/tokens.ts";
import { type OrchestratorError, PromptTooLong } from "../../../src/orchestrator/api/errors.ts";
import { advice } from "../../../src/orchestrator/api/next-step.ts";
import { createFakeEngine, createGate, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";

const window = 8192;
const narrow = fakeModel("llama3.2:3b", gigabyte, { contextTokens: window });
const wide = fakeModel("mistral:7b", 4 * gigabyte, { contextTokens: 32_768 });

const inParts = { step: "setArgument", argument: "split", to: "auto" };

/** Text of about that many tokens, by estimate. */
const textOf = (tokens: number) => "word ".repeat(tokens);

/** An engine whose tokenizer counts `tokens` for every prompt and records its calls. */
function countingEngine(tokens: number, models = [narrow]) {
  const counted: string[] = [];
  const engine = createFakeEngine("llama-cpp", models, {
    kind: "llama-cpp",
    tokenizer: {
      count: () => Promise.resolve(undefined),
      countPrompt({ model }) {
        counted.push(model);
        return Promise.resolve(tokens);
      },
    },
  });
  return { engine, counted };
}

/** An engine without a tokenizer that, like Ollama, refuses a prompt larger than the context. */
function refusingEngine(tokens: number, models = [narrow]) {
  const engine = createFakeEngine("ollama", models);
  engine.answer = ({ contextTokens, model }) =>
    tokens < contextTokens
      ? Promise.resolve({})
      : Promise.reject(
          new PromptTooLong(`${model} is loaded with a context of ${contextTokens}`, {
            promptTokens: tokens,
            contextTokens,
          }),
        );
  return engine;
}

async function refusalOf(work: Promise<unknown>): Promise<OrchestratorError> {
  return (await work.then(
    () => expect.unreachable("it was answered"),
    (error: unknown) => error,
  )) as OrchestratorError;
}

it("a model with a small vocabulary is loaded with more context for Japanese", async () => {
  const contextFor = async (vocabularySize: number) => {
    const engine = createFakeEngine("ollama", [narrow], {
      describe: (name) =>
        Promise.resolve({ name, sizeBytes: gigabyte, capabilities: ["completion"], trust: "local", vocabularySize }),
    });
    await createTestOrchestrator([engine]).generate({ prompt: "すべての人間は自由である。".repeat(300) });
    return engine.calls.find((call) => call.startsWith("load"));
  };
  expect([await contextFor(151_936), await contextFor(49_152)]).toEqual([
    "load llama3.2:3b 4096",
    "load llama3.2:3b 8192",
  ]);
});

describe("a prompt that is estimated to be longer than every window", () => {
  it("is answered if it fits by the model's own count", async () => {
    const { engine, counted } = countingEngine(6301);
    expect(estimateTokens(textOf(8462))).toBeGreaterThan(window);
    const answer = await createTestOrchestrator([engine]).generate({ prompt: textOf(8462) });
    expect(answer.model).toBe(narrow.name);
    expect(answer.reason).toMatch(/prompt estimated at \d+ tokens for its window of 8192/);
    expect(counted).toEqual([narrow.name]);
  });

  it("is answered if the engine accepts it, without a tokenizer", async () => {
    const answer = await createTestOrchestrator([refusingEngine(6301)]).generate({ prompt: textOf(8462) });
    expect(answer.model).toBe(narrow.name);
  });

  it("is refused without a count if even half of it does not fit", async () => {
    const { engine, counted } = countingEngine(0);
    const error = await refusalOf(createTestOrchestrator([engine]).generate({ prompt: textOf(20_000) }));
    expect(error).toBeInstanceOf(PromptTooLong);
    expect(error).toMatchObject({ contextTokens: 8192, isExact: false });
    expect(error.message).toMatch(/^the prompt has about 2\d{4} tokens; the window has 8192 \(llama3\.2:3b\)$/);
    expect(error.next).toEqual([
      { step: "shortenPrompt", byTokens: expect.closeTo(15_000, -4) as number },
      { step: "pullModelThat", that: "that has a window of 131072 tokens", example: "granite4.1:8b" },
      inParts,
    ]);
    expect([counted, engine.calls]).toEqual([[], []]);
  });
});

describe("a prompt that its model's tokenizer counts", () => {
  it("is refused before it queues", async () => {
    const { engine } = countingEngine(9031);
    const harness = createTestOrchestrator([engine]);
    const gate = createGate();
    engine.answer = async (_request, _sink, signal) => {
      await gate.pass(signal);
      return {};
    };
    const first = harness.generate({});
    await gate.entered;
    const error = await refusalOf(harness.generate({ model: narrow.name, prompt: textOf(9000) }));
    expect(error).toBeInstanceOf(PromptTooLong);
    expect(error.message).toBe("the prompt has 9031 tokens; the window of llama3.2:3b has 8192");
    expect(error.next).toEqual([{ step: "shortenPrompt", byTokens: 1095 }, inParts]);
    gate.open();
    await first;
    expect(engine.calls.filter((call) => call.startsWith("generate"))).toHaveLength(1);
  });

  it("is not counted while its estimate is far from the window", async () => {
    const { engine, counted } = countingEngine(100);
    await createTestOrchestrator([engine]).generate({ prompt: textOf(2000) });
    expect(counted).toEqual([]);
  });

  it("is loaded with the context for the counted tokens", async () => {
    const { engine } = countingEngine(2500);
    await createTestOrchestrator([engine]).generate({ prompt: textOf(6000) });
    expect(engine.calls).toEqual(["load llama3.2:3b 4096", "generate llama3.2:3b"]);
  });

  it("is refused by a plan, too", async () => {
    const { engine } = countingEngine(9031);
    const { orchestrator, caller } = createTestOrchestrator([engine]);
    const error = await refusalOf(orchestrator.planGeneration(caller(), { model: narrow.name, prompt: textOf(9000) }));
    expect(error.message).toBe("the prompt has 9031 tokens; the window of llama3.2:3b has 8192");
  });
});

describe("a prompt beyond a model's whole window", () => {
  it("is answered by the next model with a larger window, skipping equal ones", async () => {
    const equal = fakeModel("llama3.1:8b", gigabyte, { contextTokens: window });
    const engine = refusingEngine(9031, [narrow, equal, wide]);
    const harness = createTestOrchestrator([engine], { settings: { model: { default: narrow.name } } });
    const answer = await harness.generate({ prompt: textOf(7000) });
    expect(answer.model).toBe(wide.name);
    expect(answer.reason).toMatch(/; the window of llama3\.2:3b is too short$/);
    expect(engine.calls.filter((call) => call.startsWith("generate"))).toEqual([
      `generate ${narrow.name}`,
      // Its context grows by the engine's count.
      `generate ${wide.name}`,
      `generate ${wide.name}`,
    ]);
  });

  it("is refused with the installed models whose window is large enough and that fit", async () => {
    const huge = fakeModel("llama3.1:70b", 40 * gigabyte, { contextTokens: 131_072 });
    const blind = fakeModel("nomic-embed-text", gigabyte, { contextTokens: 32_768, capabilities: ["embedding"] });
    const engine = refusingEngine(9031, [narrow, wide, huge, blind]);
    const error = await refusalOf(
      createTestOrchestrator([engine]).generate({ model: narrow.name, prompt: textOf(7000) }),
    );
    expect(error).toBeInstanceOf(PromptTooLong);
    expect(error.message).toBe("the prompt has 9031 tokens; the window of llama3.2:3b has 8192");
    expect(error.next).toEqual([
      { step: "useModel", model: "mistral:7b", because: "a window of 32768 tokens" },
      inParts,
    ]);
  });

  it("is refused with what to leave out, if no model is suitable", async () => {
    const { generate } = createTestOrchestrator([refusingEngine(9031)]);
    const ask = { model: narrow.name, prompt: "Why?" };
    const whole = { ...ask, split: "none" } as const;
    const file = (path: string, tokens: number) => ({ path, text: textOf(tokens) });
    expect((await refusalOf(generate({ ...ask, prompt: textOf(7000) }))).next).toEqual([
      { step: "shortenPrompt", byTokens: 1095 },
      inParts,
    ]);
    const files = [file("long.txt", 4000), file("short.txt", 1500), file("tiny.txt", 100)];
    expect((await refusalOf(generate({ ...whole, files }))).next).toEqual([
      advice(expect.stringMatching(/^leave out 1095 tokens of the files: short\.txt has about 15\d\d$/) as string),
      { step: "omitArgument", argument: "split" },
    ]);
    expect((await refusalOf(generate({ ...whole, files: [file("long.txt", 7000)] }))).next).toEqual([
      advice("leave out 1095 tokens of the files"),
      { step: "omitArgument", argument: "split" },
    ]);
  });
});
