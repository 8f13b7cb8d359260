import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createEmbeddedEngine } from "../../../src/cli/setup/setup-guide.ts";
import { enginePackages, startFakeNpmRegistry, type FakeNpmRegistry } from "../../support/fake-npm-registry.ts";

let folder: string;
let home: string;
let registry: FakeNpmRegistry;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ollm-engine-"));
  home = join(folder, "home");
  registry = await startFakeNpmRegistry(enginePackages());
  await registry.writeLock(join(folder, "dist", "engine-lock"));
});
afterEach(async () => {
  await registry.close();
  await rm(folder, { recursive: true, force: true });
});

const engine = (environment: Readonly<Record<string, string>> = {}) =>
  createEmbeddedEngine({
    home,
    script: join(folder, "dist", "cli.mjs"),
    node: process.execPath,
    environment: { HOME: folder, PATH: "/usr/bin:/bin", npm_config_registry: registry.address, ...environment },
    say: () => undefined,
  });

// The fake packages are those of one platform.
describe.skipIf(process.platform !== "linux" || process.arch !== "x64")("the embedded engine of a command", () => {
  it("says its size, is installed once from the locks beside the command, and is there afterwards", async () => {
    expect(await engine().look()).toMatchObject({ kind: "possible", downloadBytes: expect.any(Number) });
    const fractions: (number | undefined)[] = [];
    const { signal } = new AbortController();
    await engine().install((_message, fraction) => fractions.push(fraction), signal);
    expect(fractions.at(-1)).toBe(1);
    expect(await engine().look()).toEqual({ kind: "installed" });
    const asked = registry.asked.length;
    await engine().install(() => undefined, signal);
    expect(registry.asked).toHaveLength(asked);
  });

  it("is impossible where it is switched off, or while settings are wrong", async () => {
    const off = await engine({ OLLM_PROVIDERS_LLAMA_CPP_ENABLED: "false" }).look();
    expect(off).toMatchObject({ kind: "impossible", reason: expect.stringContaining("providers.llamaCpp.enabled") });
    const wrong = await engine({ OLLM_MEMORY_MAX_BYTES: "lots" }).look();
    expect(wrong).toMatchObject({ kind: "impossible", reason: expect.stringContaining("OLLM_MEMORY_MAX_BYTES") });
  });

  it("leaves nothing half installed when it is interrupted", async () => {
    const release = registry.holdBack();
    const interrupt = new AbortController();
    const installed = engine().install(() => undefined, interrupt.signal);
    const outcome = expect(installed).rejects.toThrow("installing the embedded engine was cancelled");
    await registry.arrival("node-llama-cpp");
    interrupt.abort();
    await outcome;
    release();
    expect(await readdir(join(home, "engines"))).toEqual([]);
  });
});
