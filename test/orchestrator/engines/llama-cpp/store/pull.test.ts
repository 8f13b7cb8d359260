import { readFile, stat } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { Cancelled, PullFailed, UnknownModel } from "../../../../../src/orchestrator/api/errors.ts";
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

const MB = 1024 ** 2;

test("a pulled model is stored in Ollama's layout, byte for byte, and listed with the facts of its manifest", async () => {
  const { registry, folder, store } = await storeFixture();
  const data = weights(MB);
  const published = registry.publish("smollm2:135m", {
    layers: [
      { type: "model", data },
      { type: "system", data: "You are terse." },
      { type: "params", data: JSON.stringify({ stop: ["<|im_end|>"], temperature: 0.2 }) },
      { type: "template", data: "{{ .Prompt }}" },
    ],
  });
  const models = store();
  expect(await models.list()).toEqual([]);

  const answer = await models.pull("smollm2:135m", ignore, never);
  expect(answer).toEqual({
    name: "smollm2:135m",
    digest: sha256(data),
    sizeBytes: published.sizeBytes,
    wasAlreadyPresent: false,
  });
  const manifestFile = path.join(folder, "manifests/registry.ollama.ai/library/smollm2/135m");
  expect(await readFile(manifestFile, "utf8")).toBe(published.manifest);
  expectSameBytes(await readFile(path.join(folder, "blobs", `sha256-${sha256(data)}`)), data);
  expect(await filesBelow(folder)).toHaveLength(6);
  const [listed] = await models.list();
  expect(listed).toEqual({
    name: "smollm2:135m",
    digest: sha256(data),
    sizeBytes: published.sizeBytes,
    modifiedAt: (await stat(manifestFile)).mtime.toISOString(),
    weightsFile: path.join(folder, "blobs", `sha256-${sha256(data)}`),
    adapterFiles: [],
    system: "You are terse.",
    parameters: { stop: ["<|im_end|>"], temperature: 0.2 },
    family: "llama",
    parameterSize: "134.52M",
    quantization: "Q4_1",
    isReadOnly: false,
  });
  expect(await models.find("SmolLM2:135M")).toEqual(listed);
  expect(await models.find("smollm2")).toBeUndefined();
  if (process.platform !== "win32") {
    expect((await stat(manifestFile)).mode & 0o777).toBe(0o600);
    expect((await stat(path.join(folder, "blobs"))).mode & 0o777).toBe(0o700);
  }
});

test("the size is reported first, then bytes, total and speed until the end", async () => {
  const { registry, store } = await storeFixture();
  const { sizeBytes } = registry.publish("m", { layers: [{ type: "model", data: weights(3 * MB) }] });
  const models = store({ now: eagerClock() });
  const { seen, report } = recorder();
  await models.pull("m", report, never);
  expect(seen.slice(0, 2)).toEqual([
    { message: "looking up m:latest" },
    { message: "m:latest: 3.1 MB to download", completedBytes: 0, totalBytes: sizeBytes },
  ]);
  const counts = seen.slice(1).map((progress) => progress.completedBytes ?? -1);
  expect(counts).toEqual(counts.toSorted((a, b) => a - b));
  expect(seen.at(-1)).toEqual({ message: "writing m:latest", completedBytes: sizeBytes, totalBytes: sizeBytes });
  expect(seen.some((progress) => (progress.bytesPerSecond ?? 0) > 0)).toBe(true);
});

test("an installed model downloads no blob, and the answer notes it", async () => {
  const { registry, store } = await storeFixture();
  registry.publish("m", { layers: [{ type: "model", data: weights(1000) }] });
  const models = store();
  await models.pull("m", ignore, never);
  const before = registry.requests.length;
  expect(await models.pull("m:latest", ignore, never)).toMatchObject({ name: "m:latest", wasAlreadyPresent: true });
  expect(registry.requests.slice(before).map((request) => request.path)).toEqual(["/v2/library/m/manifests/latest"]);
});

