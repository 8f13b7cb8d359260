import architectures from "../../../../src/orchestrator/engines/gguf/architectures.json" with { type: "json" };
import { expect, test } from "vitest";
import { incompatibilityOf } from "../../../../src/orchestrator/engines/gguf/compatibility.ts";
import { factsFromHeader, isUsedKey, usedMetadata } from "../../../../src/orchestrator/engines/gguf/header.ts";
import { dimensionsOf } from "../../../../src/orchestrator/memory/dimensions.ts";
import { summaryOf } from "../../../support/tensor-summary.ts";

test("every key that the program reads is kept", () => {
  const asked = new Set<string>();
  // Some keys are read only if another one is absent or present.
  const answers: readonly ((key: string, architecture: string) => unknown)[] = [
    () => undefined,
    () => 2,
    (key) => (/wkv|shortconv/.test(key) ? undefined : 2),
    (key) => (/wkv|shortconv|kda/.test(key) ? undefined : 2),
    (key) => (/wkv|shortconv|kda|interval/.test(key) ? undefined : [2, 2]),
    (key) => (key.endsWith("pattern") ? undefined : 4),
  ];
  for (const architecture of [
    ...architectures.known.flatMap((line) => line.split(" ")),
    ...Object.keys(architectures.ofOllama),
  ]) {
    for (const answer of answers) {
      const metadata = new Proxy<Record<string, unknown>>(
        {},
        {
          get(_, key) {
            asked.add(`${architecture} ${String(key)}`);
            if (key === "general.architecture") return architecture;
            if (key === "general.type" || key === "adapter.type" || key === "split.count") return undefined;
            return (
              answer(String(key), architecture) ?? (/block_count$|embedding_length$/.test(String(key)) ? 2 : undefined)
            );
          },
        },
      );
      const tensors = summaryOf([{ name: "token_embd.weight", type: "F32", shape: [2, 2] }]);
      const header = { architecture, metadata, ...tensors, weightsBytes: 1, fileBytes: 1, vocabularySize: 4 };
      incompatibilityOf(header);
      factsFromHeader(header);
      dimensionsOf({ metadata, vocabularySize: 4 });
      dimensionsOf({ metadata });
    }
  }
  const lost = [...asked].filter((each) => {
    const [architecture = "", key = ""] = each.split(" ");
    return !isUsedKey(key, architecture);
  });
  expect(lost).toEqual([]);
  expect(new Set([...asked].map((each) => each.split(" ")[1]?.replace(/^[^.]*\./, ""))).size).toBeGreaterThan(40);
});

test("metadata of an engine or a file beyond 64 KiB is omitted", () => {
  const kept = (values: Record<string, unknown>) => usedMetadata((key) => values[key], "llama");
  const long = Array.from({ length: 1_024 }, () => 123_456_789.123);
  const keys = ["block_count", "vocab_size", "embedding_length", "context_length", "feed_forward_length"];
  const all = kept({
    "general.architecture": "llama",
    ...Object.fromEntries(keys.map((key) => [`llama.${key}`, long])),
  });
  expect(Object.keys(all)).toHaveLength(5);
  expect(JSON.stringify(all).length).toBeLessThan(64 * 1024 + 200);
  expect(kept({ "llama.block_count": Array.from({ length: 1_025 }, () => 1) })).toEqual({});
  expect(kept({ "llama.block_count": { deep: 1 }, "general.type": "x".repeat(257) })).toEqual({});
});
