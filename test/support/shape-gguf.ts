import type { MetadataEntry, TensorToWrite } from "./gguf-writer.ts";
import { writeGguf } from "./gguf-writer.ts";
import type { Shape } from "./model-shapes.ts";

/**
 * Writes a header of real size into a file without contents, for the allocator, not for loading: the tensors that
 * llama.cpp's loader requires (`load_arch_tensors` in its `src/models`), Q4_K where the rows allow it. Only the size of
 * the vocabulary is written (`no_vocab`), so that a header takes kilobytes.
 */
export async function writeShape(path: string, shape: Shape): Promise<void> {
  await writeGguf(path, { metadata: [...metadataOf(shape), ...countedVocabulary], tensors: tensorsOf(shape) });
}

const countedVocabulary: readonly MetadataEntry[] = [["tokenizer.ggml.model", "string", "no_vocab"]];

/** The keys that a converter writes. */
export function metadataOf(shape: Shape): readonly MetadataEntry[] {
  const { architecture, headsKv, experts, ssm, mla, window } = shape;
  const key = (name: string): string => `${architecture}.${name}`;
  const u32 = (name: string, value: number | undefined): readonly MetadataEntry[] =>
    value === undefined ? [] : [[key(name), "u32", value]];
  const hasAttention = shape.heads > 0;
  const isGemma2 = architecture === "gemma2";
  return [
    ["general.architecture", "string", architecture],
    ["general.name", "string", shape.name],
    ...u32("context_length", shape.context),
    ...u32("embedding_length", shape.width),
    ...u32("block_count", shape.layers),
    ...u32("feed_forward_length", shape.feedForward),
    ...(typeof headsKv === "number"
      ? u32("attention.head_count_kv", headsKv)
      : ([[key("attention.head_count_kv"), "i32", headsKv]] as const)),
    ...u32("attention.head_count", shape.heads),
    ...u32("attention.key_length", mla ? mla.rank + mla.rope : shape.headLength),
    ...u32("attention.value_length", mla ? mla.rank : shape.headLength),
    ...u32("attention.key_length_mla", mla?.keyLength),
    ...u32("attention.value_length_mla", mla?.valueLength),
    ...u32("attention.kv_lora_rank", mla?.rank),
    ...u32("attention.q_lora_rank", mla?.queryRank),
    ...u32("attention.sliding_window", window),
    ...u32("vocab_size", shape.vocabulary),
    ...u32("rope.dimension_count", hasAttention ? (mla?.rope ?? headLength(shape)) : undefined),
    ...u32("expert_count", experts?.count),
    ...u32("expert_used_count", experts?.used),
    ...u32("expert_feed_forward_length", experts?.feedForward),
    ...u32("expert_shared_feed_forward_length", mla ? undefined : experts?.shared),
    ...u32("expert_shared_count", mla && experts ? (experts.shared ?? 0) / experts.feedForward : undefined),
    ...u32("leading_dense_block_count", experts?.denseLayers),
    ...u32("ssm.conv_kernel", ssm?.kernel),
    ...u32("ssm.inner_size", ssm?.inner),
    ...u32("ssm.state_size", ssm?.state),
    ...u32("ssm.time_step_rank", ssm?.rank),
    ...u32("ssm.group_count", ssm?.groups),
    ...u32("shortconv.l_cache", shape.shortConvolution),
    ...(isGemma2
      ? ([
          [key("attn_logit_softcapping"), "f32", 50],
          [key("final_logit_softcapping"), "f32", 30],
        ] as const)
      : []),
    [key("attention.layer_norm_rms_epsilon"), "f32", 1e-5],
    [key("attention.layer_norm_epsilon"), "f32", 1e-5],
    [key("logit_scale"), "f32", 1],
    [key("rope.freq_base"), "f32", 10_000],
  ];
}

const headLength = ({ headLength: own, width, heads }: Shape): number => own ?? width / heads;

function tensorsOf(shape: Shape): readonly TensorToWrite[] {
  const { architecture, width, vocabulary, isTied, layers } = shape;
  const outputNorm = architecture === "lfm2" ? "token_embd_norm" : "output_norm";
  return [
    matrix("token_embd.weight", width, vocabulary),
    vector(`${outputNorm}.weight`, width),
    ...(isTied === true ? [] : [matrix("output.weight", width, vocabulary, "Q6_K")]),
    ...Array.from({ length: layers }, (_, layer) =>
      layerOf(shape, layer).map((tensor) => ({ ...tensor, name: `blk.${layer}.${tensor.name}` })),
    ).flat(),
  ];
}

