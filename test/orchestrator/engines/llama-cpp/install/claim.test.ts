import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  clearAbandonedClaim,
  inspectClaim,
  tryClaim,
} from "../../../../../src/orchestrator/engines/llama-cpp/install/claim.ts";

let folder = "";
let target = "";
const { signal } = new AbortController();
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ollm-claim-"));
  target = join(folder, "engines", "engine");
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test("of many concurrent attempts exactly one gets the claim, and the next one after its release", async () => {
  const claims = await Promise.all(Array.from({ length: 20 }, () => tryClaim(target, signal)));
  const held = claims.filter((claim) => claim !== undefined);
  expect(held).toHaveLength(1);
  expect((await inspectClaim(target))?.isHolderDead).toBe(false);
  await held[0]?.release();
  expect(await inspectClaim(target)).toBeUndefined();
  const next = await tryClaim(target, signal);
  expect(next).toBeDefined();
  await next?.release();
  expect(await readdir(join(folder, "engines"))).toEqual([]);
});

test("clearing an abandoned claim too late does not remove a new holder's claim", async () => {
  const old = await tryClaim(target, signal);
  const seen = await inspectClaim(target);
  await old?.release();
  const current = await tryClaim(target, signal);
  if (seen === undefined || current === undefined) throw new Error("no claim");
  await clearAbandonedClaim(target, seen);
  expect(await readdir(current.folder)).toEqual(["owner.json"]);
  await current.release();
});

test("a holder whose claim was taken over does not release its successor's claim", async () => {
  const old = await tryClaim(target, signal);
  const seen = await inspectClaim(target);
  if (seen === undefined) throw new Error("no claim");
  await clearAbandonedClaim(target, seen);
  const current = await tryClaim(target, signal);
  await old?.release();
  expect(await inspectClaim(target)).toBeDefined();
  await current?.release();
});
