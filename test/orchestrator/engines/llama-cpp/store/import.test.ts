import { appendFileSync } from "node:fs";
import { link, mkdir, mkdtemp, readFile, rm, stat, symlink, truncate, utimes, writeFile } from "node:fs/promises";
import path from "node:path";
import { expect, onTestFinished, test } from "vitest";
import {
  Cancelled,
  InvalidRequest,
  LoadFailed,
  PullFailed,
  type OrchestratorError,
} from "../../../../../src/orchestrator/api/errors.ts";
import { advice } from "../../../../../src/orchestrator/api/next-step.ts";
import type { GgufHeader } from "../../../../../src/orchestrator/engines/gguf/header.ts";
import type { Progress } from "../../../../../src/orchestrator/api/types.ts";
import {
  eagerClock,
  expectSameBytes,
  filesBelow,
  ignore,
  never,
  recorder,
  sha256,
  storeFixture,
  weights,
} from "./store-fixture.ts";
import { summaryOf } from "../../../../support/tensor-summary.ts";

const data = weights(200_000);
const header: GgufHeader = {
  architecture: "llama",
  metadata: { "general.file_type": 15 },
  ...summaryOf([
    { name: "token_embd.weight", type: "Q4_K", shape: [1000, 7000] },
    { name: "output.weight", type: "Q6_K", shape: [600, 1] },
  ]),
  weightsBytes: 190_000,
  fileBytes: 200_000,
};

async function fixture() {
  const all = await storeFixture();
  const file = path.join(all.scratch, "Model.Q4_K_M.gguf");
  await writeFile(file, data);
  const failureOf = (work: Promise<unknown>) =>
    work.then(
      () => expect.unreachable("it succeeded"),
      (error: unknown) => error as OrchestratorError,
    );
  return { ...all, file, failureOf };
}

test("an imported file is a model in Ollama's layout, with the facts of its header", async () => {
  const { file, folder, store } = await fixture();
  const inspected: string[] = [];
  const models = store({
    inspect: async (name) => {
      inspected.push(name);
      return header;
    },
  });
  const answer = await models.import(file, "mine", ignore, never);
  expect(answer).toMatchObject({ name: "mine:latest", digest: sha256(data), wasAlreadyPresent: false });
  expect(inspected).toEqual([file]);
  const model = await models.find("mine");
  expect(model).toMatchObject({ family: "llama", parameterSize: "7.00M", quantization: "Q4_K_M", isReadOnly: false });
  expectSameBytes(await readFile(model?.weightsFile ?? ""), data);
  const manifest = JSON.parse(
    await readFile(path.join(folder, "manifests/registry.ollama.ai/library/mine/latest"), "utf8"),
  );
  expect(manifest).toMatchObject({
    schemaVersion: 2,
    mediaType: "application/vnd.docker.distribution.manifest.v2+json",
    config: { mediaType: "application/vnd.docker.container.image.v1+json" },
    layers: [{ mediaType: "application/vnd.ollama.image.model", digest: `sha256:${sha256(data)}`, size: data.length }],
  });
  expect(await filesBelow(folder)).toHaveLength(3);
  expect(answer.sizeBytes).toBe(data.length + manifest.config.size);
});

test("no byte is copied if the file can be linked, and the source is kept", async () => {
  const { file, store } = await fixture();
  const models = store({ freeDiskBytes: async () => 0 });
  await models.import(file, "mine", ignore, never);
  expectSameBytes(await readFile(file), data);
});

