import type { GgufTensor } from "../../src/orchestrator/engines/gguf/header.ts";
import { parseHeader, type readHeader } from "../../src/orchestrator/engines/gguf/read-header.ts";

type ByteSource = Parameters<typeof readHeader>[0];

/** Reads a whole header, with texts of up to 16 MiB and lists of up to 1,024 items. Throws `DamagedGguf`. */
export function readWhole(source: ByteSource) {
  const entries: [key: string, value: unknown][] = [];
  const tensors: GgufTensor[] = [];
  let vocabularySize: number | undefined;
  const read = parseHeader(source, {
    longestText: () => 16 * 1024 ** 2,
    entry(key, value, items) {
      if (value !== undefined) entries.push([key, value]);
      if (key === "tokenizer.ggml.tokens") vocabularySize = items;
    },
    tensor: (tensor) => void tensors.push(tensor),
  });
  const metadata: Record<string, unknown> = Object.fromEntries(entries);
  return { ...read, metadata, tensors, ...(vocabularySize === undefined ? {} : { vocabularySize }) };
}
