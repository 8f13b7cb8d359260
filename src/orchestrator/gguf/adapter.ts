import { InvalidRequest } from "../errors.ts";
import { advice } from "../next-step.ts";
import type { InspectGguf } from "./inspect.ts";

/**
 * Throws `InvalidRequest` for a whole model: engines would take it in as an adapter, and answer as if there were none.
 * Throws `LoadFailed` for what is no GGUF.
 */
export async function checkAdapter(inspect: InspectGguf, file: string, shown: string, signal: AbortSignal) {
  const { metadata } = await inspect(file, signal);
  if (metadata["general.type"] === "adapter") return;
  throw new InvalidRequest(`${shown} is a model, not an adapter`, {
    next: advice("use a LoRA adapter that llama.cpp's convert_lora_to_gguf.py made"),
  });
}