test("a file that can't be linked is copied, with progress, if there is room", async ({ skip }) => {
  const { folder, store, failureOf } = await fixture();
  const otherVolume = "/dev/shm";
  const isOther = await stat(otherVolume).then(
    async ({ dev }) => dev !== (await stat(path.dirname(folder))).dev,
    () => false,
  );
  skip(!isOther, "this machine has no second volume that tests may write to");
  const otherFolder = await mkdtemp(path.join(otherVolume, "ollm-import-"));
  onTestFinished(() => rm(otherFolder, { recursive: true, force: true }));
  const outside = path.join(otherFolder, "model.gguf");
  await writeFile(outside, data);
  const models = store({ freeDiskBytes: async () => 1000 });
  const failure = await failureOf(models.import(outside, "mine", ignore, never));
  expect(failure).toBeInstanceOf(PullFailed);
  expect(failure.message).toContain("(200000 bytes)");
  expect(failure.message).toContain("(1000 bytes) free");
  const { seen, report } = recorder();
  const roomy = store({ now: eagerClock(), freeDiskBytes: async () => 1e9 });
  await roomy.import(outside, "mine", report, never);
  expect(seen.at(-1)).toMatchObject({ message: "copying mine:latest", completedBytes: 200_000, totalBytes: 200_000 });
  const model = await roomy.find("mine");
  expect((await stat(model?.weightsFile ?? "")).nlink).toBe(1);
  expect(await filesBelow(folder)).toHaveLength(3);
});

test("the same content under another name costs no bytes", async () => {
  const { file, folder, store } = await fixture();
  const models = store();
  await models.import(file, "one", ignore, never);
  const copy = path.join(path.dirname(file), "copy.gguf");
  await writeFile(copy, data);
  const answer = await models.import(copy, "two:x", ignore, never);
  expect(answer).toMatchObject({ name: "two:x", digest: sha256(data), wasAlreadyPresent: false });
  expect(await filesBelow(folder)).toHaveLength(4);
  expect(await models.list()).toHaveLength(2);
});

test("a repeated import changes nothing and reports that; other content replaces the model and reports that", async () => {
  const { file, folder, store } = await fixture();
  const models = store();
  await models.import(file, "mine", ignore, never);
  expect(await models.import(file, "mine", ignore, never)).toMatchObject({ wasAlreadyPresent: true });
  const other = path.join(path.dirname(file), "other.gguf");
  await writeFile(other, weights(5000, 2));
  const answer = await models.import(other, "MINE", ignore, never);
  expect(answer).toMatchObject({
    name: "mine:latest",
    wasAlreadyPresent: false,
    note: "it replaced another MINE:latest of 200.3 kB",
  });
  expect(await models.list()).toHaveLength(1);
  expect(await filesBelow(folder)).toHaveLength(3);
  expectSameBytes(await readFile(file), data);
});

test("a linked file that is written to afterwards is refused until it is imported again", async () => {
  const { file, store } = await fixture();
  const models = store();
  await models.import(file, "mine", ignore, never);
  const linked = (await models.find("mine"))?.weightsFile ?? "";
  // On a file system with reflinks there is nothing to protect from.
  if ((await stat(linked)).nlink === 1) await link(linked, `${linked}.second`);
  const writer = (await stat(file)).ino === (await stat(linked)).ino ? file : `${linked}.second`;
  const changed = Buffer.from(data);
  changed[1000] = (changed[1000] ?? 0) ^ 1;
  await writeFile(writer, changed);
  const later = new Date(Date.now() + 60_000);
  await utimes(writer, later, later);
  expect(await models.find("mine")).toMatchObject({ unsupported: expect.stringContaining("must be imported again") });

  const original = path.join(path.dirname(file), "original.gguf");
  await writeFile(original, data);
  await models.import(original, "mine", ignore, never);
  const again = await models.find("mine");
  expect(again?.unsupported).toBeUndefined();
  expectSameBytes(await readFile(again?.weightsFile ?? ""), data);
});

test("a linked file that was only touched can be used again after another import", async () => {
  const { file, folder, store } = await fixture();
  const models = store();
  await models.import(file, "mine", ignore, never);
  const blob = (await models.find("mine"))?.weightsFile ?? "";
  if ((await stat(blob)).nlink === 1) await link(blob, `${blob}.second`);
  // As if a minute had passed since the import, and the source was touched now.
  const manifest = path.join(folder, "manifests/registry.ollama.ai/library/mine/latest");
  const aMinuteAgo = new Date(Date.now() - 60_000);
  await utimes(manifest, aMinuteAgo, aMinuteAgo);
  expect(await models.find("mine")).toMatchObject({ unsupported: expect.stringContaining("must be imported again") });
  expect(await models.import(file, "mine", ignore, never)).toMatchObject({ wasAlreadyPresent: true });
  expect((await models.find("mine"))?.unsupported).toBeUndefined();
});

