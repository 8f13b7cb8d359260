import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { initialize, serverEnvironment, startRaw } from "../../support/stdio-client.ts";

let folder = "";
let environment: Record<string, string>;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "ollm-code-"));
  environment = serverEnvironment({ HOME: folder, USERPROFILE: folder, OLLM_HOME: path.join(folder, "home") });
});

afterEach(async () => {
  const stopped = startRaw(environment, ["daemon", "stop"]);
  await stopped.exited;
  await rm(folder, { recursive: true, force: true });
});

/** A host's whole visit; the exit code. */
async function visit(): Promise<unknown> {
  const front = startRaw(environment, []);
  front.send(initialize);
  expect(await front.next()).toMatchObject({ id: 0, result: { serverInfo: { name: "ollm-mcp" } } });
  front.process.stdin?.end();
  return await front.exited;
}

async function keptCode(): Promise<string> {
  const run = path.join(folder, "home", "run");
  const names = (await readdir(run, { recursive: true })).filter((name) => name.endsWith(".code"));
  expect(names).toHaveLength(1);
  return path.join(run, names[0] ?? "");
}

it("a front leaves its compiled code to the next, readable by its user alone", async () => {
  expect(await visit()).toBe(0);
  const file = await keptCode();
  if (process.platform !== "win32") expect((await stat(file)).mode & 0o777).toBe(0o600);
  const { mtimeMs } = await stat(file);
  expect(await visit()).toBe(0);
  expect((await stat(file)).mtimeMs).toBe(mtimeMs);
});

it.each([
  ["with flipped bits", (code: Buffer) => code.map((byte, at) => (at % 997 === 500 ? byte ^ 0xff : byte))],
  ["cut off", (code: Buffer) => code.subarray(0, code.length / 3)],
  ["empty", () => Buffer.alloc(0)],
  ["of another make", (code: Buffer) => Buffer.alloc(code.length, "x")],
])("compiled code %s is not used, and made anew", async (_, damage) => {
  expect(await visit()).toBe(0);
  const file = await keptCode();
  const damaged = damage(await readFile(file));
  await writeFile(file, damaged);
  expect(await visit()).toBe(0);
  expect((await readFile(file)).equals(damaged)).toBe(false);
});
