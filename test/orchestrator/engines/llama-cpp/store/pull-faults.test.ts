import { mkdir, readFile, readdir, utimes, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { hostname } from "node:os";
import path from "node:path";
import { expect, test } from "vitest";
import {
  Cancelled,
  type OrchestratorError,
  PullFailed,
  UnknownModel,
} from "../../../../../src/orchestrator/api/errors.ts";
import { writeAt } from "../../../../../src/orchestrator/engines/llama-cpp/store/layout.ts";
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

const SIZE = 300_000;
const data = weights(SIZE);
const digest = sha256(data);

async function fixture() {
  const all = await storeFixture();
  const published = all.registry.publish("m", { layers: [{ type: "model", data }] });
  const failureOf = (pull: Promise<unknown>) =>
    pull.then(
      () => expect.unreachable("the pull succeeded"),
      (error: unknown) => error as OrchestratorError,
    );
  const ranges = () => all.registry.requests.filter(({ path: url }) => url.endsWith(digest)).map(({ range }) => range);
  /** Where each request for the weights began. A cut loses what was received but not read yet, so no exact numbers. */
  const starts = () => ranges().map((range) => Number(/\d+/.exec(range ?? "0")?.[0]));
  const partialSize = async () => (await readFile(path.join(all.folder, "blobs", `sha256-${digest}-partial`))).length;
  return { ...all, published, failureOf, ranges, starts, partialSize };
}

test("a cut download is resumed, and progress reports it", async () => {
  const { registry, store, starts } = await fixture();
  registry.misbehave({ on: "blob", kind: "cut", afterBytes: 140_000, minBytes: SIZE, times: 2 });
  const models = store({ now: eagerClock() });
  const { seen, report } = recorder();
  await models.pull("m", report, never);
  const [first, second = 0, third = 0, ...more] = starts();
  expect([first, more]).toEqual([0, []]);
  expect(second).toBeGreaterThan(0);
  expect(second).toBeLessThanOrEqual(140_000);
  expect(third).toBeGreaterThan(second);
  expect(third).toBeLessThanOrEqual(second + 140_000);
  expect(seen.map(({ message }) => message).find((message) => message.includes("retrying (1 of 3)"))).toBeDefined();
  expectSameBytes(await readFile((await models.find("m"))?.weightsFile ?? ""), data);
});

test("when every attempt is cut the pull fails, keeps what has arrived, and can be resumed", async () => {
  const { registry, store, failureOf, ranges, partialSize } = await fixture();
  const end = registry.misbehave({ on: "blob", kind: "cut", afterBytes: 60_000, minBytes: SIZE });
  const failure = await failureOf(store().pull("m", ignore, never));
  expect(failure).toBeInstanceOf(PullFailed);
  expect(failure.message).toContain("the download stopped");
  expect(failure.next).toEqual([{ step: "resumePull", model: "m:latest" }]);
  expect(ranges()).toHaveLength(4);
  const arrived = await partialSize();
  expect(arrived).toBeGreaterThan(0);
  end();
  await store().pull("m", ignore, never);
  expect(ranges().at(-1)).toBe(`bytes=${arrived}-`);
});

test("attempts that make progress reset the number of retries", async () => {
  const { registry, store } = await storeFixture();
  registry.publish("large", { layers: [{ type: "model", data: weights(7 * 1024 ** 2) }] });
  registry.misbehave({ on: "blob", kind: "cut", afterBytes: 1.5 * 1024 ** 2, minBytes: 1024 ** 2, times: 4 });
  const models = store({ retry: { retries: 1, initialDelayMs: 1, maxDelayMs: 1 } });
  expect(await models.pull("large", ignore, never)).toMatchObject({ wasAlreadyPresent: false });
});

test("a stalled download is retried, then fails with the time it waited", async () => {
  const { registry, store, failureOf, ranges } = await fixture();
  registry.misbehave({ on: "blob", kind: "hold", afterBytes: 5000, minBytes: SIZE });
  const stallTimeoutMs = 1000;
  const settings = { defaultHost: registry.host, stallTimeoutMs };
  const models = store({ registry: settings, retry: { retries: 1, initialDelayMs: 1, maxDelayMs: 1 } });
  const failure = await failureOf(models.pull("m", ignore, never));
  expect(failure).toBeInstanceOf(PullFailed);
  expect(failure.message).toContain("sent nothing for 1 s");
  expect(ranges()).toEqual([undefined, "bytes=5000-"]);
});

test("a manifest that never comes is a stall too", async () => {
  const { registry, store, failureOf } = await fixture();
  registry.misbehave({ on: "manifest", kind: "hold", afterBytes: 0 });
  const settings = { defaultHost: registry.host, stallTimeoutMs: 50 };
  const failure = await failureOf(store({ registry: settings }).pull("m", ignore, never));
  expect(failure.message).toContain("sent nothing for 0.05 s");
});

test("a cancel while a request hangs ends at once and leaves no connection", async () => {
  const { registry, store, failureOf } = await fixture();
  registry.misbehave({ on: "manifest", kind: "hold", afterBytes: 0 });
  const caller = new AbortController();
  const pull = failureOf(store().pull("m", ignore, caller.signal));
  await registry.waitFor(({ path: url }) => url.includes("/manifests/"));
  caller.abort();
  expect(await pull).toBeInstanceOf(Cancelled);
});

test("a cancel while waiting for the next try ends at once", async () => {
  const { registry, store, failureOf } = await fixture();
  registry.misbehave({ on: "blob", kind: "cut", afterBytes: 1000, minBytes: SIZE });
  const caller = new AbortController();
  const { report, until } = recorder();
  const models = store({ retry: { retries: 5, initialDelayMs: 3_600_000, maxDelayMs: 3_600_000 } });
  const pull = failureOf(models.pull("m", report, caller.signal));
  await until(({ message }) => message.includes("retrying"));
  caller.abort();
  expect(await pull).toBeInstanceOf(Cancelled);
});

test("a slow but steady download is not a stall", async () => {
  const { registry, store } = await fixture();
  registry.misbehave({ on: "blob", kind: "slow", chunkBytes: 30_000, everyMs: 250, minBytes: SIZE });
  // Shorter than the whole download, and eight times the pause between two parts.
  const settings = { defaultHost: registry.host, stallTimeoutMs: 2000 };
  const models = store({ registry: settings, retry: { retries: 0, initialDelayMs: 1, maxDelayMs: 1 } });
  expect(await models.pull("m", ignore, never)).toMatchObject({ name: "m:latest" });
});

test("a wrong checksum removes the download, is reported, and the next pull starts over", async () => {
  const { registry, folder, store, failureOf, ranges } = await fixture();
  registry.misbehave({ on: "blob", kind: "corrupt", minBytes: SIZE, times: 1 });
  const failure = await failureOf(store().pull("m", ignore, never));
  expect(failure).toBeInstanceOf(PullFailed);
  expect(failure.message).toContain(`sha256 ${digest.slice(0, 12)} expected`);
  expect(failure.message).toContain("the damaged download was removed");
  expect(await filesBelow(folder)).toEqual([]);
  await store().pull("m", ignore, never);
  expect(ranges()).toEqual([undefined, undefined]);
});

test("a partial that was damaged on disk is detected by its checksum", async () => {
  const { registry, folder, store, failureOf } = await fixture();
  registry.misbehave({ on: "blob", kind: "cut", afterBytes: 60_000, minBytes: SIZE, times: 4 });
  await failureOf(store().pull("m", ignore, never));
  const partial = path.join(folder, "blobs", `sha256-${digest}-partial`);
  const damaged = await readFile(partial);
  damaged[7] = (damaged[7] ?? 0) ^ 1;
  await writeFile(partial, damaged);
  expect((await failureOf(store().pull("m", ignore, never))).message).toContain("checksum mismatch");
  expect(await store().pull("m", ignore, never)).toMatchObject({ digest });
});

test("a partial larger than the blob is downloaded again", async () => {
  const { folder, store } = await fixture();
  await mkdir(path.join(folder, "blobs"), { recursive: true });
  await writeFile(path.join(folder, "blobs", `sha256-${digest}-partial`), Buffer.alloc(SIZE + 1));
  expect(await store().pull("m", ignore, never)).toMatchObject({ digest });
});

test("with a server without ranges, bytes that are there already are skipped", async () => {
  const { registry, store, starts } = await fixture();
  registry.misbehave({ on: "blob", kind: "cut", afterBytes: 140_000, minBytes: SIZE, times: 1 });
  registry.misbehave({ on: "blob", kind: "ignore-range", minBytes: SIZE });
  const models = store();
  const { seen, report } = recorder();
  await models.pull("m", report, never);
  expect(starts()).toHaveLength(2);
  expect(starts()[1]).toBeGreaterThan(0);
  expect(seen.some(({ message }) => message.includes("can't resume"))).toBe(true);
  expectSameBytes(await readFile((await models.find("m"))?.weightsFile ?? ""), data);
});

test("a blob whose size differs from the manifest is refused", async () => {
  const { registry, store, failureOf, published } = await fixture();
  registry.publishManifest("m", published.manifest.replace(`"size":${SIZE}`, `"size":${SIZE - 1}`));
  expect((await failureOf(store().pull("m", ignore, never))).message).toContain("more than the announced 299999 bytes");
});

test("temporary errors of the server are retried: 500 and 429, for manifest and blobs", async () => {
  const { registry, store } = await fixture();
  registry.misbehave({ on: "manifest", kind: "status", status: 500, times: 1 });
  registry.misbehave({ on: "blob", kind: "status", status: 429, times: 2 });
  expect(await store().pull("m", ignore, never)).toMatchObject({ name: "m:latest" });
});

test.each([
  [401, PullFailed, "gated, private or does not exist"],
  [403, PullFailed, "gated, private or does not exist"],
  [404, UnknownModel, "has no model m:latest"],
  [400, UnknownModel, "the quants are Q4_K_M and Q8_0"],
  [503, PullFailed, "answered 503"],
  [418, PullFailed, "answered 418"],
])("status %i for a manifest becomes the matching error", async (status, errorClass, text) => {
  const { registry, store, failureOf } = await fixture();
  registry.misbehave({
    on: "manifest",
    kind: "status",
    status,
    body: '{"error":"the quants are Q4_K_M\\u0000 and Q8_0"}'.replace("\\u0000", ""),
  });
  const failure = await failureOf(store().pull("m", ignore, never));
  expect(failure).toBeInstanceOf(errorClass);
  expect(failure.message).toContain(text);
});

test("a registry that requires an account is reported", async () => {
  const { registry, store, failureOf } = await fixture();
  const headers = { "www-authenticate": 'Basic realm="private"' };
  registry.misbehave({ on: "manifest", kind: "status", status: 401, headers });
  const failure = await failureOf(store().pull("m", ignore, never));
  expect(failure.message).toBe(
    'the registry requires an account (its challenge is "Basic realm="private""): the model is gated, private or does not exist',
  );
  expect(failure.next).toContainEqual({ step: "importModel" });
});

test("a token is never fetched over plain http from a host that isn't trusted with it", async () => {
  const { registry, store, failureOf } = await fixture();
  const headers = { "www-authenticate": `Bearer realm="http://${registry.otherHost}/token",service="x"` };
  registry.misbehave({ on: "manifest", kind: "status", status: 401, headers });
  const settings = { defaultHost: registry.host, stallTimeoutMs: 10_000 };
  expect((await failureOf(store({ registry: settings }).pull("m", ignore, never))).message).toContain(
    "requires an account",
  );
  expect(registry.requests.some(({ server }) => server === "other")).toBe(false);
});

test.each([
  ["not json", "it is not JSON"],
  ["{}", "it has no layers"],
  ['{"layers":[{"mediaType":"x","digest":"sha256:../../../etc/passwd","size":1}]}', "digest is not sha256"],
  [`{"layers":[{"mediaType":"x","digest":"sha256:${"A".repeat(64)}","size":1}]}`, "digest is not sha256"],
  [`{"layers":[{"mediaType":"x","digest":"sha256:${"a".repeat(64)}","size":-1}]}`, "layers.0.size"],
  ['{"layers":"many"}', "layers"],
])("a malformed manifest is refused: %s", async (manifest, text) => {
  const { registry, store, failureOf } = await fixture();
  registry.publishManifest("m", manifest);
  const failure = await failureOf(store().pull("m", ignore, never));
  expect(failure).toBeInstanceOf(PullFailed);
  expect(failure.message).toContain("is malformed");
  expect(failure.message).toContain(text);
});

test("a disk that is too small fails before the first byte, with both numbers", async () => {
  const { registry, store, failureOf, published, ranges } = await fixture();
  const failure = await failureOf(store({ freeDiskBytes: async () => 1234 }).pull("m", ignore, never));
  expect(failure).toBeInstanceOf(PullFailed);
  expect(failure.message).toContain(`(${published.sizeBytes} bytes)`);
  expect(failure.message).toContain("(1234 bytes) free");
  expect(failure.next).toContainEqual({ step: "changeSetting", setting: "store.path" });
  expect(ranges()).toEqual([]);
  expect(registry.requests).toHaveLength(1);
});

test("only what is still missing must fit on the disk", async () => {
  const { registry, store, failureOf, published, partialSize } = await fixture();
  registry.misbehave({ on: "blob", kind: "cut", afterBytes: 60_000, minBytes: SIZE, times: 4 });
  await failureOf(store().pull("m", ignore, never));
  const restBytes = published.sizeBytes - (await partialSize());
  const tooSmall = await failureOf(store({ freeDiskBytes: async () => restBytes - 1 }).pull("m", ignore, never));
  expect(tooSmall.message).toContain("on disk");
  expect(await store({ freeDiskBytes: async () => restBytes }).pull("m", ignore, never)).toMatchObject({ digest });
});

test("a disk that fills up during a download is reported, and what was written is kept", async () => {
  const { folder, store, failureOf, ranges } = await fixture();
  let room = 100_000;
  const full = Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
  const models = store({
    async writeAt(handle, bytes, position) {
      if (bytes.length > room) throw full;
      room -= bytes.length;
      await writeAt(handle, bytes, position);
    },
  });
  const failure = await failureOf(models.pull("m", ignore, never));
  expect(failure).toBeInstanceOf(PullFailed);
  expect(failure.message).toContain("the disk is full");
  expect(failure.message).toContain("what has arrived is kept");
  expect(await models.list()).toEqual([]);
  const [partial = ""] = await readdir(path.join(folder, "blobs"));
  const arrived = (await readFile(path.join(folder, "blobs", partial))).length;
  expect(arrived).toBeGreaterThan(0);
  await store().pull("m", ignore, never);
  expect(ranges().at(-1)).toBe(`bytes=${arrived}-`);
});

test("an unreachable registry fails at once, with the next steps", async () => {
  const { store, failureOf } = await fixture();
  const server = createServer().listen(0, "127.0.0.1");
  const address = await new Promise<string>((resolve) =>
    server.once("listening", () => {
      const found = server.address();
      resolve(typeof found === "object" && found !== null ? `127.0.0.1:${found.port}` : "");
    }),
  );
  await new Promise((resolve) => server.close(resolve));
  const settings = { defaultHost: address, stallTimeoutMs: 10_000 };
  const retry = { retries: 5, initialDelayMs: 3_600_000, maxDelayMs: 3_600_000 };
  const failure = await failureOf(store({ registry: settings, retry }).pull("m", ignore, never));
  expect(failure).toBeInstanceOf(PullFailed);
  expect(failure.message).toBe(`the registry can't be reached: ${address} (ECONNREFUSED)`);
  expect(failure.next).toContainEqual({ step: "resumePull", model: "m:latest" });
  expect(failure.next).toContainEqual({ step: "importModel" });
});

test("an installed model can be used while the registry is unreachable, and the answer notes it", async () => {
  const { registry, store, warnings } = await fixture();
  await store().pull("m", ignore, never);
  await registry.close();
  const answer = await store().pull("m", ignore, never);
  expect(answer).toMatchObject({ wasAlreadyPresent: true, note: expect.stringContaining("can't be reached") });
  expect(warnings).toHaveLength(1);
});

test("a truncated blob on disk is downloaded again", async () => {
  const { folder, store, warnings } = await fixture();
  const models = store();
  await models.pull("m", ignore, never);
  await writeFile(path.join(folder, "blobs", `sha256-${digest}`), data.subarray(0, 1000));
  expect(await models.list()).toEqual([]);
  expect(warnings).toEqual([expect.stringContaining("has 1000 bytes instead of 300000")]);
  expect(await models.pull("m", ignore, never)).toMatchObject({ digest });
  expect(await models.list()).toHaveLength(1);
});

test("abandoned partials and blobs are pruned after a week; younger and needed ones are kept", async () => {
  const { registry, folder, store } = await fixture();
  registry.publish("later", { layers: [{ type: "model", data: "GGUF later" }] });
  await store().pull("m", ignore, never);
  const blobs = path.join(folder, "blobs");
  const other = "b".repeat(64);
  const abandoned = [
    `sha256-${other}-partial`,
    `sha256-${"c".repeat(64)}`,
    `import-1-aa`,
    `sha256-${other}-partial.lock`,
    // Of an earlier version.
    `sha256-${other}-partial-00000000-1-00000000`,
  ];
  const unknown = [`sha256-${other}-partial-0`, "sha256-xyz-partial", "unknown-file"];
  for (const name of [...abandoned, ...unknown]) await writeFile(path.join(blobs, name), "x");
  const names = async () => (await readdir(blobs)).filter((name) => [...abandoned, ...unknown].includes(name));
  await store().pull("later", ignore, never);
  expect(await names()).toHaveLength(8);
  const inEightDays = () => Date.now() + 8 * 24 * 3600 * 1000;
  const models = store({ now: inEightDays });
  await models.pull("later", ignore, never);
  expect((await names()).toSorted()).toEqual(unknown.toSorted());
  expect((await models.list()).map(({ name }) => name).toSorted()).toEqual(["later:latest", "m:latest"]);
});

test("a partial that another process downloads is waited for, and continued once that process is inactive", async () => {
  const { folder, store, ranges } = await fixture();
  const partial = path.join(folder, "blobs", `sha256-${digest}-partial`);
  await mkdir(path.dirname(partial), { recursive: true });
  await writeFile(partial, data.subarray(0, 4000));
  // A process of another machine, so only the old time of the file shows that it is gone.
  await writeFile(`${partial}.lock`, JSON.stringify({ token: "01234567", pid: 1, host: `not-${hostname()}` }));
  const { seen, report, until } = recorder();
  const pull = store().pull("m", report, never);
  await until(({ message }) => message.includes("another process is downloading it"));
  expect(seen.at(-1)?.completedBytes).toBe(4000);
  expect(ranges()).toEqual([]);
  const silentSince = new Date(Date.now() - 60_000);
  await utimes(`${partial}.lock`, silentSince, silentSince);
  await pull;
  expect(ranges()).toEqual(["bytes=4000-"]);
  expect((await readdir(path.dirname(partial))).filter((name) => name.includes("partial"))).toEqual([]);
});

test("two stores that pull one model at once download it once", async () => {
  const { store, ranges } = await fixture();
  await Promise.all([store().pull("m", ignore, never), store().pull("m", ignore, never)]);
  expect(ranges()).toEqual([undefined]);
});
