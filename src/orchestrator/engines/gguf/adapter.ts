import { InvalidRequest } from "../../api/errors.ts";
import { advice } from "../../api/next-step.ts";
import type { InspectGguf } from "./inspect.ts";

/**
 * Throws `InvalidRequest` for a model, which engines would accept as an adapter and ignore. Throws `LoadFailed` for a file
 * that is not a GGUF file.
 */
export async function checkAdapter(inspect: InspectGguf, file: string, shown: string, signal: AbortSignal) {
  const { metadata } = await inspect(file, signal);
  if (metadata["general.type"] === "adapter") return;
  throw new InvalidRequest(`${shown} is a model, not an adapter`, {
    next: advice("use a LoRA adapter that llama.cpp's convert_lora_to_gguf.py made"),
  });
}
