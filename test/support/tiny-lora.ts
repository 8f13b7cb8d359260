import { writeGguf } from "./gguf-writer.ts";

/**
 * Writes a LoRA adapter as llama.cpp's convert_lora_to_gguf.py does, by default one that fits SmolLM2-135M: of rank 1, for the
 * queries of its first layer. Its numbers are no training: they change what the model says, and nothing more.
 */
export async function writeTinyLora(path: string, { width = 576, strength = 4 } = {}): Promise<void> {
  const vector = (value: (at: number) => number): Buffer =>
    Buffer.from(Float32Array.from({ length: width }, (_, at) => value(at)).buffer);
  const name = "blk.0.attn_q.weight";
  await writeGguf(path, {
    metadata: [
      ["general.architecture", "string", "llama"],
      ["general.type", "string", "adapter"],
      ["adapter.type", "string", "lora"],
      ["adapter.lora.alpha", "f32", strength],
    ],
    tensors: [
      { name: `${name}.lora_a`, type: "F32", shape: [width, 1], data: vector((at) => Math.sin(at)) },
      { name: `${name}.lora_b`, type: "F32", shape: [1, width], data: vector((at) => Math.cos(at)) },
    ],
  });
}
