import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { createDocumentFiles } from "../../../src/orchestrator/storage/document-files.ts";
import { InvalidRequest, UnknownComparison } from "../../../src/orchestrator/api/errors.ts";
import { createFakeEngine } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";
import { coder, compare, failureOf, small } from "./fixture.ts";

describe("a pick", () => {
  async function compared() {
    const engine = createFakeEngine("ollama", [small, coder]);
    const harness = createTestOrchestrator([engine]);
    const comparison = await compare(harness, {
      prompt: "Write a function that adds two numbers in TypeScript.",
      models: [small.name, coder.name],
    });
    return { harness, comparison, comparisons: harness.orchestrator.comparisons, caller: harness.caller() };
  }

  it("is what routing prefers from then on, with that reason, until it is undone", async () => {
    const { harness, comparison, comparisons, caller } = await compared();
    expect(comparison.task).toBe("code");
    const prompt = "Write a function that sorts a list in TypeScript.";
    const before = await harness.generate({ prompt });
    const other = before.model === small.name ? coder.name : small.name;
    const picked = await comparisons.pick(caller, comparison.id, other);
    expect(picked).toMatchObject({ task: "code", model: other, comparisonId: comparison.id });
    const answer = await harness.generate({ prompt });
    expect(answer.model).toBe(other);
    expect(answer.reason).toContain(`picked by you in a comparison on ${picked.pickedAt.slice(0, 10)}`);
    expect(await comparisons.preferences(caller)).toEqual([picked]);
    expect((await comparisons.get(caller, comparison.id)).winner).toBe(other);
    expect(await comparisons.undo(caller, "code")).toEqual(picked);
    expect(await comparisons.preferences(caller)).toEqual([]);
    expect((await comparisons.get(caller, comparison.id)).winner).toBeUndefined();
    expect((await harness.generate({ prompt, model: before.model })).model).toBe(before.model);
    expect(await comparisons.undo(caller, "code")).toBeUndefined();
  });

  it("ranks below the model of a trusted project, and above model.default", async () => {
    const { harness, comparison, comparisons, caller } = await compared();
    await comparisons.pick(caller, comparison.id, small.name);
    const asking = (isProjectModel: boolean) => ({
      ...caller,
      settings: {
        ...caller.settings,
        model: { ...caller.settings.model, default: coder.name },
        ...(isProjectModel && { isProjectModel }),
      },
    });
    const ask = { prompt: "hello", task: comparison.task };
    const inProject = await harness.generate(ask, asking(true));
    expect(inProject.model).toBe(coder.name);
    expect(inProject.reason).toMatch(/^the project's model, /);
    const outside = await harness.generate(ask, asking(false));
    expect(outside.model).toBe(small.name);
    expect(outside.reason).toMatch(/^picked by you in a comparison on /);
  });

  it("that is undone leaves the previous pick of the comparison in force", async () => {
    const { comparison, comparisons, caller } = await compared();
    await comparisons.pick(caller, comparison.id, small.name);
    await comparisons.pick(caller, comparison.id, coder.name);
    await comparisons.undo(caller, "code");
    expect((await comparisons.get(caller, comparison.id)).winner).toBe(small.name);
  });

  it("is replaced by a newer one, and in force again when that is undone", async () => {
    const { comparison, comparisons, caller } = await compared();
    await comparisons.pick(caller, comparison.id, small.name);
    await comparisons.pick(caller, comparison.id, coder.name);
    await comparisons.pick(caller, comparison.id, small.name, "creative");
    const inForce = async () => (await comparisons.preferences(caller)).map(({ task, model }) => [task, model]);
    expect(await inForce()).toEqual([
      ["creative", small.name],
      ["code", coder.name],
    ]);
    await comparisons.undo(caller, "code");
    expect(await inForce()).toEqual([
      ["creative", small.name],
      ["code", small.name],
    ]);
  });

  it("of an unknown comparison or model is refused with the nearest names", async () => {
    const { comparison, comparisons, caller } = await compared();
    const id = `${comparison.id.slice(0, -1)}_`;
    const unknown = await failureOf(comparisons.pick(caller, id, small.name));
    expect(unknown).toBeInstanceOf(UnknownComparison);
    expect(unknown.next).toEqual([{ step: "didYouMean", names: [comparison.id] }]);
    const model = await failureOf(comparisons.pick(caller, comparison.id, "lama3.2:3b"));
    expect(model).toBeInstanceOf(InvalidRequest);
    expect(model.next).toEqual([
      { step: "didYouMean", names: [small.name] },
      { step: "chooseOneOf", names: [small.name, coder.name] },
    ]);
  });

  it("of a model that did not answer is refused", async () => {
    const engine = createFakeEngine("ollama", [small]);
    const harness = createTestOrchestrator([engine]);
    const { id } = await compare(harness, { models: [small.name, "nothing:1b"] });
    const error = await failureOf(harness.orchestrator.comparisons.pick(harness.caller(), id, "nothing:1b"));
    expect(error.message).toContain("did not answer");
  });
});

it("files of picks and comparisons that can't be read are reported in the status, and new ones are stored", async () => {
  const home = await mkdtemp(path.join(tmpdir(), "ollm-picks-"));
  try {
    const documentFiles = createDocumentFiles(home);
    await documentFiles.replace("preferences.json", "{ oops");
    await documentFiles.replace("comparisons.json", "");
    const harness = createTestOrchestrator([createFakeEngine("ollama", [small, coder])], { documentFiles });
    const { comparisons } = harness.orchestrator;
    const { id } = await compare(harness, { models: [small.name, coder.name] });
    await comparisons.pick(harness.caller(), id, small.name);
    expect(await comparisons.preferences(harness.caller())).toMatchObject([{ model: small.name }]);
    const { warnings } = await harness.orchestrator.systemStatus(harness.caller());
    expect(warnings).toEqual([
      expect.stringMatching(/^comparisons\.json .*; it was set aside as /),
      expect.stringMatching(/^preferences\.json .*; it was set aside as /),
    ]);
    await harness.orchestrator.close();
  } finally {
    await rm(home, { recursive: true, force: true });
  }
});
