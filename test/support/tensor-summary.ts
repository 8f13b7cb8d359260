import type { GgufTensor } from "../../src/orchestrator/gguf/inspect.ts";
import { addTensor, type TensorSummary } from "../../src/orchestrator/gguf/tensor-marks.ts";

/** What a header keeps of these tensors. */
export function summaryOf(tensors: readonly GgufTensor[]): TensorSummary {
  const summary: TensorSummary = { tensors: {}, weightsByType: {} };
  for (const tensor of tensors) addTensor(summary, tensor);
  return summary;
}
