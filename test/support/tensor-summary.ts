import type { GgufTensor } from "../../src/orchestrator/engines/gguf/inspect.ts";
import { addTensor, type TensorSummary } from "../../src/orchestrator/engines/gguf/tensor-marks.ts";

/** Returns the summary of these tensors in a header. */
export function summaryOf(tensors: readonly GgufTensor[]): TensorSummary {
  const summary: TensorSummary = { tensors: {}, weightsByType: {} };
  for (const tensor of tensors) addTensor(summary, tensor);
  return summary;
}
