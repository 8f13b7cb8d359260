import { mkdtemp, readFile, readdir, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { installedEngine } from "../../../support/engine.ts";
import { writeTinyGguf } from "../../../support/tiny-gguf.ts";
import { type EngineUnderTest, ask, never, setupLimitMs, startEngine, until } from "./engine-under-test.ts";

const model = "practice:tiny";
const steps = 24;

it(
  "answers from what was restored are those of an engine that keeps nothing, whatever was asked, unloaded, killed and damaged before",
  async () => {
    const folder = await mkdtemp(join(tmpdir(), "ollm-restored-"));
    onTestFinished(() => rm(folder, { recursive: true, force: true }));
    const file = join(folder, "tiny.gguf");
    // What it says depends on all that it has read.
    await writeTinyGguf(file, { contextLength: 8_192, layerCount: 4, isBabbling: true });
    const { modulePath } = await installedEngine();
    const start = async (options: Parameters<typeof startEngine>[2]) => {
      // Engines that measured other threads beside other programs would differ in the last bits (decision 0075).
      const engine = await startEngine(modulePath, { [model]: file }, { threads: 1, ...options });
      onTestFinished(() => engine.dispose());
      return engine;
    };
    const [keeping, plain] = [await start({}), await start({ promptCacheBytes: 0 })];
    const request = (conversation: number, question: number) => ({
      model,
      messages: [
        {
          role: "user" as const,
          content: `Secret ${conversation * 7_919}. ${"The quick brown fox jumps over the lazy dog. ".repeat(40)}${question}?`,
        },
      ],
      contextTokens: 4_096,
      maxTokens: 12,
    });
    const answer = async (engine: EngineUnderTest, conversation: number, question: number) => {
      const { text, restoredPromptTokens = 0 } = await ask(engine, request(conversation, question));
      return { text, restoredPromptTokens };
    };
    let state = 4_242;
    const random = (below: number) => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    let [restored, different] = [0, 0];
    const texts = new Set<string>();
    for (let step = 0; step < steps; step += 1) {
      const [conversation, question] = [random(3), random(5)];
      const given = await answer(keeping, conversation, question);
      const expected = await answer(plain, conversation, question);
      texts.add(expected.text);
      if (given.restoredPromptTokens > 0) restored += 1;
      if (given.text !== expected.text) different += 1;
      const act = random(6);
      if (act < 3) await keeping.engine.residency?.unload(model, never);
      else if (act === 3) {
        for (const pid of await keeping.childPids()) process.kill(pid, "SIGKILL");
        await until(async () => (await keeping.childPids()).length === 0, 10_000);
      } else {
        const prompts = join(keeping.home, "prompts");
        const names = await readdir(prompts, { recursive: true }).catch(() => []);
        const [name] = names.filter((each) => each.endsWith(".state"));
        if (name === undefined) continue;
        const bytes = await readFile(join(prompts, name));
        if (act === 4) await truncate(join(prompts, name), random(bytes.length));
        else {
          const at = random(bytes.length);
          bytes[at] = (bytes[at] ?? 0) ^ (1 << random(8));
          await writeFile(join(prompts, name), bytes);
        }
      }
    }
    expect(different).toBe(0);
    // Each conversation has its own.
    expect(texts.size).toBeGreaterThan(2);
    expect(restored).toBeGreaterThan(2);
  },
  setupLimitMs + 300_000,
);
