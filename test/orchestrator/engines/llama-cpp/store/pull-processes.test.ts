import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";
import { expect, onTestFinished, test } from "vitest";
import type { Progress } from "../../../../../src/orchestrator/api/types.ts";
import { useBundled } from "../../../../support/bundled.ts";
import { expectSameBytes, filesBelow, ignore, never, storeFixture, weights } from "./store-fixture.ts";

const SIZE = 1024 ** 2;
const data = weights(SIZE);
const program = useBundled(new URL("../../../../support/pull-process.ts", import.meta.url));

/** Pulls `m` in a process of its own. */
function pullProcess(folder: string, registryHost: string) {
  const child = spawn(process.execPath, [program(), folder, registryHost, "m"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  const waiting = new Set<{ matches: (progress: Progress) => boolean; resolve: () => void }>();
  createInterface(child.stdout).on("line", (line) => {
    const { progress } = JSON.parse(line) as { progress?: Progress };
    for (const wait of waiting) if (progress !== undefined && wait.matches(progress)) wait.resolve();
  });
  return {
    child,
    exit: once(child, "exit"),
    until: (matches: (progress: Progress) => boolean) =>
      new Promise<void>((resolve) => waiting.add({ matches, resolve })),
  };
}

test("after a SIGKILL nothing is listed, and the next pull downloads only the rest", async () => {
  const { registry, folder, store } = await storeFixture();
  const { layerDigests } = registry.publish("m", { layers: [{ type: "model", data }] });
  registry.misbehave({ on: "blob", kind: "hold", afterBytes: 700_000, minBytes: SIZE, times: 1 });
  const { child, exit, until } = pullProcess(folder, registry.host);
  await until(({ completedBytes }) => completedBytes === 700_000);
  child.kill("SIGKILL");
  await exit;

  const models = store();
  expect(await models.list()).toEqual([]);
  const partial = `sha256-${layerDigests[0]}-partial`;
  expect((await readdir(path.join(folder, "blobs"))).toSorted()).toEqual([partial, `${partial}.lock`]);
  await models.pull("m", ignore, never);
  const last = registry.requests.findLast((request) => request.path.endsWith(layerDigests[0] ?? ""));
  expect(last?.range).toBe("bytes=700000-");
  expect(last?.sentBytes).toBe(SIZE - 700_000);
  expectSameBytes(await readFile((await models.find("m"))?.weightsFile ?? ""), data);
  expect(await filesBelow(folder)).toHaveLength(3);
});

test("two processes that pull one model at once download it once", async () => {
  const { registry, folder, store } = await storeFixture();
  const { layerDigests } = registry.publish("m", { layers: [{ type: "model", data }] });
  registry.misbehave({ on: "blob", kind: "hold", afterBytes: 1000, minBytes: SIZE, times: 1 });
  const first = pullProcess(folder, registry.host);
  await first.until(({ completedBytes }) => completedBytes === 1000);
  const second = pullProcess(folder, registry.host);
  await second.until(({ message }) => message.includes("another process is downloading it"));
  registry.release();
  expect(await Promise.all([first.exit, second.exit])).toEqual([
    [0, null],
    [0, null],
  ]);
  expect(registry.requests.filter((request) => request.path.endsWith(layerDigests[0] ?? ""))).toHaveLength(1);
  expect(await store().list()).toHaveLength(1);
});
