import { expect, it } from "vitest";
import { EngineUnreachable } from "../../../src/orchestrator/errors.ts";
import { createSizeCompletion } from "../../../src/orchestrator/inventory/completed-sizes.ts";
import type { ModelFacts, ResidentModel } from "../../../src/orchestrator/types.ts";
import { createFakeEngine } from "../../support/fake-engine.ts";
import { heldOutShapes } from "../../support/model-shapes.ts";
import { metadataOf } from "../../support/shape-gguf.ts";

const MiB = 1024 ** 2;
const never = new AbortController().signal;
const shape = heldOutShapes.find(({ name }) => name === "Gemma 3 270M");
const gemma: ModelFacts = {
  name: "gemma3:270m",
  digest: "sha-gemma",
  sizeBytes: 291_554_930,
  weightsBytes: 246_587_904,
  vocabularySize: 262_144,
  contextTokens: 32_768,
  capabilities: ["completion"],
  trust: "local",
  metadata: Object.fromEntries(shape === undefined ? [] : metadataOf(shape).map(([key, , value]) => [key, value])),
};
/** What `/api/ps` of an Ollama 0.33 said of it at 8,192 tokens: without the 24 MiB of its full layers. */
const reported: ResidentModel = {
  name: "gemma3:270m",
  digest: "sha-gemma",
  sizeBytes: 328_424_488,
  vramBytes: 0,
  contextTokens: 8_192,
};

function place(facts: () => ModelFacts = () => gemma, kind: "ollama" | "llama-cpp" = "ollama") {
  let asked = 0;
  let known: ModelFacts | undefined;
  const complete = createSizeCompletion(
    () => ({
      knownFacts: () => known,
      facts: async () => {
        asked += 1;
        known = facts();
        return known;
      },
    }),
    never,
  );
  const engine = { ...createFakeEngine(kind, []), kind };
  return { look: (resident = reported) => complete(engine, [resident]), asked: () => asked };
}

it("a model with two caches has its whole size, and what was said of it", async () => {
  const { look, asked } = place();
  const size = reported.sizeBytes + 24 * MiB;
  for (const _ of [1, 2])
    expect(await look()).toEqual([{ ...reported, sizeBytes: size, reportedBytes: reported.sizeBytes }]);
  expect(asked()).toBe(1);
});

it("a size that was whole is left as it is", async () => {
  const whole = { ...reported, sizeBytes: reported.sizeBytes + 24 * MiB };
  expect(await place().look(whole)).toEqual([whole]);
});

it("a model that can't be described keeps what was said, and is not asked about again and again", async () => {
  const { look, asked } = place(() => {
    throw new EngineUnreachable("gone");
  });
  for (const _ of [1, 2]) expect(await look()).toEqual([reported]);
  expect(asked()).toBe(1);
});

it("an engine that measures its processes is believed, and so is one that doesn't say which weights it loaded", async () => {
  expect(await place(undefined, "llama-cpp").look()).toEqual([reported]);
  const { digest: _, ...anonymous } = reported;
  const { look, asked } = place();
  expect(await look(anonymous)).toEqual([anonymous]);
  expect(asked()).toBe(0);
});
