import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LoadFailed } from "../../../../src/orchestrator/api/errors.ts";
import type { ModelStore } from "../../../../src/orchestrator/engines/llama-cpp/store/model-store.ts";
import type { StoredModel } from "../../../../src/orchestrator/engines/llama-cpp/store/reader.ts";
import { tinySentence, writeTinyGguf } from "../../../support/tiny-gguf.ts";
import {
  ask,
  type EngineUnderTest,
  never,
  type PracticeEngine,
  setupLimitMs,
  startEngine,
  startPracticeEngine,
  testLimitMs,
  tiny,
  until,
} from "./engine-under-test.ts";

let subject: PracticeEngine;
beforeAll(async () => {
  subject = await startPracticeEngine();
}, setupLimitMs);
afterAll(() => subject.dispose(), testLimitMs);

describe("a damaged file", () => {
  let damaged: EngineUnderTest;
  const files: Readonly<Record<string, (file: string) => Promise<void>>> = {
    missing: () => Promise.resolve(),
    empty: (file) => writeTinyGguf(file, { corrupt: "empty" }),
    truncated: (file) => writeTinyGguf(file, { corrupt: "truncated" }),
    "bit-flipped": (file) => writeTinyGguf(file, { corrupt: "bit-flipped" }),
    foreign: (file) => writeTinyGguf(file, { architecture: "notallama" }),
    // A valid header without tensors that its layers need.
    incomplete: (file) => writeTinyGguf(file, { metadata: [["llama.block_count", "u32", 3]] }),
    // A number that node-llama-cpp reads as a BigInt and then computes with.
    immense: (file) => writeTinyGguf(file, { metadata: [["llama.embedding_length", "u64", 2n ** 63n]] }),
    good: (file) => writeTinyGguf(file),
  };
  beforeAll(async () => {
    const models: StoredModel[] = [];
    for (const [name, write] of Object.entries(files)) {
      const weightsFile = join(subject.folder, `damaged-${name}.gguf`);
      await write(weightsFile);
      const same = { digest: name, sizeBytes: 1, modifiedAt: "", adapterFiles: [], parameters: {}, isReadOnly: false };
      models.push({ ...same, name, weightsFile });
    }
    // Files may be damaged after the download; a real store would no longer list some of these.
    const store = { list: async () => models, find: async (name: string) => models.find((each) => each.name === name) };
    damaged = await startEngine(subject.modulePath, {}, { store: () => store as unknown as ModelStore });
  });
  afterAll(() => damaged.dispose());

  it.each([
    ["missing", /damaged-missing/],
    ["empty", /empty/],
    ["truncated", /4096 of \d+ bytes are missing/],
    ["bit-flipped", /damaged/],
    ["foreign", /notallama/],
    ["incomplete", /blk\.2/],
    ["immense", /damaged-immense\.gguf.*llama\.embedding_length is 9223372036854775808/],
  ])(
    "%s throws LoadFailed with the reason and next steps, and the engine continues",
    async (name, reason) => {
      const loading = damaged.engine.residency?.load(name, { contextTokens: 2_048 }, () => {}, never);
      await expect(loading).rejects.toBeInstanceOf(LoadFailed);
      await expect(loading).rejects.toThrow(reason);
      await expect(loading).rejects.toMatchObject({ next: expect.arrayContaining([expect.anything()]) });
      expect((await ask(damaged, { model: "good" })).text).toBe(tinySentence);
    },
    testLimitMs,
  );
  it.each(["bit-flipped", "incomplete"])(
    "%s has no estimate, and the engine continues",
    async (name) => {
      expect(await damaged.engine.estimation?.estimate(name, { contextTokens: 2_048 }, never)).toBeUndefined();
    },
    testLimitMs,
  );
  it(
    "a load that takes too long is ended with an error that has the limit",
    async () => {
      const slow = await startEngine(subject.modulePath, { [tiny]: subject.tinyFile }, { loadLimitMs: () => 1 });
      try {
        const loading = slow.engine.residency?.load(tiny, { contextTokens: 2_048 }, () => {}, never);
        await expect(loading).rejects.toBeInstanceOf(LoadFailed);
        await expect(loading).rejects.toThrow("it did not load within 0 s");
        await until(async () => (await slow.childPids()).length === 0, 5_000);
      } finally {
        await slow.dispose();
      }
    },
    testLimitMs,
  );
});
