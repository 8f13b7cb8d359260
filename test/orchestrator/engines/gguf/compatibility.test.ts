import architectures from "../../../../src/orchestrator/engines/gguf/architectures.json" with { type: "json" };
import { describe, expect, test } from "vitest";
import { incompatibilityOf } from "../../../../src/orchestrator/engines/gguf/compatibility.ts";
import type { GgufHeader } from "../../../../src/orchestrator/engines/gguf/header.ts";
import { summaryOf } from "../../../support/tensor-summary.ts";

const tensor = (name: string, rows = 1) => ({ name, type: "F32", shape: [32, rows] });

/** A model of that architecture, as llama.cpp's converter writes it. */
function plain(
  architecture: string,
  metadata: Record<string, unknown> = {},
  tensors: readonly string[] = [],
): GgufHeader {
  return {
    architecture,
    metadata: { "tokenizer.ggml.model": "gpt2", ...metadata },
    ...summaryOf([tensor("token_embd.weight"), ...tensors.map((name) => tensor(name))]),
    vocabularySize: 1,
    weightsBytes: 0,
    fileBytes: 0,
  };
}

const epsilon = { "gemma3.attention.layer_norm_rms_epsilon": 1e-6 };

describe("a file that llama.cpp loads is compatible", () => {
  test.each<[string, GgufHeader]>([
    ["smollm2, llama", plain("llama", {}, ["output_norm.weight", "blk.0.attn_v.weight"])],
    ["qwen2", plain("qwen2")],
    ["qwen3", plain("qwen3")],
    ["phi3", plain("phi3")],
    ["granite", plain("granite")],
    ["nomic-bert", plain("nomic-bert")],
    ["gpt-oss as llama.cpp names it", plain("gpt-oss")],
    ["gemma3, text only", plain("gemma3", { ...epsilon, "gemma3.rope.freq_base": 1e6 })],
    ["gemma3 270M, text only", plain("gemma3", { ...epsilon, "gemma3.attention.sliding_window": 512 })],
    ["mistral3, text only", plain("mistral3", { "mistral3.rope.scaling.yarn_beta_fast": 32 })],
    ["llama4, text only", plain("llama4")],
    ["qwen3vl, text only", plain("qwen3vl", { "qwen3vl.rope.dimension_sections": [24, 20, 20, 0] })],
    ["qwen35", plain("qwen35", { "qwen35.ssm.conv_kernel": 4 })],
    ["qwen3next", plain("qwen3next", {}, ["blk.0.ssm_dt.bias"])],
    ["lfm2", plain("lfm2", {}, ["token_embd_norm.weight"])],
    [
      "gemma3n",
      { ...plain("gemma3n"), ...summaryOf([tensor("token_embd.weight", 9), tensor("per_layer_token_embd.weight", 9)]) },
    ],
    ["a split model with a single part", plain("llama", { "split.count": 1, "general.type": "model" })],
    ["glm4moe with its own extra layers", plain("glm4moe", {}, ["blk.46.nextn.eh_proj.weight"])],
  ])("%s", (_, header) => {
    expect(incompatibilityOf(header)).toBeUndefined();
  });
});

