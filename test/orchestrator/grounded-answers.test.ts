import { describe, expect, it } from "vitest";
import { InvalidRequest } from "../../src/orchestrator/api/errors.ts";
import type { GenerationRequest } from "../../src/orchestrator/engines/generation.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../support/fake-engine.ts";
import { createTestOrchestrator } from "../support/orchestrator.ts";

const model = fakeModel("llama3.2:1b", gigabyte, { parameterSize: "1B" });
const files = [{ path: "package.json", text: '{\n  "version": "3.2.1",\n  "engines": {' }];
const format = {
  type: "object",
  properties: { version: { type: "string" }, node: { type: "string" }, private: { type: "boolean" } },
  required: ["version", "node"],
};
const ask = { prompt: "Which version is it, and which Node does it need?", files, format };

/** Answers in turn, the last one again and again. */
function setUp(...answers: readonly object[]) {
  const engine = createFakeEngine("ollama", [model]);
  const requests: GenerationRequest[] = [];
  engine.answer = (request) => {
    requests.push(request);
    return Promise.resolve({ text: JSON.stringify(answers[Math.min(requests.length, answers.length) - 1]) });
  };
  return { requests, ...createTestOrchestrator([engine]) };
}

describe("the values of a JSON answer about files", () => {
  it("stand in the files: each has its place, and the model is asked once", async () => {
    const { generate, requests } = setUp({ version: "v3.2.1", node: null });
    const { text, values, notes } = await generate(ask);
    expect(JSON.parse(text)).toEqual({ version: "v3.2.1", node: null });
    expect(values).toEqual({ where: { "/version": "package.json:2" }, notJudged: [] });
    expect(notes).toEqual([]);
    expect(requests).toHaveLength(1);
  });

  it("may be null, and the model is told so", async () => {
    const { generate, requests } = setUp({ version: "3.2.1", node: null });
    await generate(ask);
    expect(requests[0]?.messages.at(-1)?.content).toMatch(/Use null only for a value that the text does not state\.$/);
    expect(requests[0]?.format).toMatchObject({
      properties: { node: { type: ["string", "null"] }, private: { type: "boolean" } },
    });
  });

  it("that don't stand there are asked for again once, then null, with a note that names the field", async () => {
    const { generate, requests } = setUp({ version: "3.2.1", node: ">=14" }, { version: "3.2.1", node: "14.17.0" });
    const { text, notes } = await generate(ask);
    expect(JSON.parse(text)).toEqual({ version: "3.2.1", node: null });
    expect(notes).toContain("null, because what the model gave does not stand in the text: /node");
    expect(requests).toHaveLength(2);
    expect(requests[1]?.messages.at(-1)?.content).toMatch(
      /^You gave values that the text does not contain \(\/node: ">=14"\), which have to be null\. Answer again/,
    );
  });

  it("are those of the answer that has more of them", async () => {
    const { generate } = setUp({ version: "3.2.1", node: ">=14" }, { version: null, node: null });
    expect(JSON.parse((await generate(ask)).text)).toEqual({ version: "3.2.1", node: null });
  });

  it("are left out of a list", async () => {
    const list = { type: "object", properties: { names: { type: "array", items: { type: "string" } } } };
    const { generate } = setUp({ names: ["version", "exports"] });
    const { text, notes } = await generate({ ...ask, format: list });
    expect(JSON.parse(text)).toEqual({ names: ["version"] });
    expect(notes).toContain("left out, because it does not stand in the text: /names/1");
  });

  it("that are booleans or enumerations are not judged", async () => {
    const { generate } = setUp({ version: "3.2.1", node: null, private: true });
    expect((await generate(ask)).values).toMatchObject({ notJudged: ["/private"] });
  });

  it("stay as they are with grounded: false, and the schema too", async () => {
    const { generate, requests } = setUp({ version: "9.9.9", node: ">=14" });
    const { text, values } = await generate({ ...ask, grounded: false });
    expect(JSON.parse(text)).toEqual({ version: "9.9.9", node: ">=14" });
    expect(values).toBeUndefined();
    expect(requests[0]?.format).toEqual(format);
  });

  it("stay as they are without a text that they could stand in", async () => {
    const { generate, requests } = setUp({ version: "9.9.9", node: ">=14" });
    expect((await generate({ prompt: "Invent a package", format })).values).toBeUndefined();
    expect(requests).toHaveLength(1);
    await expect(generate({ prompt: "Invent a package", format, grounded: true })).rejects.toThrow(InvalidRequest);
    await expect(generate({ prompt: "Which version?", files, grounded: true })).rejects.toMatchObject({
      next: [{ step: "setArgument", argument: "format" }],
    });
  });

  it("may stand in the prompt if it is to be split", async () => {
    const { generate } = setUp({ version: "3.2.1", node: "18.17" });
    const prompt = 'Which version and Node?\n\n{"version": "3.2.1"}';
    const { text, values } = await generate({ prompt, format, split: "auto" });
    expect(JSON.parse(text)).toEqual({ version: "3.2.1", node: null });
    expect(values?.where).toEqual({ "/version": "prompt:3" });
  });
});
