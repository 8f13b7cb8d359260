import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { installedEngine } from "../../../support/engine.ts";
import { type TinyGguf, tinySentence, writeTinyGguf } from "../../../support/tiny-gguf.ts";
import {
  type EngineUnderTest,
  ask,
  never,
  setupLimitMs,
  startEngine,
  testLimitMs,
  until,
} from "./engine-under-test.ts";

const model = "practice:tiny";
/** Layers that do nothing, but take time: a prompt of 2,700 tokens is worth a file. */
const layerCount = 10;
const about = (text: string) => [
  { role: "user" as const, content: `${"The quick brown fox jumps over the lazy dog. ".repeat(60)}${text}` },
];

let modulePath: string;
let subject: EngineUnderTest | undefined;
beforeAll(async () => {
  ({ modulePath } = await installedEngine());
}, setupLimitMs);
afterEach(() => subject?.dispose(), testLimitMs);

async function started(options: Parameters<typeof startEngine>[2] = {}, gguf: TinyGguf = {}) {
  const folder = await mkdtemp(join(tmpdir(), "ollm-kept-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const file = join(folder, "tiny.gguf");
  await writeTinyGguf(file, { contextLength: 16_384, layerCount, ...gguf });
  subject = await startEngine(modulePath, { [model]: file }, options);
  return subject;
}
const request = (text: string) => ({ model, messages: about(text), contextTokens: 4_096 });
const files = async ({ home }: EngineUnderTest) =>
  (await readdir(join(home, "prompts"), { recursive: true }).catch(() => [])).filter((name) => name.includes("."));
const unload = (engine: EngineUnderTest) => engine.engine.residency?.unload(model, never);

describe("what a model has read", () => {
  it(
    "is restored after an unload, also in a larger window, and the answer is the same",
    async () => {
      const engine = await started();
      const first = await ask(engine, request("What is quick?"));
      expect(first).toMatchObject({ restoredPromptTokens: 0, cachedPromptTokens: 0 });
      await unload(engine);
      expect((await files(engine)).filter((name) => name.endsWith(".state"))).toHaveLength(1);
      const second = await ask(engine, { ...request("What is lazy?"), contextTokens: 6_144 });
      expect(second.text).toBe(tinySentence);
      expect(second.restoredPromptTokens).toBeGreaterThan(first.promptTokens * 0.95);
      expect(second.cachedPromptTokens).toBe(second.restoredPromptTokens);
      // It is in memory now.
      expect(await ask(engine, { ...request("And?"), contextTokens: 6_144 })).toMatchObject({
        restoredPromptTokens: 0,
      });
    },
    3 * testLimitMs,
  );
  it(
    "is written when the process is idle, so that a kill doesn't lose it",
    async () => {
      const engine = await started();
      await ask(engine, request("What is quick?"));
      await until(async () => (await files(engine)).some((name) => name.endsWith(".state")), 30_000);
      const [pid = 0] = await engine.childPids();
      process.kill(pid, "SIGKILL");
      await until(async () => (await engine.childPids()).length === 0, 10_000);
      expect((await ask(engine, request("What is lazy?"))).restoredPromptTokens).toBeGreaterThan(1_000);
    },
    3 * testLimitMs,
  );
  it(
    "is not written with store.promptCacheBytes: 0, nor for a request with cache_prompt: false",
    async () => {
      let promptCacheBytes: number | undefined = 0;
      const engine = await started({
        get promptCacheBytes() {
          return promptCacheBytes;
        },
      });
      await ask(engine, request("What is quick?"));
      await unload(engine);
      promptCacheBytes = undefined;
      await ask(engine, { ...request("What is quick?"), cachePrompt: false });
      await unload(engine);
      expect(await files(engine)).toEqual([]);
    },
    3 * testLimitMs,
  );
  it(
    "is only for windows of the same size where the keys depend on it: with two sets of rope factors",
    async () => {
      const key = "llama.rope.scaling.original_context_length";
      const engine = await started({}, { metadata: [[key, "u32", 4_096]] });
      await ask(engine, request("What is quick?"));
      await unload(engine);
      expect((await files(engine)).join()).toMatch(/-4096.[\d-]+[\da-f]{8}\.state$/);
      const second = await ask(engine, { ...request("What is lazy?"), contextTokens: 6_144 });
      expect(second.restoredPromptTokens).toBe(0);
    },
    3 * testLimitMs,
  );
});
