import { expect, it } from "vitest";
import { EngineUnreachable } from "../../../src/orchestrator/api/errors.ts";
import type { ResidentModel } from "../../../src/orchestrator/engines/engine.ts";
import type { ModelFacts } from "../../../src/orchestrator/api/types.ts";
import { createSizeCompletion } from "../../../src/orchestrator/residency/loaded.ts";
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
/** As reported by `/api/ps` of Ollama 0.33 at 8,192 tokens, without the 24 MiB of its full layers. */
const reported: ResidentModel = {
  name: "gemma3:270m",
  digest: "sha-gemma",
  sizeBytes: 328_424_488,
  vramBytes: 0,
  contextTokens: 8_192,
};

function setup(facts: () => ModelFacts = () => gemma, kind: "ollama" | "llama-cpp" = "ollama") {
  let asked = 0;
  let known: ModelFacts | undefined;
  const complete = createSizeCompletion(
    {
      known: () => known,
      of: async () => {
        asked += 1;
        known = facts();
        return known;
      },
    },
    never,
  );
  const engine = createFakeEngine(kind, [], { kind });
  return { look: (resident = reported) => complete(engine, [resident]), asked: () => asked };
}

it("a model with two caches gets its complete size, beside the reported one", async () => {
  const { look, asked } = setup();
  const size = reported.sizeBytes + 24 * MiB;
  for (const _ of [1, 2])
    expect(await look()).toEqual([{ ...reported, sizeBytes: size, reportedBytes: reported.sizeBytes }]);
  expect(asked()).toBe(1);
});

it("a complete size is unchanged", async () => {
  const whole = { ...reported, sizeBytes: reported.sizeBytes + 24 * MiB };
  expect(await setup().look(whole)).toEqual([whole]);
});

it("a model that can't be described keeps the reported size, and is described only once", async () => {
  const { look, asked } = setup(() => {
    throw new EngineUnreachable("gone");
  });
  for (const _ of [1, 2]) expect(await look()).toEqual([reported]);
  expect(asked()).toBe(1);
});

it("sizes of the embedded engine and of models without a digest are unchanged", async () => {
  expect(await setup(undefined, "llama-cpp").look()).toEqual([reported]);
  const { digest: _, ...anonymous } = reported;
  const { look, asked } = setup();
  expect(await look(anonymous)).toEqual([anonymous]);
  expect(asked()).toBe(0);
});
