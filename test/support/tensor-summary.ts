import { type GgufTensor, type TensorSummary, addTensor } from "../../src/orchestrator/engines/gguf/header.ts";

/** Returns the summary of these tensors in a header. */
export function summaryOf(tensors: readonly GgufTensor[]): TensorSummary {
  const summary: TensorSummary = { tensors: {}, weightsByType: {} };
  for (const tensor of tensors) addTensor(summary, tensor);
  return summary;
}
