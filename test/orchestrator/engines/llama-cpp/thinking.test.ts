import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { installedEngine } from "../../../support/engine.ts";
import { writeTinyGguf } from "../../../support/tiny-gguf.ts";
import { ask, type EngineUnderTest, never, setupLimitMs, startEngine, testLimitMs } from "./engine-under-test.ts";

/** Like DeepSeek's and Qwen's: thoughts are between tags, and `enable_thinking: false` writes an empty pair. */
const template =
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}" +
  "{% if message['reasoning_content'] %}{{ '<think>\\n' + message['reasoning_content'] + '\\n</think>\\n\\n' }}{% endif %}" +
  "{{ message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}" +
  "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}";

const model = "thinker:tiny";
let folder: string;
let subject: EngineUnderTest;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "ollm-thinking-"));
  const file = join(folder, "thinker.gguf");
  await writeTinyGguf(file, {
    says: "<think>\nFirst I consider it.\n</think>\n\nNow comes the answer.",
    chatTemplate: template,
  });
  const { modulePath } = await installedEngine();
  subject = await startEngine(modulePath, { [model]: file });
}, setupLimitMs);
afterAll(async () => {
  await subject.dispose();
  await rm(folder, { recursive: true, force: true });
}, testLimitMs);

describe("a model that thinks", () => {
  it("has that capability", async () => {
    expect((await subject.engine.describe(model, never)).capabilities).toContain("thinking");
  });
  it(
    "has its thoughts separate from its text",
    async () => {
      const answer = await ask(subject, { model, think: true });
      expect(answer.thinking?.trim()).toBe("First I consider it.");
      expect(answer.text.trim()).toBe("Now comes the answer.");
    },
    testLimitMs,
  );
  it(
    "thinks by default",
    async () => {
      expect((await ask(subject, { model })).thinking).toContain("consider");
    },
    testLimitMs,
  );
  it(
    "starts its answer with a closed thought for think: false, like its template",
    async () => {
      const thinking = await ask(subject, { model, think: true });
      const silent = await ask(subject, { model, think: false });
      const counted = await subject.engine.tokenizer?.count(model, "<think>\n\n</think>\n\n", never);
      expect(silent.promptTokens - thinking.promptTokens).toBe(counted);
    },
    testLimitMs,
  );
  it(
    "does not think inside JSON",
    async () => {
      const format = { type: "object", properties: { isFine: { type: "boolean" } }, required: ["isFine"] } as const;
      const answer = await ask(subject, { model, format, think: true });
      expect(JSON.parse(answer.text)).toHaveProperty("isFine");
      expect(answer.thinking).toBeUndefined();
    },
    testLimitMs,
  );
});
