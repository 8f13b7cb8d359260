import { chmod, mkdir, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { describe, expect, test } from "vitest";
import {
  InvalidConfig,
  InvalidRequest,
  UnknownModel,
  type OrchestratorError,
} from "../../../../../src/orchestrator/api/errors.ts";
import { filesBelow, ignore, never, sha256, storeFixture, weights } from "./store-fixture.ts";

/** A store with a foreign one beside it, as a real Ollama leaves it: `m:latest`, and `theirs:7b` in both. */
async function fixture() {
  const all = await storeFixture();
  const foreignFolder = path.join(all.scratch, "ollama", "models");
  const foreign = all.registry.publish("theirs:7b", { layers: [{ type: "model", data: weights(1000, 1) }] });
  all.registry.publish("m", { layers: [{ type: "model", data: weights(1000, 2) }] });
  const ollama = all.store({ folder: foreignFolder });
  await ollama.pull("theirs:7b", ignore, never);
  await ollama.pull("m", ignore, never);
  const manifest = (name: string) => path.join(foreignFolder, "manifests/registry.ollama.ai/library", name);
  const failureOf = (work: Promise<unknown>) =>
    work.then(
      () => expect.unreachable("it succeeded"),
      (error: unknown) => error as OrchestratorError,
    );
  const models = all.store({ readOnlyFolders: [foreignFolder, path.join(all.scratch, "absent")] });
  return { ...all, foreign, foreignFolder, manifest, failureOf, models };
}

const isRoot = process.getuid?.() === 0;

describe("a foreign store", () => {
  test("is listed after our own models, read-only, and an own model hides one of the same name", async () => {
    const { registry, models, store } = await fixture();
    expect((await models.list()).map(({ name, isReadOnly }) => [name, isReadOnly])).toEqual([
      ["m:latest", true],
      ["theirs:7b", true],
    ]);
    const own = registry.publish("m", { layers: [{ type: "model", data: weights(1000, 3) }] });
    await store().pull("m", ignore, never);
    expect((await models.list()).map(({ name, isReadOnly }) => [name, isReadOnly])).toEqual([
      ["m:latest", false],
      ["theirs:7b", true],
    ]);
    expect((await models.find("m"))?.digest).toBe(own.layerDigests[0]);
  });

  test("returns the path of weights by their sha256", async () => {
    const { models, foreign, foreignFolder } = await fixture();
    const [digest = ""] = foreign.layerDigests;
    expect(await models.weights(digest)).toBe(path.join(foreignFolder, "blobs", `sha256-${digest}`));
    expect(await models.weights("0".repeat(64))).toBeUndefined();
    expect(await models.weights(`../${digest}`)).toBeUndefined();
  });

  test("satisfies a pull of its models: nothing is downloaded or written", async () => {
    const { registry, models, foreign, folder } = await fixture();
    const before = registry.requests.length;
    expect(await models.pull("theirs:7b", ignore, never)).toEqual({
      name: "theirs:7b",
      digest: foreign.layerDigests[0],
      sizeBytes: foreign.sizeBytes,
      wasAlreadyPresent: true,
      note: "it is in Ollama's store, from which it is used directly",
    });
    expect(registry.requests).toHaveLength(before);
    await expect(readdir(folder)).rejects.toThrow("ENOENT");
  });

  test("is never deleted from: the refusal names Ollama's own command", async () => {
    const { models, foreignFolder, failureOf } = await fixture();
    const before = await filesBelow(foreignFolder);
    const failure = await failureOf(models.remove("theirs:7b"));
    expect(failure).toBeInstanceOf(InvalidRequest);
    expect(failure.next).toEqual([{ step: "advice", text: "run `ollama rm theirs:7b`" }]);
    expect(await filesBelow(foreignFolder)).toEqual(before);
  });

  test("can't be our own folder: Ollama deletes what it doesn't know", async () => {
    const { store, foreignFolder } = await fixture();
    expect(() => store({ folder: `${foreignFolder}/`, readOnlyFolders: [foreignFolder] })).toThrow(InvalidConfig);
  });

  test.skipIf(isRoot || process.platform === "win32")(
    "that can't be read is passed over with a line in the log (root and Windows read everything)",
    async () => {
      const { models, foreignFolder, warnings } = await fixture();
      await chmod(path.join(foreignFolder, "manifests"), 0);
      expect(await models.list()).toEqual([]);
      await models.list();
      expect(warnings).toEqual([expect.stringContaining("are ignored")]);
      await chmod(path.join(foreignFolder, "manifests"), 0o700);
    },
  );

  test("whose manifests folder is a file is ignored", async () => {
    const { models, foreignFolder } = await fixture();
    await rm(path.join(foreignFolder, "manifests"), { recursive: true });
    await writeFile(path.join(foreignFolder, "manifests"), "");
    expect(await models.list()).toEqual([]);
  });

  test("with a symlinked blob (models on another disk) is read through the link", async () => {
    const { models, foreign, foreignFolder, scratch } = await fixture();
    const blob = path.join(foreignFolder, "blobs", `sha256-${foreign.layerDigests[0]}`);
    const elsewhere = path.join(scratch, "elsewhere");
    await writeFile(elsewhere, await readFile(blob));
    await rm(blob);
    await symlink(elsewhere, blob);
    expect((await models.find("theirs:7b"))?.weightsFile).toBe(blob);
  });
});

describe("a list", () => {
  test.each<[string, string | undefined, string]>([
    ["not JSON", "oops", "it is not JSON"],
    ["empty", "", "it is not JSON"],
    [
      "with a digest that leaves the folder",
      '{"layers":[{"mediaType":"x","digest":"sha256:../../secret","size":1}]}',
      "digest",
    ],
    [
      "of blobs that are missing",
      `{"layers":[{"mediaType":"x","digest":"sha256:${"0".repeat(64)}","size":1}]}`,
      "is missing",
    ],
    ["as large as no manifest is", undefined, "more than the 8388608"],
  ])("ignores a manifest %s, reports it once, and shows the others", async (_what, content, text) => {
    const { models, manifest, warnings } = await fixture();
    await writeFile(manifest("m/latest"), content ?? Buffer.alloc(8 * 1024 ** 2 + 1, "x"));
    expect((await models.list()).map(({ name }) => name)).toEqual(["theirs:7b"]);
    expect(await models.find("m")).toBeUndefined();
    expect(warnings).toEqual([expect.stringMatching(/^m:latest is ignored: /)]);
    expect(warnings[0]).toContain(text);
  });

  test("ignores everything but models: stray files, folders in place of tags, hidden files, other depths", async () => {
    const { models, manifest, foreignFolder, warnings } = await fixture();
    await writeFile(path.join(foreignFolder, "manifests", ".DS_Store"), "x");
    await writeFile(manifest("theirs/.latest.tmp"), "x");
    await writeFile(manifest("stray"), "x");
    await mkdir(manifest("theirs/folder"));
    expect((await models.list()).map(({ name }) => name)).toEqual(["m:latest", "theirs:7b"]);
    expect(warnings).toEqual([expect.stringContaining("theirs:folder is ignored")]);
  });

  test.each([
    [
      "tensor layers",
      { layers: [{ type: "tensor", data: "x" }], config: { model_format: "safetensors" } },
      "tensor layers",
    ],
    [
      "no weights",
      { layers: [], config: { remote_host: "https://ollama.com", remote_model: "gpt-oss" } },
      "cloud model",
    ],
    [
      "unreadable parameters",
      {
        layers: [
          { type: "model", data: "GGUF" },
          { type: "params", data: "oops" },
        ],
      },
      "its parameters can't be read",
    ],
    [
      "a huge system prompt",
      {
        layers: [
          { type: "model", data: "GGUF" },
          { type: "system", data: "x".repeat(1024 ** 2 + 1) },
        ],
      },
      "its system prompt can't be read",
    ],
  ])("shows a model with %s as unsupported, and why", async (_what, model, reason) => {
    const { registry, models, manifest, foreignFolder } = await fixture();
    const { manifest: raw } = registry.publish("odd", model);
    // Ollama pulls models that we refuse to pull.
    for (const [hex, data] of blobsIn(model)) await writeFile(path.join(foreignFolder, "blobs", `sha256-${hex}`), data);
    await mkdir(path.dirname(manifest("odd/latest")), { recursive: true });
    await writeFile(manifest("odd/latest"), raw);
    expect((await models.find("odd"))?.unsupported).toContain(reason);
  });

  test("includes adapters and projectors", async () => {
    const { registry, store } = await storeFixture();
    const { layerDigests } = registry.publish("llava", {
      layers: [
        { type: "model", data: "GGUF" },
        { type: "projector", data: "GGUF projector" },
        { type: "adapter", data: "GGUF adapter" },
      ],
    });
    const models = store();
    await models.pull("llava", ignore, never);
    const model = await models.find("llava");
    expect(model?.unsupported).toBeUndefined();
    expect(model?.adapterFiles.map((file) => path.basename(file))).toEqual([`sha256-${layerDigests[2]}`]);
  });

  test("finds nothing for an invalid name", async () => {
    const { models } = await fixture();
    expect(await models.find("../../etc/passwd")).toBeUndefined();
  });
});

describe("remove", () => {
  async function removeFixture() {
    const all = await storeFixture();
    const shared = { type: "model", data: weights(1000) };
    all.registry.publish("a", { layers: [shared, { type: "system", data: "only a" }] });
    all.registry.publish("ns/b:x", { layers: [shared] });
    const models = all.store();
    await models.pull("a", ignore, never);
    await models.pull("ns/b:x", ignore, never);
    return { ...all, models, weightsDigest: sha256(shared.data) };
  }

  test("deletes the blobs that no other model names, and empty folders", async () => {
    const { models, folder, weightsDigest } = await removeFixture();
    expect(await models.remove("A:latest")).toEqual({ freedBytes: "only a".length });
    expect((await models.list()).map(({ name }) => name)).toEqual(["ns/b:x"]);
    expect(await filesBelow(folder)).toContain(path.join("blobs", `sha256-${weightsDigest}`));
    const { freedBytes } = await models.remove("ns/b:x");
    expect(freedBytes).toBeGreaterThan(1000);
    expect(await filesBelow(folder)).toEqual([]);
    expect(await readdir(path.join(folder, "manifests"))).toEqual([]);
  });

  test("keeps blobs that a malformed manifest names", async () => {
    const { models, folder, weightsDigest } = await removeFixture();
    const other = path.join(folder, "manifests/registry.ollama.ai/ns/b/x");
    await writeFile(other, (await readFile(other, "utf8")).slice(0, -2));
    expect(await models.remove("a")).toEqual({ freedBytes: "only a".length });
    expect(await filesBelow(folder)).toContain(path.join("blobs", `sha256-${weightsDigest}`));
  });

  test("deletes a damaged model", async () => {
    const { models, folder } = await removeFixture();
    await writeFile(path.join(folder, "manifests/registry.ollama.ai/library/a/latest"), "oops");
    expect(await models.remove("a")).toEqual({ freedBytes: 0 });
  });

  test("doesn't count the bytes of an imported file as freed", async () => {
    const { store, scratch } = await storeFixture();
    const file = path.join(scratch, "x.gguf");
    await writeFile(file, weights(5000));
    const models = store();
    await models.import(file, "mine", ignore, never);
    const { freedBytes } = await models.remove("mine");
    expect(freedBytes).toBeLessThan(6000);
    expect(await readFile(file)).toEqual(weights(5000));
  });

  test("of an unknown name suggests the nearest", async () => {
    const { models } = await removeFixture();
    const failure = await models.remove("ns/bb:x").catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(UnknownModel);
    expect((failure as UnknownModel).next).toEqual([{ step: "didYouMean", names: ["ns/b:x"] }]);
  });

  test("doesn't harm a simultaneous pull of a model with the same weights", async () => {
    const { models, registry } = await removeFixture();
    await models.remove("ns/b:x");
    registry.publish("c", {
      layers: [
        { type: "model", data: weights(1000) },
        { type: "license", data: "long".repeat(100) },
      ],
    });
    registry.misbehave({ on: "blob", kind: "hold", afterBytes: 10, times: 1 });
    const pull = models.pull("c", ignore, never);
    await registry.waitFor((request) => request.path.endsWith(sha256("long".repeat(100))));
    await models.remove("a");
    registry.release();
    await pull;
    expect((await models.find("c"))?.digest).toBe(sha256(weights(1000)));
  });
});

function blobsIn(model: { layers: readonly { data: string }[]; config?: unknown }): readonly [string, string][] {
  const fallback = { model_format: "gguf", model_family: "llama", model_type: "134.52M", file_type: "Q4_1" };
  return [...model.layers.map(({ data }) => data), JSON.stringify(model.config ?? fallback)].map((data) => [
    sha256(data),
    data,
  ]);
}