function layerOf(shape: Shape, layer: number): readonly TensorToWrite[] {
  const headsKv = typeof shape.headsKv === "number" ? shape.headsKv : (shape.headsKv[layer] ?? 0);
  const isRecurrent =
    shape.architecture === "qwen3next" ? (layer + 1) % 4 !== 0 : shape.ssm !== undefined && headsKv === 0;
  const norm = ["olmo2", "exaone4"].includes(shape.architecture) ? [] : [vector("attn_norm.weight", shape.width)];
  if (shape.architecture === "falcon-h1")
    return [...norm, ...stateSpace(shape), ...attention(shape, headsKv), ...feedForward(shape, layer)];
  if (shape.shortConvolution !== undefined && headsKv === 0)
    return [...norm, ...shortConvolution(shape), ...feedForward(shape, layer)];
  const mixer = isRecurrent ? stateSpace(shape) : shape.mla ? latentAttention(shape) : attention(shape, headsKv);
  return [...norm, ...mixer, ...feedForward(shape, layer)];
}

function attention(shape: Shape, headsKv: number): readonly TensorToWrite[] {
  const { architecture, width, heads } = shape;
  const each = headLength(shape);
  const [query, keyValue] = [each * heads, each * headsKv];
  const isGated = architecture === "qwen3next";
  const projections =
    architecture === "phi3"
      ? [matrix("attn_qkv.weight", width, query + 2 * keyValue)]
      : [
          matrix("attn_q.weight", width, isGated ? 2 * query : query),
          matrix("attn_k.weight", width, keyValue),
          matrix("attn_v.weight", width, keyValue),
        ];
  const hasBias = architecture === "qwen2" || architecture === "gpt-oss";
  const biases = hasBias
    ? [vector("attn_q.bias", query), vector("attn_k.bias", keyValue), vector("attn_v.bias", keyValue)]
    : [];
  const hasHeadNorms = ["qwen3", "qwen3moe", "qwen3next", "gemma3", "lfm2", "exaone4"].includes(architecture);
  const norms = hasHeadNorms
    ? [vector("attn_q_norm.weight", each), vector("attn_k_norm.weight", each)]
    : architecture === "olmo2" || architecture === "olmoe"
      ? [vector("attn_q_norm.weight", width), vector("attn_k_norm.weight", keyValue)]
      : [];
  const extra =
    architecture === "gpt-oss" ? [vector("attn_sinks.weight", heads), vector("attn_output.bias", width)] : [];
  return [...projections, ...biases, ...norms, matrix("attn_output.weight", query, width), ...extra];
}

function latentAttention({ width, heads, mla }: Shape): readonly TensorToWrite[] {
  if (mla === undefined) return [];
  const { rank, queryRank, rope, keyLength, valueLength } = mla;
  return [
    vector("attn_kv_a_norm.weight", rank),
    ...(queryRank === undefined
      ? [matrix("attn_q.weight", width, heads * keyLength)]
      : [
          vector("attn_q_a_norm.weight", queryRank),
          matrix("attn_q_a.weight", width, queryRank),
          matrix("attn_q_b.weight", queryRank, heads * keyLength),
        ]),
    matrix("attn_kv_a_mqa.weight", width, rank + rope),
    cube("attn_k_b.weight", keyLength - rope, rank, heads, "Q8_0"),
    cube("attn_v_b.weight", rank, valueLength, heads, "Q8_0"),
    matrix("attn_output.weight", heads * valueLength, width),
  ];
}

function stateSpace({ architecture, width, ssm }: Shape): readonly TensorToWrite[] {
  if (ssm === undefined) return [];
  const { kernel, inner, state, groups, rank } = ssm;
  if (architecture === "mamba")
    return [
      matrix("ssm_in.weight", width, 2 * inner),
      plain("ssm_conv1d.weight", kernel, inner),
      vector("ssm_conv1d.bias", inner),
      matrix("ssm_x.weight", inner, rank + 2 * state),
      plain("ssm_dt.weight", rank, inner),
      vector("ssm_dt.bias", inner),
      plain("ssm_a", state, inner),
      vector("ssm_d", inner),
      matrix("ssm_out.weight", inner, width),
    ];
  if (architecture === "qwen3next") {
    const keys = state * groups;
    const values = state * rank;
    return [
      matrix("attn_qkv.weight", width, 2 * keys + values),
      matrix("attn_gate.weight", width, values),
      plain("ssm_conv1d.weight", kernel, 2 * keys + values),
      vector("ssm_dt.bias", rank),
      vector("ssm_a", rank),
      matrix("ssm_ba.weight", width, 2 * rank),
      vector("ssm_norm.weight", state),
      matrix("ssm_out.weight", values, width),
    ];
  }
  const mixed = inner + 2 * groups * state;
  return [
    matrix("ssm_in.weight", width, inner + mixed + rank),
    plain("ssm_conv1d.weight", kernel, mixed),
    vector("ssm_conv1d.bias", mixed),
    vector("ssm_dt.bias", rank),
    plain("ssm_a", 1, rank),
    plain("ssm_d", 1, rank),
    plain("ssm_norm.weight", inner / groups, groups),
    matrix("ssm_out.weight", inner, width),
  ];
}

