import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createBandwidthProbe } from "../../../../src/orchestrator/memory/measure/bandwidth.ts";
import { createLog } from "../../../../src/orchestrator/api/log.ts";

type BandwidthOptions = Parameters<typeof createBandwidthProbe>[0];

const realWorker = resolve("dist/bandwidth-worker.mjs");

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ollm-bandwidth-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const probe = (more: Partial<BandwidthOptions> = {}) => probeOf(more)();

const probeOf = (more: Partial<BandwidthOptions>) =>
  createBandwidthProbe({
    workerEntry: realWorker,
    file: join(folder, "bandwidth.json"),
    threads: 2,
    key: "this machine",
    sample: () => Promise.resolve({ availableBytes: 1e12 }),
    log: createLog("silent", () => undefined),
    // A busy machine takes seconds to start threads.
    limitMs: 60_000,
    ...more,
  });

const kept = async () => JSON.parse(await readFile(join(folder, "bandwidth.json"), "utf8")) as unknown;
const save = (key: string) =>
  writeFile(join(folder, "bandwidth.json"), JSON.stringify({ key, bytesPerSecond: 12_345 }));

/** A thread that reports a rate without reading. */
async function stub(rate: string): Promise<string> {
  const file = join(folder, "worker.mjs");
  await writeFile(
    file,
    `import { parentPort } from "node:worker_threads";
    parentPort.once("message", () => parentPort.postMessage(${rate}));
    parentPort.postMessage("ready");`,
  );
  return file;
}

describe("createBandwidthProbe", () => {
  it("measures with the built worker: more than a disk, less than a cache", async () => {
    const measured = await probe();
    expect(measured).toBeGreaterThan(0.5e9);
    expect(measured).toBeLessThan(3e12);
  });

  it("sums what the threads read, and keeps it", async () => {
    expect(await probe({ workerEntry: await stub("5e9"), threads: 3 })).toBe(15e9);
    expect(await kept()).toEqual({ key: "this machine", bytesPerSecond: 15e9 });
  });

  it("uses what is kept without measuring, unless it is of another machine or build", async () => {
    await save("this machine");
    expect(await probe({ workerEntry: join(folder, "absent.mjs") })).toBe(12_345);
    await save("another build");
    expect(await probe({ workerEntry: await stub("5e9") })).toBe(10e9);
  });

  it("does not keep what was measured on a busy machine", async () => {
    const busy = () => Promise.resolve({ availableBytes: 1e12, loadPerCore: 1.1 });
    expect(await probe({ workerEntry: await stub("5e9"), sample: busy })).toBe(10e9);
    await expect(kept()).rejects.toThrow("ENOENT");
  });

  it("measures again after a minute what was measured on a busy machine, or could not be", async () => {
    let nowMs = 0;
    let loadPerCore = 2;
    let samples = 0;
    const bandwidth = probeOf({
      workerEntry: await stub("5e9"),
      steady: () => nowMs,
      sample: () => {
        samples += 1;
        return Promise.resolve({ availableBytes: samples === 1 ? 0 : 1e12, loadPerCore });
      },
    });
    expect(await bandwidth()).toBeUndefined();
    expect(await bandwidth()).toBeUndefined();
    nowMs += 60_000;
    expect([await bandwidth(), await bandwidth()]).toEqual([10e9, 10e9]);
    expect(samples).toBe(2);
    loadPerCore = 0;
    nowMs += 60_000;
    expect(await bandwidth()).toBe(10e9);
    expect(await kept()).toMatchObject({ bytesPerSecond: 10e9 });
    nowMs += 600_000;
    expect([await bandwidth(), samples]).toEqual([10e9, 3]);
  });

  const absurd = ["1e300", "1e999", "NaN", '"9"'].map((rate) => `{"key":"this machine","bytesPerSecond":${rate}}`);
  const huge = JSON.stringify({ key: "this machine", bytesPerSecond: 1, more: "x".repeat(100_000) });
  it.each([
    ...absurd,
    huge,
    "not JSON",
    "{}",
    '{"key":"this machine","bytesPerSecond":-1}',
    '{"key":"this machine"}',
    "null",
    "",
  ])("measures again if the file is damaged: %j", async (text) => {
    await writeFile(join(folder, "bandwidth.json"), text);
    expect(await probe({ workerEntry: await stub("5e9") })).toBe(10e9);
  });

  it("is undefined if a thread fails, ends, or reads nothing, and never rejects", async () => {
    expect(await probe({ workerEntry: join(folder, "absent.mjs") })).toBeUndefined();
    const ends = join(folder, "ends.mjs");
    await writeFile(ends, "");
    expect(await probe({ workerEntry: ends })).toBeUndefined();
    expect(await probe({ workerEntry: await stub("0") })).toBeUndefined();
    expect(await probe({ workerEntry: await stub('"nothing"') })).toBeUndefined();
  });

  it("does not measure where its threads would take more than half of the memory", async () => {
    const entry = await stub("5e9");
    const of = (threads: number, availableBytes: number) =>
      probe({ workerEntry: entry, threads, sample: () => Promise.resolve({ availableBytes }) });
    expect(await of(1, 140e6)).toBeUndefined();
    // With many processors, but the limit of a container.
    expect(await of(100, 4e9)).toBeUndefined();
    expect(await of(1, 160e6)).toBe(5e9);
  });

  it.skipIf(process.platform === "win32")("does not wait for a file that is a pipe", async () => {
    execFileSync("mkfifo", [join(folder, "bandwidth.json")]);
    expect(await probe({ workerEntry: await stub("5e9") })).toBe(10e9);
    expect(await kept()).toEqual({ key: "this machine", bytesPerSecond: 10e9 });
  });

  it("is undefined if a thread never reports", async () => {
    expect(await probe({ workerEntry: await stub("new Promise(() => {})"), limitMs: 50 })).toBeUndefined();
    const silent = join(folder, "silent.mjs");
    await writeFile(silent, "setInterval(() => {}, 1000);");
    expect(await probe({ workerEntry: silent, limitMs: 50 })).toBeUndefined();
  });

  it("returns the result if it can't be saved", async () => {
    expect(await probe({ workerEntry: await stub("5e9"), file: join(folder, "absent", "bandwidth.json") })).toBe(10e9);
  });
});
