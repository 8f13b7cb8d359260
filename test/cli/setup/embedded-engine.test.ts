import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createEmbeddedEngine } from "../../../src/cli/setup/setup-guide.ts";
import {
  enginePackages,
  startFakeNpmRegistry,
  type FakeNpmRegistry,
  vulkanPackage,
} from "../../support/fake-npm-registry.ts";

let folder: string;
let home: string;
let registry: FakeNpmRegistry;
let cards: readonly string[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ollm-engine-"));
  home = join(folder, "home");
  cards = [];
  registry = await startFakeNpmRegistry([...enginePackages(), vulkanPackage]);
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
    cards: async () => cards,
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

  it("offers a card once, and keeps the answer in the settings", async () => {
    expect(await engine().card()).toBeUndefined();
    cards = ["Intel Arc B580"];
    expect(await engine().card()).toEqual({ name: "Intel Arc B580", backend: "vulkan" });
    await engine().choose("cpu");
    expect(await readFile(join(home, "config.yaml"), "utf8")).toContain("backend: cpu");
    expect(await engine().card()).toBeUndefined();
  });

  it("offers CUDA where its runtime is installed, Vulkan elsewhere", async () => {
    cards = ["Intel UHD 770", "NVIDIA GeForce RTX 4090"];
    const runtime = join(folder, "cuda", "lib64");
    await mkdir(runtime, { recursive: true });
    const offered = () => engine({ LD_LIBRARY_PATH: runtime }).card();
    expect(await offered()).toEqual({ name: "NVIDIA GeForce RTX 4090", backend: "vulkan" });
    await writeFile(join(runtime, "libcudart.so.12"), "");
    expect(await offered()).toEqual({ name: "NVIDIA GeForce RTX 4090", backend: "cuda" });
  });

  it("installs the binaries of a card beside those of the processor, and goes back without a download", async () => {
    const { signal } = new AbortController();
    await registry.writeLock(join(folder, "dist", "engine-lock"), "linux-x64-vulkan");
    await engine().install(() => undefined, signal);
    await engine().install(() => undefined, signal, "vulkan");
    await engine().choose("vulkan");
    expect(await readdir(join(home, "engines"))).toEqual([
      expect.stringMatching(/linux-x64-glibc$/),
      expect.stringMatching(/linux-x64-glibc-vulkan$/),
    ]);
    expect(await engine().look()).toEqual({ kind: "installed" });
    await engine().choose("cpu");
    const asked = registry.asked.length;
    expect(await engine().look()).toEqual({ kind: "installed" });
    expect(registry.asked).toHaveLength(asked);
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
