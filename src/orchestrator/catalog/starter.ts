import { formatBytes } from "../text/format-bytes.ts";
import { sizeRuleBytes } from "../memory/estimate.ts";
import type { StarterSuggestion } from "../facade.ts";

const smallest = { name: "smollm2:135m", sizeBytes: 271e6 };

/**
 * Chat models that both engines can run, by size, with the size of a pull from the Ollama registry. The largest is
 * suggested only if it takes at most a third of the available memory: as a first model it is slow to pull and to answer.
 */
const starters: readonly { readonly name: string; readonly sizeBytes: number; readonly share?: number }[] = [
  smallest,
  { name: "qwen2.5:0.5b", sizeBytes: 398e6 },
  { name: "qwen2.5:1.5b", sizeBytes: 986e6 },
  { name: "llama3.2:3b", sizeBytes: 2.02e9 },
  { name: "qwen2.5:7b", sizeBytes: 4.68e9 },
  { name: "qwen3:14b", sizeBytes: 9.28e9, share: 1 / 3 },
];

/** The largest starter that fits by the size rule (size × 1.20, and size + buffer), with the numbers in its reason. */
export function suggestStarter(availableBytes: number, bufferBytes: number): StarterSuggestion {
  const fitting = starters.filter(({ sizeBytes, share = 1 }) => {
    const needed = neededFor(sizeBytes, bufferBytes);
    return needed < availableBytes && sizeBytes <= availableBytes * share;
  });
  const available = formatBytes(availableBytes);
  const chosen = fitting.at(-1);
  if (chosen !== undefined) {
    const needed = formatBytes(neededFor(chosen.sizeBytes, bufferBytes));
    return {
      name: chosen.name,
      reason: `a ${formatBytes(chosen.sizeBytes)} download that needs ${needed} of the ${available} available, buffer included`,
    };
  }
  const needed = formatBytes(neededFor(smallest.sizeBytes, bufferBytes));
  return {
    name: smallest.name,
    reason: `the smallest known (${formatBytes(smallest.sizeBytes)}); it needs ${needed} with memory.bufferBytes, and ${available} are available`,
  };
}

function neededFor(sizeBytes: number, bufferBytes: number): number {
  return Math.max(sizeRuleBytes(sizeBytes), sizeBytes + bufferBytes);
}