test("changed blobs are downloaded, and those that only the old model needed are deleted", async () => {
  const { registry, folder, store } = await storeFixture();
  const shared = { type: "system", data: "same in both" };
  const old = registry.publish("m", { layers: [{ type: "model", data: weights(1000, 1) }, shared] });
  const models = store();
  await models.pull("m", ignore, never);
  const renewed = registry.publish("m", { layers: [{ type: "model", data: weights(1000, 2) }, shared] });
  expect(await models.pull("m", ignore, never)).toMatchObject({
    digest: renewed.layerDigests[0],
    wasAlreadyPresent: false,
    note: "it replaced an older m:latest",
  });
  const files = await filesBelow(folder);
  expect(files).not.toContain(path.join("blobs", `sha256-${old.layerDigests[0]}`));
  expect(files).toHaveLength(4);
});

test("two simultaneous pulls of a model share one download, and both report progress", async () => {
  const { registry, store } = await storeFixture();
  registry.publish("m", { layers: [{ type: "model", data: weights(MB) }] });
  registry.publish("other-name", { layers: [{ type: "model", data: weights(MB) }] });
  registry.misbehave({ on: "blob", kind: "hold", afterBytes: 1000, minBytes: MB, times: 1 });
  const models = store({ now: eagerClock() });
  const [first, second, third] = [recorder(), recorder(), recorder()];
  const pulls = [models.pull("m", first.report, never), models.pull("m:latest", second.report, never)];
  pulls.push(models.pull("other-name", third.report, never));
  await Promise.all([first, second, third].map(({ until }) => until((progress) => progress.completedBytes === 1000)));
  registry.release();
  const answers = await Promise.all(pulls);
  expect(answers.map((answer) => answer.name)).toEqual(["m:latest", "m:latest", "other-name:latest"]);
  const blobRequests = registry.requests.filter((request) => request.path.includes("/blobs/"));
  expect(new Set(blobRequests.map((request) => request.path.split("/").at(-1))).size).toBe(blobRequests.length);
});

test("of two pulls that share a download one can be cancelled without the other", async () => {
  const { registry, store } = await storeFixture();
  registry.publish("m", { layers: [{ type: "model", data: weights(MB) }] });
  registry.misbehave({ on: "blob", kind: "hold", afterBytes: 1000, minBytes: MB, times: 1 });
  const models = store({ now: eagerClock() });
  const [leaver, stayer] = [new AbortController(), recorder()];
  const left = models.pull("m", ignore, leaver.signal);
  const stayed = models.pull("m", stayer.report, never);
  await stayer.until((progress) => progress.completedBytes === 1000);
  leaver.abort();
  await expect(left).rejects.toThrow(Cancelled);
  registry.release();
  expect(await stayed).toMatchObject({ name: "m:latest" });
  expect(registry.requests.filter((request) => request.path.includes("/blobs/"))).toHaveLength(2);
});

test("a cancelled pull keeps what has arrived and lists nothing, and the next one downloads only the rest", async () => {
  const { registry, folder, store } = await storeFixture();
  const data = weights(MB);
  const { layerDigests } = registry.publish("m", { layers: [{ type: "model", data }] });
  registry.misbehave({ on: "blob", kind: "hold", afterBytes: 400_000, minBytes: MB, times: 1 });
  const models = store({ now: eagerClock() });
  const caller = new AbortController();
  const { report, until } = recorder();
  const pull = models.pull("m", report, caller.signal);
  await until((progress) => progress.completedBytes === 400_000);
  caller.abort();
  await expect(pull).rejects.toThrow(Cancelled);
  expect(await models.list()).toEqual([]);
  expect(await filesBelow(folder)).toEqual([path.join("blobs", `sha256-${layerDigests[0]}-partial`)]);

  // A later start of the program, too.
  const later = store();
  const { seen, report: reportAgain } = recorder();
  await later.pull("m", reportAgain, never);
  expect(seen[1]?.completedBytes).toBe(400_000);
  expect(registry.requests.at(-2)?.range).toBe("bytes=400000-");
  expect((await later.find("m"))?.digest).toBe(sha256(data));
});

