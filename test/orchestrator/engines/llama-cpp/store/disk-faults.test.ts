import { execFileSync } from "node:child_process";
import { mkdir, rm, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { describe, expect, test } from "vitest";
import {
  InvalidRequest,
  OrchestratorError,
  PullFailed,
  StoreFailed,
} from "../../../../../src/orchestrator/api/errors.ts";
import { ignore, never, storeFixture, weights } from "./store-fixture.ts";

async function fixture() {
  const all = await storeFixture();
  all.registry.publish("base", { layers: [{ type: "model", data: weights(1000) }] });
  const file = path.join(all.scratch, "mine.gguf");
  await writeFile(file, weights(1000, 2));
  return { ...all, file, models: all.store() };
}

async function failureOf(work: Promise<unknown>): Promise<OrchestratorError> {
  const error = await work.then(
    () => expect.unreachable("it succeeded"),
    (failure: unknown) => failure,
  );
  expect(error).toBeInstanceOf(OrchestratorError);
  return error as OrchestratorError;
}

const broken: readonly (readonly [string, (folder: string) => Promise<unknown>])[] = [
  ["is a file", (folder) => writeFile(folder, "x")],
  ["is a link to itself", (folder) => symlink(path.basename(folder), folder)],
];

describe.each(broken)("a store folder that %s", (_what, spoil) => {
  test.each(["models", "models/blobs"])("%s: every change fails with an error that names it", async (name) => {
    const { models, file, scratch } = await fixture();
    await models.pull("base", ignore, never);
    const folder = path.join(scratch, name);
    await rm(folder, { recursive: true });
    await spoil(folder);
    const changes = [models.pull("base", ignore, never), models.import(file, "mine", ignore, never)];
    for (const failure of await Promise.all(changes.map(failureOf))) {
      expect(failure).toBeInstanceOf(PullFailed);
      expect(failure.message).toContain(path.join(scratch, "models"));
      expect(failure.next).not.toEqual([]);
    }
    expect(await models.list()).toEqual([]);
    expect(await models.find("base")).toBeUndefined();
    // An existing manifest is deleted even if blobs can't be.
    if (name === "models") await failureOf(models.remove("base"));
    else expect(await models.remove("base")).toEqual({ freedBytes: 0 });
    await failureOf(models.create({ name: "made", base: "base", parameters: {} }, ignore, never));
  });
});

test.skipIf(process.platform !== "linux")("a file to import that opens but can't be read is refused", async () => {
  const { models } = await fixture();
  // Reading address 0 of a process fails with EIO; other systems have no such file.
  const failure = await failureOf(models.import("/proc/self/mem", "mine", ignore, never));
  expect(failure).toBeInstanceOf(InvalidRequest);
  expect(failure.message).toContain("/proc/self/mem can't be read: EIO");
});

describe("remove", () => {
  const manifestOf = (folder: string, name: string) =>
    path.join(folder, "manifests/registry.ollama.ai/library", name, "latest");

  test.skipIf(process.platform === "win32")("reports why a model can't be deleted", async () => {
    const { models, folder } = await fixture();
    await mkdir(path.dirname(manifestOf(folder, "odd")), { recursive: true });
    // Windows has no pipes in folders.
    execFileSync("mkfifo", [manifestOf(folder, "odd")]);
    const failure = await failureOf(models.remove("odd"));
    expect(failure).toBeInstanceOf(StoreFailed);
    expect(failure.message).toBe(`odd:latest can't be deleted: ${manifestOf(folder, "odd")} is not a regular file`);
  });

  test("deletes a model, and no blobs while another manifest can't be read", async () => {
    const { models, folder, warnings } = await fixture();
    await models.pull("base", ignore, never);
    await mkdir(manifestOf(folder, "odd"), { recursive: true });
    expect(await models.remove("base")).toEqual({ freedBytes: 0 });
    expect(await models.list()).toEqual([]);
    expect(warnings.join("\n")).toContain("blobs of the deleted base:latest were not deleted yet");
  });
});
