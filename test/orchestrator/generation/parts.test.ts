import { describe, expect, it } from "vitest";
import { PromptTooLong } from "../../../src/orchestrator/api/errors.ts";
import type { GenerationRequest } from "../../../src/orchestrator/engines/generation.ts";
import type { Engine } from "../../../src/orchestrator/engines/engine.ts";
import { estimateTokens } from "../../../src/orchestrator/routing/tokens.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";

const narrow = fakeModel("llama3.2:3b", gigabyte, { contextTokens: 2048 });
const question = "Which ports are named?";

/** Sections of about 300 tokens with a port each. */
const sections = (count: number) =>
  Array.from(
    { length: count },
    (_, index) => `## Section ${index + 1}\n\nPort ${9000 + index}.\n\n${"Some more words about it. ".repeat(50)}\n\n`,
  ).join("");
const guide = { path: "guide.md", text: sections(20) };

const promptOf = ({ messages }: GenerationRequest) => messages.at(-1)?.content ?? "";
const isReading = (request: GenerationRequest) => promptOf(request).endsWith("Notes on this part:");
const portsIn = (text: string) => [...text.matchAll(/\b9\d{3}\b/g)].map(([port]) => port);

/** Notes the ports of each part, and answers with all ports of the notes; keeps the prompts. */
function readingEngine(more: Partial<Engine> = {}, models = [narrow]) {
  const engine = createFakeEngine("ollama", models, more);
  const requests: GenerationRequest[] = [];
  engine.answer = (request) => {
    requests.push(request);
    return Promise.resolve({ text: portsIn(promptOf(request)).join(" ") || "NOTHING", completionTokens: 8 });
  };
  return { engine, requests, read: () => requests.filter(isReading) };
}

const allPorts = Array.from({ length: 20 }, (_, index) => String(9000 + index));

describe("files beyond every window", () => {
  it("are read in parts, each in the window, and all of them reach the answer", async () => {
    const { engine, requests, read } = readingEngine();
    const answer = await createTestOrchestrator([engine]).generate({ prompt: question, files: [guide] });
    expect(answer.text.split(" ")).toEqual(allPorts);
    expect(read().length).toBeGreaterThan(4);
    expect(answer.parts).toEqual({ total: read().length });
    for (const request of read()) expect(estimateTokens(promptOf(request)) + request.maxTokens).toBeLessThan(2048);
    expect(answer.completionTokens).toBe(requests.length * 8);
    expect(answer.promptTokens).toBe(requests.length * 5);
    expect(answer.route.attempts).toEqual([
      { model: narrow.name, engine: "ollama", outcome: `answered (${requests.length} requests)` },
    ]);
  });

  it("share the beginning of their prompts, so that the engine reads it once", async () => {
    const { engine, read } = readingEngine();
    await createTestOrchestrator([engine]).generate({ prompt: question, files: [guide], system: "Be brief." });
    const [first = "", second = ""] = read().map(promptOf);
    const upToQuestion = first.slice(0, first.indexOf(question) + question.length);
    expect(upToQuestion.length).toBeGreaterThan(question.length);
    expect(second.startsWith(upToQuestion)).toBe(true);
  });

  it("are asked for with one load, one after the other where the engine does not batch", async () => {
    const { engine } = readingEngine({ kind: "llama-cpp" });
    let running = 0;
    let most = 0;
    const { answer } = engine;
    engine.answer = async (...given) => {
      running += 1;
      most = Math.max(most, running);
      await Promise.resolve();
      running -= 1;
      return answer(...given);
    };
    await createTestOrchestrator([engine]).generate({ prompt: question, files: [guide] });
    expect(engine.calls.filter((call) => call.startsWith("load"))).toHaveLength(1);
    expect(most).toBe(1);
  });

  it("are refused as before with split none, and the next step says what to do", async () => {
    const { engine } = readingEngine();
    const refused = createTestOrchestrator([engine]).generate({ prompt: question, files: [guide], split: "none" });
    await expect(refused).rejects.toBeInstanceOf(PromptTooLong);
    await expect(refused).rejects.toMatchObject({
      next: expect.arrayContaining([{ step: "omitArgument", argument: "split" }]) as unknown,
    });
    expect(engine.calls).toEqual([]);
  });
});