describe("a file that llama.cpp can't load has a reason and next steps", () => {
  test.each<[string, GgufHeader, RegExp]>([
    [
      "gptoss",
      plain("gptoss"),
      /^it is gpt-oss in Ollama's own format \(architecture gptoss\).*llama\.cpp can't read$/,
    ],
    ["qwen25vl", plain("qwen25vl"), /Qwen2\.5-VL in Ollama's own format/],
    ["olmo3", plain("olmo3"), /OLMo 3 in Ollama's own format/],
    ["glm4moelite", plain("glm4moelite"), /GLM-4\.7 Flash in Ollama's own format/],
    ["deepseekocr", plain("deepseekocr"), /DeepSeek-OCR in Ollama's own format/],
    ["glmocr", plain("glmocr"), /GLM-OCR in Ollama's own format/],
    ["mllama", plain("mllama"), /Llama 3\.2 Vision in Ollama's own format/],
    ["nemotron_h_omni", plain("nemotron_h_omni"), /Nemotron Omni in Ollama's own format/],
    ["something new", plain("qwen9"), /^its architecture qwen9 is not supported by the embedded engine's llama\.cpp$/],
    [
      "gemma3 with vision",
      plain("gemma3", epsilon, ["v.patch_embedding.weight"]),
      /it contains a vision or audio encoder/,
    ],
    ["mistral3 with vision", plain("mistral3", {}, ["mm.norm.weight"]), /vision or audio encoder/],
    ["llama4 with vision", plain("llama4", {}, ["v.blk.0.attn_q.weight"]), /vision or audio encoder/],
    ["gemma3n with audio", plain("gemma3n", {}, ["a.conv1d.0.weight"]), /vision or audio encoder/],
    ["gemma4 with vision", plain("gemma4", {}, ["model.vision_tower.std.weight"]), /vision or audio encoder/],
    ["embeddinggemma", plain("gemma3", epsilon, ["dense.0.weight"]), /gemma3 in Ollama's own format/],
    ["gemma3 without its epsilon", plain("gemma3"), /gemma3 in Ollama's own format/],
    [
      "gemma3 with Ollama's rope keys",
      plain("gemma3", { ...epsilon, "gemma3.rope.global.freq_base": 1e6 }),
      /gemma3 in Ollama's own format/,
    ],
    [
      "gemma3n with a longer vocabulary",
      { ...plain("gemma3n"), ...summaryOf([tensor("token_embd.weight", 9), tensor("per_layer_token_embd.weight", 8)]) },
      /gemma3n in Ollama's own format/,
    ],
    ["laguna", plain("laguna", {}, ["blk.0.attn_g.weight"]), /laguna in Ollama's own format/],
    ["lfm2", plain("lfm2", {}, ["output_norm.weight"]), /lfm2 in Ollama's own format/],
    ["mistral3", plain("mistral3", { "mistral3.rope.scaling.beta_fast": 32 }), /mistral3 in Ollama's own format/],
    [
      "nemotron_h_moe",
      plain("nemotron_h_moe", {}, ["blk.1.ffn_latent_in.weight"]),
      /nemotron_h_moe in Ollama's own format/,
    ],
    ["qwen35", plain("qwen35", { "qwen35.image_token_id": 7 }), /qwen35 in Ollama's own format/],
    ["qwen35moe", plain("qwen35moe", { "qwen35moe.ssm.v_head_reordered": true }), /qwen35moe in Ollama's own format/],
    ["qwen3next", plain("qwen3next", {}, ["blk.0.ssm_dt"]), /qwen3next in Ollama's own format/],
    ["qwen3vl", plain("qwen3vl"), /qwen3vl in Ollama's own format/],
    ["qwen3vlmoe", plain("qwen3vlmoe"), /qwen3vlmoe in Ollama's own format/],
    ["extra tensors for several tokens at once", plain("llama", {}, ["mtp.0.weight"]), /llama in Ollama's own format/],
    ["a projector", plain("clip"), /^it is a projector \(mmproj\)/],
    ["a projector by its type", plain("llama", { "general.type": "mmproj" }), /projector/],
    ["a draft model", plain("eagle3"), /draft model/],
    ["an adapter", plain("llama", { "general.type": "adapter" }), /^it is an adapter \(LoRA\)/],
    ["an adapter without a type", plain("llama", { "adapter.type": "lora" }), /adapter/],
    ["a part of a split model", plain("llama", { "split.count": 3 }), /one of 3 parts of a split model$/],
    ["a vocabulary alone", { ...plain("llama"), ...summaryOf([]) }, /no weights/],
    ["no tokenizer", { ...plain("llama"), vocabularySize: 0 }, /no tokenizer/],
    ["no kind of tokenizer", plain("llama", { "tokenizer.ggml.model": undefined }), /no tokenizer/],
  ])("%s", (_, header, reason) => {
    const found = incompatibilityOf(header);
    expect(found?.reason).toMatch(reason);
    expect(found?.next).not.toEqual([]);
  });
});

test("no architecture is in two lists", () => {
  const known = architectures.known.flatMap((line) => line.split(" "));
  const others = Object.keys({ ...architectures.companions, ...architectures.ofOllama });
  expect(others.filter((name) => known.includes(name))).toEqual([]);
  expect(known.filter((name) => !/^[a-z0-9_-]+$/.test(name))).toEqual([]);
});
