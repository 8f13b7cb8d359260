import { describe, expect, it } from "vitest";
import { dimensionsOf } from "../../../src/orchestrator/memory/dimensions.ts";
import { dimensionsIn, published } from "./metadata.ts";

const layersThat = (name: string, is: (layer: ReturnType<typeof published>["layers"][number]) => boolean) =>
  published(name).layers.flatMap((layer, index) => (is(layer) ? [index] : []));

const plain = (architecture: string, layers: number, more: Readonly<Record<string, unknown>> = {}) =>
  dimensionsIn({
    "general.architecture": architecture,
    [`${architecture}.block_count`]: layers,
    [`${architecture}.embedding_length`]: 64,
    [`${architecture}.attention.head_count`]: 4,
    [`${architecture}.feed_forward_length`]: 128,
    ...Object.fromEntries(Object.entries(more).map(([key, value]) => [`${architecture}.${key}`, value])),
  });

const sliding = (model: ReturnType<typeof plain>) =>
  model.layers.flatMap(({ isSliding }, layer) => (isSliding ? [layer] : []));

describe("heads", () => {
  it("share the width without key and value lengths, and all have a cache", () => {
    expect(plain("llama", 1).layers).toEqual([{ keyWidth: 64, valueWidth: 64, isSliding: false, isRecurrent: false }]);
  });

  it("are counted per layer if the file does, and a layer without heads has no cache", () => {
    const { layers } = plain("llama", 3, { "attention.head_count_kv": [2, 0, 1] });
    expect(layers.map(({ keyWidth }) => keyWidth)).toEqual([32, 0, 16]);
  });

  it("of a sliding layer can have another length", () => {
    const { layers } = plain("gemma4", 2, {
      "attention.key_length": 512,
      "attention.value_length": 512,
      "attention.key_length_swa": 256,
      "attention.value_length_swa": 256,
      "attention.head_count_kv": [2, 1],
      "attention.sliding_window": 1_024,
      "attention.sliding_window_pattern": [true, false],
    });
    expect(layers.map(({ keyWidth }) => keyWidth)).toEqual([512, 512]);
  });

  it("of latent attention cache one key that contains the value", () => {
    expect(published("DeepSeek V2 Lite").layers[5]).toMatchObject({ keyWidth: 576, valueWidth: 0 });
  });
});

describe("sliding layers", () => {
  it("follow the layout of their architecture", () => {
    expect(layersThat("Gemma 3 1B", ({ isSliding }) => !isSliding)).toEqual([5, 11, 17, 23]);
    expect(layersThat("gpt-oss 20B", ({ isSliding }) => isSliding).slice(0, 3)).toEqual([0, 2, 4]);
    expect(layersThat("Command R7B", ({ isSliding }) => !isSliding)).toEqual([3, 7, 11, 15, 19, 23, 27, 31]);
  });

  it("follow the pattern of the file first, a period or one value per layer", () => {
    const window = { "attention.sliding_window": 64 };
    expect(sliding(plain("gemma3", 4, { ...window, "attention.sliding_window_pattern": 2 }))).toEqual([0, 2]);
    const pattern = { "attention.sliding_window_pattern": [false, true, true, false] };
    expect(sliding(plain("gemma3", 4, { ...window, ...pattern }))).toEqual([1, 2]);
  });

  it("can begin with a full one", () => {
    expect(sliding(plain("laguna", 5, { "attention.sliding_window": 64 }))).toEqual([1, 2, 3]);
  });

  it("don't exist without a window, nor in phi3, whose window llama.cpp ignores", () => {
    expect(sliding(plain("gemma3", 6))).toEqual([]);
    expect(sliding(plain("phi3", 6, { "attention.sliding_window": 2_048 }))).toEqual([]);
  });

  it("have Gemma 2's window even if the file omits it", () => {
    expect(plain("gemma2", 2).window).toBe(4_096);
  });
});

describe("hybrids", () => {
  it("that list heads per layer are recurrent in layers without heads", () => {
    expect(layersThat("Granite 4 H tiny", ({ isRecurrent }) => !isRecurrent)).toEqual([5, 15, 25, 35]);
  });

  it("with an interval have full attention in every n-th layer, and no cache in others", () => {
    expect(layersThat("Qwen 3 Next 80B-A3B", ({ keyWidth }) => keyWidth > 0).slice(0, 3)).toEqual([3, 7, 11]);
  });

  it("like Falcon H1 have both in every layer", () => {
    expect(published("Falcon H1 1.5B").layers.every((layer) => layer.isRecurrent && layer.keyWidth > 0)).toBe(true);
  });

  it("with pure feed-forward layers (Nemotron H) have no cache in those", () => {
    const { layers } = plain("nemotron_h", 3, {
      "attention.head_count_kv": [0, 0, 2],
      feed_forward_length: [0, 128, 0],
      "ssm.inner_size": 128,
      "ssm.state_size": 16,
      "ssm.conv_kernel": 4,
    });
    expect(layers.map(({ keyWidth, isRecurrent }) => [keyWidth, isRecurrent])).toEqual([
      [0, true],
      [0, false],
      [32, false],
    ]);
  });
});

describe("caches", () => {
  it("shared by later layers are counted once", () => {
    const { layers } = plain("gemma4", 4, { "attention.shared_kv_layers": 3 });
    expect(layers.filter(({ keyWidth }) => keyWidth > 0)).toHaveLength(1);
  });

  it("don't exist in embedding models", () => {
    expect(plain("bert", 2).layers.every(({ keyWidth }) => keyWidth === 0)).toBe(true);
  });
});

it.each([
  ["no architecture", {}],
  ["no layers", { "general.architecture": "llama", "llama.embedding_length": 64 }],
  ["a cache of another kind", { "general.architecture": "deepseek4", "deepseek4.block_count": 2 }],
  ["nonsense", { "general.architecture": "llama", "llama.block_count": 1e9, "llama.embedding_length": 64 }],
])("are undefined with %s", (_what, metadata) => {
  expect(dimensionsOf({ metadata, vocabularySize: 1_000 })).toBeUndefined();
});

describe("an invalid count", () => {
  it.each([0.5, -1, "12", 2 ** 60, Number.NaN, null])("(%s layers) makes the dimensions undefined", (layers) => {
    const metadata = { "general.architecture": "llama", "llama.block_count": layers, "llama.embedding_length": 64 };
    expect(dimensionsOf({ metadata, vocabularySize: 1_000 })).toBeUndefined();
  });
});