function shortConvolution({ width, shortConvolution: kernel = 0 }: Shape): readonly TensorToWrite[] {
  return [
    plain("shortconv.conv.weight", kernel, width),
    matrix("shortconv.in_proj.weight", width, 3 * width),
    matrix("shortconv.out_proj.weight", width, width),
  ];
}

function feedForward(shape: Shape, layer: number): readonly TensorToWrite[] {
  const { architecture, width, feedForward: inner, experts } = shape;
  if (inner === 0) return [];
  const hasPostNorms = ["gemma2", "gemma3", "olmo2", "exaone4", "glm4"].includes(architecture);
  const norms = [
    ...(["command-r", "cohere2", "olmo2", "exaone4", "gpt-oss", "qwen3next"].includes(architecture)
      ? []
      : [vector(architecture === "falcon-h1" ? "ffn_norm" : "ffn_norm.weight", width)]),
    ...(hasPostNorms || architecture === "gpt-oss" || architecture === "qwen3next"
      ? [vector("post_attention_norm.weight", width)]
      : []),
    ...(hasPostNorms ? [vector("post_ffw_norm.weight", width)] : []),
  ];
  if (experts !== undefined && layer >= (experts.denseLayers ?? 0)) return [...norms, ...mixture(shape)];
  if (architecture === "phi3" || architecture === "glm4")
    return [...norms, matrix("ffn_up.weight", width, 2 * inner), matrix("ffn_down.weight", inner, width)];
  return [
    ...norms,
    matrix("ffn_gate.weight", width, inner),
    matrix("ffn_up.weight", width, inner),
    matrix("ffn_down.weight", inner, width),
  ];
}

function mixture({ architecture, width, experts }: Shape): readonly TensorToWrite[] {
  if (experts === undefined) return [];
  const { count, feedForward: inner, shared } = experts;
  const type = architecture === "gpt-oss" ? "MXFP4" : undefined;
  return [
    plain("ffn_gate_inp.weight", width, count),
    cube("ffn_gate_exps.weight", width, inner, count, type),
    cube("ffn_up_exps.weight", width, inner, count, type),
    cube("ffn_down_exps.weight", inner, width, count, type),
    ...(architecture === "gpt-oss"
      ? [
          vector("ffn_gate_inp.bias", count),
          plain("ffn_gate_exps.bias", inner, count),
          plain("ffn_up_exps.bias", inner, count),
          plain("ffn_down_exps.bias", width, count),
        ]
      : []),
    ...(shared === undefined
      ? []
      : [
          matrix("ffn_gate_shexp.weight", width, shared),
          matrix("ffn_up_shexp.weight", width, shared),
          matrix("ffn_down_shexp.weight", shared, width),
          ...(architecture === "qwen3next" ? [vector("ffn_gate_inp_shexp.weight", width)] : []),
        ]),
  ];
}

const vector = (name: string, length: number): TensorToWrite => ({ name, type: "F32", shape: [length] });
const plain = (name: string, columns: number, rows: number): TensorToWrite => ({
  name,
  type: "F32",
  shape: [columns, rows],
});
const matrix = (name: string, columns: number, rows: number, type = "Q4_K"): TensorToWrite => ({
  name,
  type: fitting(columns, type),
  shape: [columns, rows],
});
const cube = (name: string, columns: number, rows: number, depth: number, type = "Q4_K"): TensorToWrite => ({
  name,
  type: fitting(columns, type),
  shape: [columns, rows, depth],
});

/** Rows that are not a multiple of 256 get a similar type with blocks of 32, as in llama-quantize. */
function fitting(columns: number, type: string): string {
  if (type === "MXFP4" || type === "Q8_0" || columns % 256 === 0) return type;
  return columns % 32 === 0 ? (type === "Q6_K" ? "Q8_0" : "Q5_0") : "F16";
}
