import { describe, expect, it } from "vitest";
import { ModelDoesNotFit, PromptTooLong } from "../../../src/orchestrator/api/errors.ts";
import type { Progress } from "../../../src/orchestrator/api/types.ts";
import { readingPrompt } from "../../../src/orchestrator/reading/parts.ts";
import { estimateTokens } from "../../../src/orchestrator/routing/tokens.ts";
import { createFakeEngine, createGate, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";
import {
  createReadingEngine,
  isReading,
  narrowModel,
  portsFile,
  portsIn,
  portsQuestion as prompt,
  promptOf,
} from "../../support/reading-engine.ts";

const files = [portsFile("guide.md", 20)];
const allPorts = Array.from({ length: 20 }, (_, index) => String(9000 + index));
const wide = fakeModel("mistral:7b", 4 * gigabyte, { contextTokens: 32_768 });

describe("files beyond every window", () => {
  it("are read in parts, each in the window, and all of them reach the answer", async () => {
    const { engine, requests, read } = createReadingEngine();
    const answer = await createTestOrchestrator([engine]).generate({ prompt, files });
    expect(answer.text.split(" ")).toEqual(allPorts);
    expect(read().length).toBeGreaterThan(4);
    expect(answer.parts).toEqual({ total: read().length });
    for (const request of read()) expect(estimateTokens(promptOf(request)) + request.maxTokens).toBeLessThan(2048);
    expect(requests.filter((request) => !isReading(request))).toHaveLength(1);
  });

  it("cost the tokens, times and attempts of all requests, in one line each", async () => {
    const { engine, requests } = createReadingEngine();
    const answer = await createTestOrchestrator([engine]).generate({ prompt, files });
    expect(answer).toMatchObject({ completionTokens: requests.length * 8, promptTokens: requests.length * 5 });
    expect(answer.route.attempts).toEqual([
      { model: narrowModel.name, engine: "ollama", outcome: `answered (${requests.length} requests)` },
    ]);
    expect(answer.reason).not.toMatch(/requested/);
    expect(answer.notes).toEqual([]);
  });

  it("share the beginning of their prompts, so that the engine reads it once", async () => {
    const { engine, read } = createReadingEngine();
    await createTestOrchestrator([engine]).generate({ prompt, files, system: "Be brief." });
    const [first = "", second = ""] = read().map(promptOf);
    const upToQuestion = first.slice(0, first.indexOf(prompt) + prompt.length);
    expect(upToQuestion.length).toBeGreaterThan(prompt.length);
    expect(second.startsWith(upToQuestion)).toBe(true);
    expect(read().every(({ messages }) => messages[0]?.content === "Be brief.")).toBe(true);
  });

  it.each([
    ["llama-cpp", 1],
    ["ollama", 3],
  ] as const)("are asked for with one load on %s, at most %i at a time", async (kind, parallel) => {
    let [running, most] = [0, 0];
    const { engine } = createReadingEngine({
      more: { kind },
      before: async () => {
        running += 1;
        most = Math.max(most, running);
        await new Promise((resolve) => setImmediate(resolve));
        running -= 1;
        return undefined;
      },
    });
    await createTestOrchestrator([engine]).generate({ prompt, files });
    expect(engine.calls.filter((call) => call.startsWith("load"))).toHaveLength(1);
    expect(most).toBe(parallel);
  });

  it("keep the context of the loaded model, and are read whole by a model whose window holds them", async () => {
    const narrow = createReadingEngine({
      models: [{ ...narrowModel, contextTokens: 131_072 }],
      before: async () => ({ text: "Ports from 9000 on." }),
    });
    await createTestOrchestrator([narrow.engine]).generate({ prompt, files: [portsFile("long.md", 1200)] });
    expect(narrow.engine.calls.filter((call) => call.startsWith("load"))).toEqual([`load ${narrowModel.name} 4096`]);

    const { engine, requests } = createReadingEngine({ models: [narrowModel, wide] });
    const answer = await createTestOrchestrator([engine]).generate({ prompt, files });
    expect(answer).toMatchObject({ model: wide.name });
    expect(answer.parts).toBeUndefined();
    expect(requests).toHaveLength(1);
  });

  it("are read in parts by a named model, and by no other", async () => {
    const { engine, requests } = createReadingEngine({ models: [narrowModel, wide] });
    const answer = await createTestOrchestrator([engine]).generate({ prompt, files, model: narrowModel.name });
    expect(answer.parts?.total).toBeGreaterThan(4);
    expect(new Set(requests.map(({ model }) => model))).toEqual(new Set([narrowModel.name]));
  });

  it("are read in parts if the context for all of them does not fit in memory", async () => {
    const { engine, requests } = createReadingEngine({ models: [wide] });
    engine.beforeLoad = (name, { contextTokens }) =>
      contextTokens > 4096 ? Promise.reject(new ModelDoesNotFit(`${name} does not fit`)) : Promise.resolve();
    const answer = await createTestOrchestrator([engine]).generate({ prompt, files });
    expect(answer.parts?.total).toBeGreaterThan(1);
    expect(portsIn(answer.text)).toEqual(allPorts);
    expect(requests.every(({ contextTokens }) => contextTokens === 4096)).toBe(true);
  });

  it("are counted by the tokenizer of a loaded model, so that there are fewer parts", async () => {
    const partsWith = async (more: object) => {
      const { engine } = createReadingEngine({ more: { kind: "llama-cpp", ...more } });
      const orchestrator = createTestOrchestrator([engine]);
      await orchestrator.generate({ prompt: "hello" });
      return (await orchestrator.generate({ prompt, files })).parts?.total ?? 0;
    };
    const count = (_model: string, text: string) => Promise.resolve(Math.ceil(estimateTokens(text) / 2));
    const countPrompt = () => Promise.resolve(1500);
    expect(await partsWith({ tokenizer: { count, countPrompt } })).toBeLessThan((await partsWith({})) * 0.6);
  });

  it("are joined in several levels if the notes exceed the window, and parts that say nothing are left out", async () => {
    const words = "seven words that fill the notes here ".repeat(10);
    const { engine, requests } = createReadingEngine({
      models: [{ ...narrowModel, contextTokens: 1024 }],
      before: async (request, reading) => {
        if (reading % 2 === 1) return { text: " Nothing. " };
        return { text: `${portsIn(promptOf(request)).join(" ")} ${words}`, completionTokens: 90 };
      },
    });
    const answer = await createTestOrchestrator([engine]).generate({ prompt, files: [portsFile("guide.md", 80)] });
    const joins = requests.filter((request) => promptOf(request).includes("Join the notes"));
    // Notes on joined notes.
    expect(joins.filter((request) => / and \d+ more\n.* and \d+ more\n/s.test(promptOf(request)))).not.toEqual([]);
    const last = promptOf(requests.at(-1) as (typeof requests)[number]);
    expect(estimateTokens(last)).toBeLessThan(1024);
    expect(last).not.toContain("Nothing.");
    expect(answer.parts?.missing).toBeUndefined();
  });
});

describe("what the request says of its answer", () => {
  it("holds for the answer, not for the notes", async () => {
    const { engine, requests } = createReadingEngine({
      models: [{ ...narrowModel, capabilities: ["completion", "thinking"] }],
      before: async (request) => (request.format === undefined ? undefined : { text: "{}" }),
    });
    const ask = {
      format: { type: "object" },
      maxTokens: 40,
      temperature: 0.1,
      think: true,
      keepAliveSeconds: 0,
    } as const;
    const { text } = await createTestOrchestrator([engine]).generate({ prompt, files, ...ask });
    expect(text).toBe("{}");
    const notes = requests.filter(isReading);
    expect(requests.at(-1)).toMatchObject({ format: ask.format, maxTokens: 40, think: true, keepAliveSeconds: 0 });
    for (const request of notes) {
      expect(request).toMatchObject({ think: false, sampling: { temperature: 0.1 } });
      expect([request.format, request.keepAliveSeconds === 0]).toEqual([undefined, false]);
    }
  });

  it("is a conversation that keeps the question and the answer, not the files", async () => {
    const { engine, requests } = createReadingEngine();
    const { generate } = createTestOrchestrator([engine]);
    const first = await generate({ prompt, files, continueId: "new" });
    expect(first.conversationTokens).toBeLessThan(150);
    await generate({ prompt: "And which is the lowest?", continueId: first.continueId ?? "" });
    const messages = requests.at(-1)?.messages ?? [];
    expect(messages.map(({ content }) => content)).toEqual([prompt, first.text, "And which is the lowest?"]);
    // A later question about long files: its parts have the turns so far.
    await generate({ prompt: "And in this file?", files, continueId: first.continueId ?? "" });
    expect(requests.filter(isReading).at(-1)?.messages[0]?.content).toBe(prompt);
  });

  it("is planned without a request: the plan has the number of parts", async () => {
    const { engine } = createReadingEngine();
    const { orchestrator, caller, generate } = createTestOrchestrator([engine]);
    const plan = await orchestrator.planGeneration(caller(), { prompt, files });
    expect(plan).toMatchObject({ model: narrowModel.name, plan: { contextTokens: 2048 } });
    expect(engine.calls).toEqual([]);
    expect((await generate({ prompt, files })).parts).toEqual(plan.parts);
  });

  it("is progress: which part is read, how much of the text, and when", async () => {
    const { engine } = createReadingEngine({ more: { kind: "llama-cpp" } });
    const { orchestrator, caller } = createTestOrchestrator([engine]);
    const seen: Progress[] = [];
    const operation = await orchestrator.generate(caller(), { prompt, files });
    const answer = await operation.follow(caller().signal, (progress) => void seen.push(progress));
    const total = answer.parts?.total ?? 0;
    const [first, second] = seen.map(({ message }) => message);
    expect([first, second]).toEqual(["choosing a model", "the text exceeds the context window: splitting it"]);
    expect(seen.map(({ message }) => message)).toContain(
      `part 2 of ${total} (guide.md: Section 4): ${narrowModel.name}: 1 token`,
    );
    const parts = seen.flatMap((progress) => progress.parts ?? []);
    expect(parts[0]).toMatchObject({ done: [], total, doneTokens: 0 });
    expect(parts.at(-1)?.done).toHaveLength(total);
    expect(parts.at(-1)?.doneTokens).toBe(parts.at(-1)?.totalTokens);
    const done = parts.map(({ doneTokens }) => doneTokens);
    expect(done).toEqual(done.toSorted((a, b) => a - b));
  });
});

describe("a request that is not to be split", () => {
  it("is refused as before with split none, and the next step says what to do", async () => {
    const { engine } = createReadingEngine();
    const refused = createTestOrchestrator([engine]).generate({ prompt, files, split: "none" });
    await expect(refused).rejects.toBeInstanceOf(PromptTooLong);
    await expect(refused).rejects.toMatchObject({
      next: expect.arrayContaining([{ step: "omitArgument", argument: "split" }]) as unknown,
    });
    expect(engine.calls).toEqual([]);
  });

  it("is refused with images, or with a question that fills the window by itself", async () => {
    const sees = { ...narrowModel, capabilities: ["completion", "vision"] as const };
    const { engine } = createReadingEngine({ models: [sees] });
    const { generate } = createTestOrchestrator([engine]);
    await expect(generate({ prompt, files, images: ["aW1hZ2U="] })).rejects.toBeInstanceOf(PromptTooLong);
    await expect(generate({ prompt: `${prompt} `.repeat(600), files })).rejects.toBeInstanceOf(PromptTooLong);
    expect(engine.calls.filter((call) => call.startsWith("generate"))).toEqual([]);
  });

  it("is answered with one request if it fits, and one more look at nothing", async () => {
    const { engine, requests } = createReadingEngine();
    const answer = await createTestOrchestrator([engine]).generate({ prompt, files: [portsFile("short.md", 2)] });
    expect(answer.parts).toBeUndefined();
    expect(requests).toHaveLength(1);
  });
});

describe("a prompt beyond every window", () => {
  const [{ text }] = files as [(typeof files)[number]];
  const long = `${prompt}\n\n${text}\nName only the numbers.`;

  it("is refused without split, and the next step names it", async () => {
    const { engine } = createReadingEngine();
    await expect(createTestOrchestrator([engine]).generate({ prompt: long })).rejects.toMatchObject({
      next: expect.arrayContaining([{ step: "setArgument", argument: "split", to: "auto" }]) as unknown,
    });
    expect(engine.calls).toEqual([]);
  });

  it("is read in parts with split auto: its first and last paragraphs are the question about each part", async () => {
    const { engine, read, requests } = createReadingEngine();
    const answer = await createTestOrchestrator([engine]).generate({ prompt: long, split: "auto" });
    expect(portsIn(answer.text)).toEqual(allPorts);
    expect(read().length).toBeGreaterThan(4);
    for (const request of read()) expect(promptOf(request)).toContain(`${prompt}\n\nName only the numbers.`);
    expect(promptOf(requests.at(-1) as (typeof requests)[number])).toMatch(/Name only the numbers\.$/);
    const fenced = read().map((request) => /```[^]*```/.exec(promptOf(request))?.[0] ?? prompt);
    for (const part of fenced) expect(part).not.toContain("Which ports");
  });

  it("repeats a short question behind each part, where small models follow it, but no long one", () => {
    const passages = [{ path: "a.md", text: "Port 9000.\n", firstLine: 1, lastLine: 1, headings: [] }];
    const timesIn = (question: string) => readingPrompt(question, { passages }).split(question).length - 1;
    expect(timesIn(prompt)).toBe(2);
    expect(timesIn("Which ports are named here? ".repeat(20).trim())).toBe(1);
  });

  it("is refused if no paragraph can be the question", async () => {
    const { engine } = createReadingEngine();
    const refused = createTestOrchestrator([engine]).generate({ prompt: "word ".repeat(9000), split: "auto" });
    await expect(refused).rejects.toMatchObject({
      next: expect.arrayContaining([{ step: "nameFileIn", argument: "files" }]) as unknown,
    });
  });
});

describe("other requests", () => {
  it("are answered between the parts: a tiny one waits for one part at most, and a second long one takes turns", async () => {
    const first = createGate();
    const { engine, requests, read } = createReadingEngine({
      more: { kind: "llama-cpp" },
      before: async (_request, reading, signal) => {
        if (reading === 2) await first.pass(signal);
        return undefined;
      },
    });
    const { generate, caller } = createTestOrchestrator([engine]);
    const long = generate({ prompt, files });
    await first.entered;
    const tiny = generate({ prompt: "Is 9999 a port?" }, caller({ id: "caller-2" }));
    const other = generate({ prompt, files }, caller({ id: "caller-3" }));
    // Both wait in the queue before the part ends.
    await new Promise((resolve) => setImmediate(resolve));
    first.open();
    expect((await tiny).text).toBe("9999");
    expect(read().length).toBeLessThan(5);
    const answers = await Promise.all([long, other]);
    for (const { text } of answers) expect(portsIn(text)).toEqual(allPorts);
    expect(requests.length).toBe(1 + 2 * ((answers[0]?.parts?.total ?? 0) + 1));
  });
});

it("the engine is not asked about a model twice: a refusal costs no request", async () => {
  const engine = createFakeEngine("ollama", [narrowModel]);
  await expect(createTestOrchestrator([engine]).generate({ prompt, files, split: "none" })).rejects.toThrow();
  expect(engine.calls).toEqual([]);
});
