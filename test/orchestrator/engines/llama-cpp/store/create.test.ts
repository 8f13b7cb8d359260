import { mkdir, readdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { InvalidRequest } from "../../../../../src/orchestrator/api/errors.ts";
import { filesBelow, ignore, never, sha256, storeFixture, weights } from "./store-fixture.ts";

const data = weights(200_000);

async function fixture() {
  const all = await storeFixture();
  const file = path.join(all.scratch, "model.gguf");
  await writeFile(file, data);
  const store = all.store();
  await store.import(file, "base", ignore, never);
  return { ...all, models: store };
}

test("refers to the base's weights, which are neither read nor written", async () => {
  const { models, folder } = await fixture();
  const before = await readdir(path.join(folder, "blobs"));
  const recipe = { name: "poet:latest", base: "base:latest", system: "You rhyme.", parameters: { temperature: 1.2 } };
  const made = await models.create(recipe, ignore, never);
  expect(made).toMatchObject({ name: "poet:latest", digest: sha256(data), wasAlreadyPresent: false });
  expect(await models.find("poet")).toMatchObject({ system: "You rhyme.", parameters: { temperature: 1.2 } });
  const added = (await readdir(path.join(folder, "blobs"))).filter((name) => !before.includes(name));
  expect(added.toSorted()).toEqual(
    ["You rhyme.", '{"temperature":1.2}'].map((text) => `sha256-${sha256(Buffer.from(text))}`).toSorted(),
  );
});

test("inherits each parameter that the recipe doesn't set", async () => {
  const { models } = await fixture();
  const parameters = { temperature: 1.2, stop: ["END"] };
  await models.create({ name: "poet:latest", base: "base", system: "You rhyme.", parameters }, ignore, never);
  await models.create({ name: "calm:1", base: "poet", parameters: { temperature: 0.1 } }, ignore, never);
  expect(await models.find("calm:1")).toMatchObject({
    system: "You rhyme.",
    parameters: { temperature: 0.1, stop: ["END"] },
    digest: sha256(data),
  });
});

test("imports its adapter, after those of its base", async () => {
  const { models, scratch } = await fixture();
  const adapterFile = path.join(scratch, "lora.gguf");
  for (const [name, base, seed] of [
    ["one:1", "base", 2],
    ["two:1", "one:1", 3],
  ] as const) {
    await writeFile(adapterFile, weights(5_000, seed));
    await models.create({ name, base, parameters: {}, adapterFile }, ignore, never);
  }
  const files = [2, 3].map((seed) => `sha256-${sha256(weights(5_000, seed))}`);
  const { adapterFiles } = (await models.find("two:1")) ?? {};
  expect(adapterFiles?.map((file) => path.basename(file))).toEqual(files);
});

test("an invalid adapter is refused, and leaves nothing behind", async () => {
  const { scratch, folder, store } = await fixture();
  const models = store({
    inspect: () =>
      Promise.resolve({
        architecture: "llama",
        metadata: { "general.type": "model" },
        tensors: {},
        weightsByType: {},
        weightsBytes: 1,
        fileBytes: 1,
      }),
  });
  const before = await filesBelow(folder);
  const recipe = { name: "poet:latest", base: "base", parameters: {}, adapterFile: path.join(scratch, "model.gguf") };
  await expect(models.create(recipe, ignore, never)).rejects.toThrow("is a model, not an adapter");
  await expect(
    models.create({ ...recipe, adapterFile: path.join(scratch, "none.gguf") }, ignore, never),
  ).rejects.toBeInstanceOf(InvalidRequest);
  expect(await filesBelow(folder)).toEqual(before);
});

test("the base can be deleted: shared blobs are kept until the last model that uses them is deleted", async () => {
  const { models, folder } = await fixture();
  await models.create({ name: "poet:latest", base: "base", system: "You rhyme.", parameters: {} }, ignore, never);
  await models.remove("base");
  expect(await models.find("poet")).toMatchObject({ digest: sha256(data) });
  await models.remove("poet");
  expect(await readdir(path.join(folder, "blobs"))).toEqual([]);
});

test("replacing a model deletes the blobs that only it needed", async () => {
  const { models, folder } = await fixture();
  const recipe = { name: "poet:latest", base: "base", parameters: {} };
  await models.create({ ...recipe, system: "You rhyme." }, ignore, never);
  await models.create({ ...recipe, system: "You don't." }, ignore, never);
  const blobs = await readdir(path.join(folder, "blobs"));
  expect(blobs).not.toContain(`sha256-${sha256(Buffer.from("You rhyme."))}`);
  expect((await models.find("poet"))?.system).toBe("You don't.");
});

test("a base in Ollama's store is refused with the next steps: that store is only read", async () => {
  const { folder, scratch, store } = await fixture();
  const own = path.join(scratch, "own");
  await mkdir(own);
  const models = store({ folder: own, readOnlyFolders: [folder] });
  const recipe = { name: "poet:latest", base: "base:latest", parameters: {} };
  await expect(models.create(recipe, ignore, never)).rejects.toMatchObject({
    message: "base:latest is in Ollama's store, which ollm only reads",
    next: [
      { step: "advice", text: "start Ollama, which can then create the model itself" },
      { step: "pullModel", model: "base:latest", engine: "llama-cpp" },
    ],
  });
});
