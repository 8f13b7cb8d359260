/**
 * Architectures that the embedded engine's llama.cpp supports (node-llama-cpp 3.21.1, llama.cpp v0.4.0). Determined by
 * loading a test model under each name in its source or library: these did not fail with "unknown model architecture".
 * Must be determined again when the engine's version changes.
 */
export const knownArchitectures: ReadonlySet<string> = new Set(
  `afmoe apertus arcee arctic arwkv7 baichuan bailingmoe bailingmoe2 bailingmoe3 bert bitnet bloom chameleon chatglm
  codeshell cogvlm cohere2 cohere2moe command-r dbrx deci deepseek deepseek2 deepseek2-ocr deepseek32 deepseek4 dots1
  dots3note dream ernie4_5 ernie4_5-moe eurobert exaone exaone-moe exaone4 falcon falcon-h1 gemma gemma-embedding gemma2
  gemma3 gemma3n gemma4 glm-dsa glm4 glm4moe gpt-oss gpt2 gptneox granite granite_swa granitehybrid granitemoe
  graniteswitch grok grovemoe hunyuan-dense hunyuan-moe hunyuan_vl hy_v3 internlm2 jais jais2 jamba jina-bert-v2
  jina-bert-v3 kimi-k3 kimi-linear laguna lfm2 lfm2moe llada llada-moe llama llama-embed llama4 maincoder mamba mamba2
  mellum mimo2 minicpm minicpm3 minimax-01 minimax-m2 minimax-m3 mistral3 mistral4 modern-bert mpt muse-glimmer nanbeige
  nemotron nemotron_h nemotron_h_moe neo-bert nomic-bert nomic-bert-moe olmo olmo2 olmoe openelm orion paddleocr
  pangu-embedded phi2 phi3 phimoe plamo plamo2 plamo3 plm qwen qwen2 qwen2moe qwen2vl qwen3 qwen35 qwen35moe qwen3moe
  qwen3next qwen3vl qwen3vlmoe qwen4exp refact rnd1 rwkv6 rwkv6qwen2 rwkv7 seed_oss smallthinker smollm3 stablelm
  starcoder starcoder2 step35 t5 t5encoder talkie xverse`.split(/\s+/),
);

/** Supported by llama.cpp, but not models that answer prompts on their own. */
export const companionArchitectures: ReadonlyMap<string, string> = new Map([
  ["clip", "a projector (mmproj), which adds vision to another model"],
  ["dflash", "a draft model, which only speeds up another model"],
  ["eagle3", "a draft model, which only speeds up another model"],
  ["gemma4-assistant", "a draft model, which only speeds up another model"],
  ["pockettts", "a speech synthesiser"],
  ["qwen3tts", "a speech synthesiser"],
  ["wavtokenizer-dec", "a decoder for speech"],
]);

/**
 * Names that only Ollama's own engine uses (`llama/compat` in its source translates them during a load), with the family
 * that they stand for.
 */
export const ollamaArchitectures: ReadonlyMap<string, string> = new Map([
  ["deepseekocr", "DeepSeek-OCR"],
  ["glm4moelite", "GLM-4.7 Flash"],
  ["glmocr", "GLM-OCR"],
  ["gptoss", "gpt-oss"],
  ["mllama", "Llama 3.2 Vision"],
  ["nemotron_h_omni", "Nemotron Omni"],
  ["olmo3", "OLMo 3"],
  ["qwen25vl", "Qwen2.5-VL"],
]);
