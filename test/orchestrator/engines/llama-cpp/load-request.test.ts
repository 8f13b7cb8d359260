import { basename } from "node:path";
import { describe, expect, it } from "vitest";
import { engineVersion } from "../../../../src/orchestrator/engines/llama-cpp/install/platform.ts";
import { loadRequestFor } from "../../../../src/orchestrator/engines/llama-cpp/prepare-request.ts";
import type { StoredModel } from "../../../../src/orchestrator/engines/llama-cpp/store/reader.ts";
import { summaryOf } from "../../../support/tensor-summary.ts";

const stored = { weightsFile: "/w.gguf", digest: "sha256:abc", adapterFiles: ["/a.gguf"] } as unknown as StoredModel;
const requestFor = (types: readonly string[], more: Partial<Parameters<typeof loadRequestFor>[0]> = {}) =>
  loadRequestFor({
    stored,
    header: {
      architecture: "llama",
      metadata: {},
      ...summaryOf(types.map((type) => ({ name: "t", type, shape: [1] }))),
      weightsBytes: 100,
      fileBytes: 100,
    },
    isEmbedding: false,
    contextTokens: 4_096,
    threads: 4,
    promptsFolder: "/prompts",
    ...more,
  });

describe("a load", () => {
  it.each(["Q4_0", "Q4_1", "Q4_K", "IQ4_NL", "IQ4_XS", "Q5_K", "Q6_K", "Q8_0", "F16"])(
    "does not map %s, which would take twice its memory",
    (type) => {
      expect(requestFor(["F32", type]).useMmap).toBe(false);
    },
  );
  it.each(["F32", "BF16", "Q5_0", "IQ3_S"])("maps %s", (type) => {
    expect(requestFor(["F32", type]).useMmap).toBe(true);
  });
  it("keeps states and speeds of a card apart from those of the processor", () => {
    const keys = (backend: "cuda" | "vulkan", gpuLayers: number) => {
      const { promptFolder, speedsFile } = requestFor(["F32"], { backend, gpuLayers });
      return [promptFolder, speedsFile];
    };
    const onProcessor = [requestFor(["F32"]).promptFolder, requestFor(["F32"]).speedsFile];
    expect(keys("cuda", 0)).toEqual(onProcessor);
    const all = [onProcessor, keys("cuda", 3), keys("vulkan", 3)].flat();
    expect(new Set(all).size).toBe(6);
    expect(keys("cuda", 4)[0]).toBe(keys("cuda", 3)[0]);
    expect(keys("cuda", 4)[1]).not.toBe(keys("cuda", 3)[1]);
  });
  it.each([
    ["as many as a batch with more of them isn't faster, of a large model", 10_000_000_000, 152_000, 63],
    ["as many as take a small part of the weights", 500_000_000, 152_000, 32],
    ["a few of a small one, whatever they take", 100_000_000, 152_000, 15],
  ])("has room for guesses: %s", (_, weightsBytes, vocabularySize, mostGuesses) => {
    const header = {
      architecture: "llama",
      metadata: {},
      ...summaryOf([{ name: "t", type: "F32", shape: [1] }]),
      weightsBytes,
      fileBytes: weightsBytes,
      vocabularySize,
    };
    const request = requestFor([], { header });
    expect(request).toMatchObject({ mostGuesses, guessBytes: 4 * vocabularySize * mostGuesses });
  });
  it("includes adapters", () => {
    expect(requestFor(["F32"]).adapterFiles).toEqual(["/a.gguf"]);
  });
  it("keeps what was read and measured apart by weights, adapters and version of the engine", () => {
    const { promptFolder, speedsFile } = requestFor(["F32"]);
    expect([basename(promptFolder), basename(speedsFile, ".json")]).toEqual(
      Array.from({ length: 2 }, () => `abc-a.gguf-${engineVersion}`),
    );
  });
});