test("a pull doesn't trust a linked file: changed content is downloaded", async () => {
  const { file, registry, store } = await fixture();
  registry.publish("m", { layers: [{ type: "model", data }] });
  const models = store();
  await models.import(file, "mine", ignore, never);
  const blob = (await models.find("mine"))?.weightsFile ?? "";
  if ((await stat(blob)).nlink === 1) await link(blob, `${blob}.second`);
  const changed = Buffer.from(data);
  changed[1000] = (changed[1000] ?? 0) ^ 1;
  await writeFile(blob, changed);
  await models.pull("m", ignore, never);
  expectSameBytes(await readFile((await models.find("m"))?.weightsFile ?? ""), data);
});

test("a symlink is followed to the file itself", async () => {
  const { file, store, scratch } = await fixture();
  const pointer = path.join(scratch, "pointer.gguf");
  await symlink(file, pointer);
  const models = store();
  await models.import(pointer, "mine", ignore, never);
  expect((await stat((await models.find("mine"))?.weightsFile ?? "")).size).toBe(data.length);
});

test.each<[string, string, (file: string) => Promise<unknown>, new (...args: never[]) => Error, string]>([
  ["a missing file", "gone.gguf", async () => undefined, InvalidRequest, "there is no such file"],
  ["a folder", "folder.gguf", (file) => mkdir(file), InvalidRequest, "is a folder"],
  ["an empty file", "empty.gguf", (file) => writeFile(file, ""), LoadFailed, "is empty"],
  ["something else", "page.gguf", (file) => writeFile(file, "<!doctype html>"), LoadFailed, "is not a GGUF file"],
  [
    "a part of a split model",
    "big-00002-of-00003.gguf",
    (file) => writeFile(file, data),
    InvalidRequest,
    "part 2 of 3",
  ],
])("%s is refused before anything is written", async (_what, name, make, errorClass, text) => {
  const { scratch, folder, store, failureOf } = await fixture();
  const file = path.join(scratch, name);
  await make(file);
  const failure = await failureOf(store().import(file, "mine", ignore, never));
  expect(failure).toBeInstanceOf(errorClass);
  expect(failure.message).toContain(text);
  expect(failure.next).not.toEqual([]);
  await expect(stat(folder)).rejects.toThrow("ENOENT");
});

test("a relative path is refused", async () => {
  const { store, failureOf } = await fixture();
  expect((await failureOf(store().import("model.gguf", "mine", ignore, never))).message).toContain(
    "not an absolute path",
  );
});

test("an invalid header is reported, and nothing is imported", async () => {
  const { file, store, failureOf } = await fixture();
  const models = store({
    inspect: async () => {
      throw new LoadFailed("tensor output.weight is outside the file", { next: advice("download it again") });
    },
  });
  const failure = await failureOf(models.import(file, "mine", ignore, never));
  expect(failure).toBeInstanceOf(LoadFailed);
  expect(failure.message).toContain("is outside the file");
  expect(await models.list()).toEqual([]);
});

test("a cancel leaves nothing behind", async () => {
  const { file, folder, store, failureOf } = await fixture();
  await truncate(file, 5_000_000);
  const caller = new AbortController();
  const cancelAtOnce = () => caller.abort();
  expect(await failureOf(store().import(file, "mine", cancelAtOnce, caller.signal))).toBeInstanceOf(Cancelled);
  expect(await filesBelow(path.dirname(folder))).toEqual([path.basename(file)]);
});

test("a file that grows while it is imported is refused", async () => {
  const { file, folder, store, failureOf } = await fixture();
  let isAppended = false;
  const models = store();
  const growing = (progress: Progress) => {
    if (progress.completedBytes !== 0 || isAppended) return;
    isAppended = true;
    // Synchronous, so that it happens between the two checks of the file.
    appendFileSync(file, "more");
  };
  const failure = await failureOf(models.import(file, "mine", growing, never));
  expect(isAppended).toBe(true);
  expect(failure.message).toContain("was changed while it was imported");
  expect(await models.list()).toEqual([]);
  expect(await filesBelow(folder)).toEqual([]);
});
