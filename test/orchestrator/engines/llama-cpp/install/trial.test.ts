import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { runTrial } from "../../../../../src/orchestrator/engines/llama-cpp/install/install-packages.ts";
import { useOllama } from "../../../../../src/orchestrator/engines/llama-cpp/install/platform.ts";

let folder = "";
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ollm-trial-"));
});
afterEach(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }));

async function trial(
  source: string,
  options: { readonly limitMs?: number; readonly execPath?: string } = {},
): Promise<void> {
  const modulePath = join(folder, "engine.mjs");
  await writeFile(modulePath, source);
  await runTrial({
    modulePath,
    scriptFile: join(folder, "trial.mjs"),
    execPath: process.execPath,
    environment: process.env,
    signal: new AbortController().signal,
    ...options,
  });
}

test("an engine that starts passes, in a process without flags that its children would inherit", async () => {
  const engine = `export async function getLlama(options) {
    if (process.execArgv.length > 0) throw new Error("flags " + process.execArgv);
    if (options.build !== "never" || options.skipDownload !== true) throw new Error("it may download or build");
    return { dispose: async () => {} };
  }`;
  await expect(trial(engine)).resolves.toBeUndefined();
});

test.each<[string, string, Parameters<typeof trial>[1], string]>([
  [
    "hangs",
    "setInterval(() => 0, 1000); await new Promise(() => 0);",
    { limitMs: 500 },
    "it did not start within 0.5 s",
  ],
  [
    "throws",
    `export const getLlama = async () => { throw new TypeError("no such thing"); };`,
    {},
    "TypeError: no such thing",
  ],
  ["exports nothing", "export {};", {}, "TypeError: getLlama is not a function"],
  ["ends its process", "process.exit(7);", {}, "its process ended with code 7"],
])("an engine that %s fails with the reason", async (_case, source, options, reason) => {
  await expect(trial(source, options)).rejects.toMatchObject({
    name: "LoadFailed",
    message: `the embedded engine was downloaded but does not run on this machine: ${reason}`,
    next: [useOllama],
  });
});

test("a program that can't be started fails with the reason", async () => {
  await expect(trial("", { execPath: join(folder, "nothing-here") })).rejects.toMatchObject({
    name: "LoadFailed",
    message: expect.stringContaining("ENOENT"),
  });
});
