import { describe, expect, it } from "vitest";
import { loadRequestFor } from "../../../../src/orchestrator/engines/llama-cpp/prepare-request.ts";
import type { StoredModel } from "../../../../src/orchestrator/engines/llama-cpp/store/reader.ts";
import { summaryOf } from "../../../support/tensor-summary.ts";

const stored = { weightsFile: "/w.gguf", digest: "sha256:abc", adapterFiles: ["/a.gguf"] } as unknown as StoredModel;
const requestFor = (types: readonly string[]) =>
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
  it("includes adapters", () => {
    expect(requestFor(["F32"]).adapterFiles).toEqual(["/a.gguf"]);
  });
});
