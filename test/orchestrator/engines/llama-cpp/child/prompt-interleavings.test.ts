import { readFile, rename, truncate, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { describe, expect, it } from "vitest";
import type { Token } from "../../../../../src/orchestrator/engines/llama-cpp/child/node-llama-cpp.ts";
import { Sequence, always, ask, makeHome, started, states, text } from "./stateful-sequence.ts";

describe("10,000 interleavings", () => {
  it("restore nothing but what reading the same tokens gives, whatever happens to files and processes", async () => {
    const root = await makeHome();
    let state = 12_345;
    const random = (below: number) => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    // Two models with two processes each, that share their files. The secret of a conversation is in its tokens.
    const models = ["weights-1", "weights-2"];
    const make = (model: string) => ({
      files: started(root, { model, msPerThousand: 100_000 }),
      sequences: [new Sequence(), new Sequence()],
    });
    const processes = models.flatMap((model) => [make(model), make(model)]);
    const conversations = Array.from({ length: 12 }, (_, index) => text(index % 4, 20 + random(20)));
    let [restored, wrong, requests] = [0, 0, 0];
    const check = (sequence: Sequence, prompt: Token[]) => {
      requests += 1;
      const isSame = prompt.every((token, index) => sequence.tokens[index] === token);
      if (!isSame || !sequence.isTrue) wrong += 1;
    };
    for (let step = 0; step < 10_000; step += 1) {
      const at = random(processes.length);
      const { files, sequences } = processes[at] ?? make("weights-1");
      const act = random(20);
      if (act < 13) {
        const which = random(conversations.length);
        const sequence = sequences[random(2)] ?? new Sequence();
        const prompt = [...(conversations[which] ?? []), ...text(1_000 + step, 1 + random(10))];
        const promptCacheBytes = [undefined, undefined, undefined, 0, 4_000][random(5)];
        const asked = await ask(files, sequence, prompt, {
          answer: text(step, random(8)),
          ...(promptCacheBytes === undefined ? {} : { promptCacheBytes }),
        });
        restored += asked.restored > 0 ? 1 : 0;
        check(sequence, prompt);
        if (random(3) === 0)
          conversations[which] = sequence.tokens.length > 90 ? text(which % 4, 25) : sequence.contextTokens;
      } else if (act < 16) {
        await files.saveAll(() => random(4) > 0);
      } else if (act === 16) {
        // Killed, at times in the middle of writing.
        const sequence = sequences[0] ?? new Sequence();
        if (random(2) === 0)
          sequence.onSave = async (path) =>
            writeFile(path, Buffer.alloc(random(90))).then(() => Promise.reject(new Error("killed")));
        await files.saveAll(always);
        processes[at] = make(models[at >> 1] ?? "");
      } else {
        const paths = await states(root);
        const path = paths[random(paths.length)];
        if (path === undefined) continue;
        const bytes = await readFile(path);
        if (act === 17) await truncate(path, random(bytes.length));
        else if (act === 18) {
          const index = random(bytes.length);
          bytes[index] = (bytes[index] ?? 0) ^ (1 << random(8));
          await writeFile(path, bytes);
        } else await rename(path, join(root, models[random(2)] ?? "", basename(path)));
      }
    }
    expect(wrong).toBe(0);
    expect(requests).toBeGreaterThan(5_000);
    expect(restored).toBeGreaterThan(500);
  }, 300_000);
});
