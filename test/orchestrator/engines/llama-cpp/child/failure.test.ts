import { expect, it } from "vitest";
import { createLogRing, loadErrorIn } from "../../../../../src/orchestrator/engines/llama-cpp/child/failure.ts";

it.each([
  [
    [
      "llama_model_load: error loading model: unknown model architecture: 'gptoss'",
      "llama_model_load_from_file_impl: failed to load model",
    ],
    "unknown model architecture: 'gptoss'",
  ],
  [
    ["[error] llama_model_load: error loading model vocabulary: cannot find tokenizer merges in model file"],
    "cannot find tokenizer merges in model file",
  ],
  [["gguf_init_from_file_impl: failed to read magic"], undefined],
  [
    [
      "[error] ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 5368709120",
      "[error] llama_init_from_model: failed to initialize the context: failed to allocate buffer for kv cache",
    ],
    "failed to allocate buffer of size 5368709120",
  ],
  [
    ["[error] llama_init_from_model: failed to initialize the context: failed to allocate compute pp buffers"],
    "failed to allocate compute pp buffers",
  ],
  [[], undefined],
])("the reason of a failed load is found in %j", (lines, expected) => {
  expect(loadErrorIn(lines)).toBe(expected);
});

it("a log keeps its last lines and no more than 16 KB", () => {
  const log = createLogRing();
  for (let line = 0; line < 5_000; line++) log.add(`line ${line}\n`);
  expect(log.lines().at(-1)).toBe("line 4999");
  expect(log.lines().join("\n").length).toBeLessThanOrEqual(16_384);
});
