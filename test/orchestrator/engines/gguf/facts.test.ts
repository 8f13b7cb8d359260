import { describe, expect, test } from "vitest";
import {
  factsFromHeader,
  printedCount,
  templateFacts,
  type GgufHeader,
  type GgufTensor,
} from "../../../../src/orchestrator/engines/gguf/header.ts";
import { summaryOf } from "../../../support/tensor-summary.ts";

function header(metadata: Record<string, unknown>, change: Partial<GgufHeader> = {}): GgufHeader {
  return { architecture: "llama", metadata, ...summaryOf([]), weightsBytes: 0, fileBytes: 0, ...change };
}

const tensor = (name: string, type = "F32", shape: readonly number[] = [1]) => ({ name, type, shape });

test("all facts of a header are returned", () => {
  const metadata = {
    "general.file_type": 15,
    "llama.context_length": 8_192,
    "llama.block_count": 30,
    "llama.embedding_length": 576,
  };
  expect(
    factsFromHeader(
      header(metadata, { vocabularySize: 49_152, ...summaryOf([tensor("token_embd.weight", "Q4_K", [576, 49_152])]) }),
    ),
  ).toEqual({
    architecture: "llama",
    metadata,
    capabilities: ["completion"],
    parameterSize: "28.31M",
    quantization: "Q4_K_M",
    contextTokens: 8_192,
    layerCount: 30,
    embeddingLength: 576,
    vocabularySize: 49_152,
  });
});

test("facts missing in a header are absent", () => {
  expect(factsFromHeader(header({}))).toEqual({ architecture: "llama", metadata: {}, capabilities: ["completion"] });
});

test("keys of another architecture are ignored", () => {
  const facts = factsFromHeader(header({ "llama.block_count": 3 }, { architecture: "qwen2" }));
  expect(facts.layerCount).toBeUndefined();
});

test.each<[string, Record<string, unknown>, readonly GgufTensor[], string | undefined]>([
  ["the stated mix", { "general.file_type": 18 }, [tensor("a", "Q4_K")], "Q6_K"],
  ["the type of most weights", {}, [tensor("a", "F32", [10]), tensor("b", "Q5_K", [256, 2])], "Q5_K"],
  ["the type of most weights when the mix has no name", { "general.file_type": 1024 }, [tensor("a", "BF16")], "BF16"],
  ["nothing without tensors", {}, [], undefined],
])("quantization by %s", (_, metadata, tensors, expected) => {
  expect(factsFromHeader(header(metadata, summaryOf(tensors))).quantization).toBe(expected);
});

test.each([
  [0, undefined],
  [999, "999"],
  [87_000, "87K"],
  [134_515_008, "134.52M"],
  [270_000_000, "270M"],
  [7_615_616_512, "7.6B"],
  [70_000_000_000, "70B"],
])("%d weights are printed as %s", (count, expected) => {
  expect(printedCount(count)).toBe(expected);
});

test.each<[string, Partial<GgufHeader>, number | undefined]>([
  ["its list of tokens", { vocabularySize: 5, metadata: { "llama.vocab_size": 6 } }, 5],
  ["its key", { metadata: { "llama.vocab_size": 6 }, ...summaryOf([tensor("token_embd.weight", "F32", [4, 7])]) }, 6],
  ["its embedding matrix", { ...summaryOf([tensor("token_embd.weight", "F32", [4, 7])]) }, 7],
  ["nothing", {}, undefined],
])("vocabulary size by %s", (_, change, expected) => {
  expect(factsFromHeader(header({}, change)).vocabularySize).toBe(expected);
});

describe("capabilities", () => {
  const capabilities = (metadata: Record<string, unknown>, change: Partial<GgufHeader> = {}) =>
    factsFromHeader(header(metadata, change)).capabilities;

  test.each<[string, string, readonly string[]]>([
    ["a plain template", "{{ messages }}", ["completion"]],
    ["tools", "{% if tools %}{{ tools }}{% endif %}", ["completion", "tools"]],
    ["tool calls without tools", "{{ message['tool_calls'] }}", ["completion"]],
    ["thinking tags", "<think>{{ x }}</think>", ["completion", "thinking"]],
    ["a switch for thinking", "{% if enable_thinking %}", ["completion", "thinking"]],
    ["an effort of reasoning", "{{ reasoning_effort }}", ["completion", "thinking"]],
    ["thoughts cut out of the history", "content.split('</think>')", ["completion", "thinking"]],
    ["a closing tag alone", "</think>", ["completion"]],
    ["the word reasoning", "You are good at reasoning.", ["completion"]],
  ])("by template: %s", (_, template, expected) => {
    expect(capabilities({}, { template: templateFacts(template) })).toEqual(expected);
  });

  test.each<[string, Record<string, unknown>, Partial<GgufHeader>, readonly string[]]>([
    ["bert", {}, { architecture: "bert" }, ["embedding"]],
    ["nomic-bert", {}, { architecture: "nomic-bert" }, ["embedding"]],
    ["a decoder that pools", { "qwen3.pooling_type": 3 }, { architecture: "qwen3" }, ["embedding"]],
    ["a decoder that states not to pool", { "llama.pooling_type": 0 }, {}, ["completion"]],
    ["vision tensors", {}, summaryOf([tensor("v.patch_embd.weight")]), ["completion", "vision"]],
    ["vision keys", { "llama.vision.block_count": 4 }, {}, ["completion", "vision"]],
    ["audio tensors", {}, summaryOf([tensor("a.conv1d.weight")]), ["completion", "audio"]],
    ["a projector alone", {}, { architecture: "clip", ...summaryOf([tensor("v.blk.0.ffn.weight")]) }, ["vision"]],
  ])("by contents: %s", (_, metadata, change, expected) => {
    expect(capabilities(metadata, change)).toEqual(expected);
  });
});
