import { expect, it } from "vitest";
import type { InstalledModel } from "../../../src/orchestrator/api/types.ts";
import { createKnownFacts } from "../../../src/orchestrator/catalog/known-facts.ts";
import { createFakeEngine, fakeModel } from "../../support/fake-engine.ts";

const never = new AbortController().signal;

/** The windows known of a model after each of its lists. */
async function windowsAfter(lists: readonly InstalledModel[]) {
  const windows: (number | undefined)[] = [];
  const facts = createKnownFacts({ note() {} }, () => 0);
  for (const model of lists) {
    const engine = createFakeEngine("house", [model]);
    engine.describe = async () => ({ ...model, capabilities: [] });
    windows.push((await facts.of({ engine, model }, never)).contextTokens);
  }
  return windows;
}

const { digest, ...model } = fakeModel("qwen", 1e9);
const lists = [512, 8_192].map((contextTokens) => ({ ...model, contextTokens }));

it("a model without a digest is described again when its list says something else of it", async () => {
  expect(await windowsAfter(lists)).toEqual([512, 8_192]);
});

it("a model with a digest is described once", async () => {
  expect(await windowsAfter(lists.map((each) => ({ ...each, digest: digest ?? "" })))).toEqual([512, 512]);
});