test("the registry's token is not sent to another host that blobs are redirected to", async () => {
  const { registry, store } = await storeFixture();
  registry.publish("gated/m:x", { layers: [{ type: "model", data: weights(1000) }] });
  registry.token = "anonymous-7";
  registry.redirectsBlobs = true;
  expect(await store().pull("gated/m:x", ignore, never)).toMatchObject({ name: "gated/m:x" });
  const byServer = (server: string) => registry.requests.filter((request) => request.server === server);
  expect(byServer("registry").at(-1)?.authorization).toBe("Bearer anonymous-7");
  expect(byServer("other")).toHaveLength(2);
  expect(byServer("other").every((request) => request.authorization === undefined)).toBe(true);
  expect(byServer("registry").filter((request) => request.path === "/token")).toHaveLength(1);
});

test("a name with a host is downloaded from that host and stored under it", async () => {
  const { registry, store } = await storeFixture();
  registry.publish("org/repo:Q4_K_M", { layers: [{ type: "model", data: weights(1000) }] });
  const models = store({
    registry: { defaultHost: "unused.invalid", stallTimeoutMs: 10_000 },
  });
  const name = `${registry.host}/org/repo:Q4_K_M`;
  expect(await models.pull(name, ignore, never)).toMatchObject({ name });
  expect((await models.find(name.replace("Q4_K_M", "q4_k_m")))?.name).toBe(name);
});

test("an empty layer and a repeated layer are one blob each", async () => {
  const { registry, folder, store } = await storeFixture();
  registry.publish("m", {
    layers: [
      { type: "model", data: weights(1000) },
      { type: "license", data: "" },
      { type: "license", data: "same" },
      { type: "license", data: "same" },
    ],
  });
  await store().pull("m", ignore, never);
  expect(await filesBelow(folder)).toHaveLength(5);
});

test.each([
  ["tensor layers", { layers: [{ type: "tensor", data: "x", name: "model.weight" }] }, "tensor layers", "without mlx"],
  ["no weights", { layers: [] }, "cloud model", "without cloud"],
  [
    "split weights",
    {
      layers: [
        { type: "model", data: "GGUF1" },
        { type: "model", data: "GGUF2" },
      ],
    },
    "split into 2 files",
    "another quantization",
  ],
])(
  "a model that the embedded engine can't run is refused before its blobs move: %s",
  async (_what, model, message, advised) => {
    const { registry, store } = await storeFixture();
    registry.publish("m", model);
    const failure = await store()
      .pull("m", ignore, never)
      .catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(PullFailed);
    expect((failure as PullFailed).message).toContain(message);
    expect((failure as PullFailed).next[0]).toMatchObject({ text: expect.stringContaining(advised) as string });
    expect(registry.requests).toHaveLength(1);
  },
);

test("a cloud model is refused by its name alone", async () => {
  const { registry, store } = await storeFixture();
  await expect(store().pull("gpt-oss:120b-cloud", ignore, never)).rejects.toThrow("cloud model");
  expect(registry.requests).toHaveLength(0);
});

test("a name unknown to the registry is UnknownModel, with the page to check", async () => {
  const { store, folder, registry } = await storeFixture();
  const failure = await store()
    .pull("nope:1b", ignore, never)
    .catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(UnknownModel);
  expect((failure as UnknownModel).message).toBe(`${registry.host} has no model nope:1b`);
  expect((failure as UnknownModel).next[0]).toMatchObject({
    text: expect.stringContaining("https://ollama.com/library") as string,
  });
  await expect(stat(folder)).rejects.toThrow("ENOENT");
});
