import fc from "fast-check";
import { expect, test } from "vitest";
import { statusText } from "../../../src/cli/commands/chat.ts";
import { cellsOf } from "../../../src/orchestrator/util/columns.ts";

type Answered = Parameters<typeof statusText>[0];
type Ram = NonNullable<Parameters<typeof statusText>[1]>;

const answered = { model: "qwen3:4b", tokens_per_second: 21.4, conversation_tokens: 1 } as unknown as Answered;
const loaded = [
  { name: "smollm2:135m", bytes: 0.3e9 },
  { name: "qwen3:4b", bytes: 3.1e9 },
];
const ram = { available_bytes: 8e9, loaded } as unknown as Ram;

test("the model that answered is first, then its speed, then the rest", () => {
  expect(statusText(answered, ram, 140)).toBe(
    "qwen3:4b | 21.4 tokens/s | conversation 1 token | uses 3.1 GB | 8.0 GB RAM available | also loaded: smollm2:135m 300.0 MB",
  );
  expect(statusText({ ...answered, model: "gone:1b" }, undefined, 120)).toBe(
    "gone:1b | 21.4 tokens/s | conversation 1 token",
  );
});

test("what has no room is left out whole, and never the speed", () => {
  expect(statusText(answered, ram, 66)).toBe("qwen3:4b | 21.4 tokens/s | conversation 1 token | uses 3.1 GB");
  fc.assert(
    fc.property(fc.string({ minLength: 1, maxLength: 80 }), fc.integer({ min: 24, max: 120 }), (model, width) => {
      const text = statusText({ ...answered, model }, ram, width);
      expect(text).toContain("| 21.4 tokens/s");
      expect(cellsOf(text)).toBeLessThanOrEqual(width);
    }),
  );
});
