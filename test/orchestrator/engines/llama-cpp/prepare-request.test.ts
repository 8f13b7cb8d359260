import { describe, expect, it } from "vitest";
import { UnsupportedCapability } from "../../../../src/orchestrator/api/errors.ts";
import type { GenerationRequest } from "../../../../src/orchestrator/engines/generation.ts";
import { prepareRequest } from "../../../../src/orchestrator/engines/llama-cpp/prepare-request.ts";
import type { StoredModel } from "../../../../src/orchestrator/engines/llama-cpp/store/reader.ts";

const stored: StoredModel = {
  name: "m:1b",
  digest: "d",
  sizeBytes: 1,
  modifiedAt: "",
  weightsFile: "/m.gguf",
  adapterFiles: [],
  parameters: {},
  isReadOnly: false,
};
const request: GenerationRequest = {
  model: "m:1b",
  messages: [{ role: "user", content: "Hello." }],
  maxTokens: 10,
  sampling: {},
  contextTokens: 2_048,
};

describe("defaults of a request", () => {
  it("are Ollama's with a mild repeat penalty where neither the manifest nor the request sets any", () => {
    expect(prepareRequest(stored, request).sampling).toEqual({
      temperature: 0.8,
      topP: 0.9,
      topK: 40,
      minP: 0,
      stop: [],
      repeatPenalty: 1.1,
      repeatLastTokens: 64,
      frequencyPenalty: 0,
      presencePenalty: 0,
    });
  });
  it("are the manifest's parameters, also if they are strings", () => {
    const parameters = { temperature: "0.2", top_k: 5, seed: 3, stop: ["<end>", ""], repeat_penalty: 1.1 };
    expect(prepareRequest({ ...stored, parameters }, request).sampling).toMatchObject({
      temperature: 0.2,
      topK: 5,
      seed: 3,
      stop: ["<end>"],
      repeatPenalty: 1.1,
    });
  });
  it("have no repeat penalty if the manifest sets it to 1", () => {
    const parameters = { repeat_penalty: 1 };
    expect(prepareRequest({ ...stored, parameters }, request).sampling.repeatPenalty).toBe(1);
  });
  it("have no repeat penalty for a structured answer, whose keys and brackets have to repeat", () => {
    expect(prepareRequest(stored, { ...request, format: "json" }).sampling.repeatPenalty).toBe(1);
    const parameters = { repeat_penalty: 1.3 };
    expect(prepareRequest({ ...stored, parameters }, { ...request, format: "json" }).sampling.repeatPenalty).toBe(1.3);
  });
  it("are overridden by the request", () => {
    const parameters = { temperature: 0.2, seed: 3, stop: "<end>" };
    const sampling = { temperature: 0, seed: 9, stop: ["."] };
    expect(prepareRequest({ ...stored, parameters }, { ...request, sampling }).sampling).toMatchObject(sampling);
  });
  it("have a random seed if it is negative", () => {
    expect(prepareRequest({ ...stored, parameters: { seed: -1 } }, request).sampling).not.toHaveProperty("seed");
  });
  it("apply the repeat penalty to the whole context for a negative repeat_last_n, and not at all for 0", () => {
    const lookBack = (tokens: number) =>
      prepareRequest({ ...stored, parameters: { repeat_last_n: tokens } }, request).sampling;
    expect(lookBack(-1).repeatLastTokens).toBe(2_048);
    expect(lookBack(0).repeatLastTokens).toBe(0);
  });
  it("include the manifest's system message unless the request has its own", () => {
    const withSystem = { ...stored, system: "Be terse." };
    expect(prepareRequest(withSystem, request).messages).toEqual([
      { role: "system", content: "Be terse." },
      { role: "user", content: "Hello." },
    ]);
    const messages = [{ role: "system", content: "Be kind." }, ...request.messages] as const;
    expect(prepareRequest(withSystem, { ...request, messages }).messages).toEqual(messages);
  });
  it("images are rejected, because the engine has no vision", () => {
    const messages = [{ role: "user", content: "?", images: ["aGk="] }] as const;
    expect(() => prepareRequest(stored, { ...request, messages })).toThrow(UnsupportedCapability);
  });
});
