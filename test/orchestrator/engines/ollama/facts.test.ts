import { expect, it } from "vitest";
import { modelFacts } from "../../../../src/orchestrator/engines/ollama/facts.ts";

const bytesOf = (tensors: unknown) => modelFacts("m", { tensors }, undefined, "local").weightsBytes;

it("the weights' size is the sum of the listed tensors, by the block layout of their types", () => {
  const tensors = [
    { name: "token_embd.weight", type: "Q4_K", shape: [512, 10] },
    { name: "output_norm.weight", type: "F32", shape: [512] },
    { name: "blk.0.ffn_up_exps.weight", type: "MXFP4", shape: [64, 4, 2] },
  ];
  expect(bytesOf(tensors)).toBe((512 * 10 * 144) / 256 + 512 * 4 + (64 * 4 * 2 * 17) / 32);
});

it.each([
  ["no list", undefined],
  ["an empty list", []],
  ["an unknown type", [{ name: "a", type: "Z9", shape: [32] }]],
  ["a shape that isn't one", [{ name: "a", type: "F32", shape: ["many"] }]],
])("the weights' size is unknown with %s", (_what, tensors) => {
  expect(bytesOf(tensors)).toBeUndefined();
});

it("the digest of the weights is the blob in the Modelfile, in any folder of the server", () => {
  const digestOf = (modelfile: unknown) => modelFacts("m", { modelfile }, undefined, "local").weightsDigest;
  const digest = "ab".repeat(32);
  expect(digestOf(`# Modelfile\nFROM /srv/ollama/blobs/sha256-${digest}\nTEMPLATE x`)).toBe(digest);
  expect(digestOf(`FROM C:\\Users\\me\\.ollama\\models\\blobs\\sha256-${digest}`)).toBe(digest);
  expect(digestOf("FROM llama3.2")).toBeUndefined();
  expect(digestOf(7)).toBeUndefined();
});

it("a description with 40,000 keys and 100,000 parameters is reduced to a small part", () => {
  const keys = Object.fromEntries(Array.from({ length: 40_000 }, (_, index) => [`llama.key.${index}`, index]));
  const show = {
    template: "t".repeat(1_000_000),
    parameters: "stop x\n".repeat(100_000),
    model_info: { "general.architecture": "llama", "llama.block_count": 2, "llama.name": "n".repeat(100_000), ...keys },
  };
  const facts = modelFacts("a", show, undefined, "local");
  expect(facts.metadata).toEqual({ "general.architecture": "llama", "llama.block_count": 2 });
  expect(JSON.stringify(facts).length).toBeLessThan(20_000);
});
