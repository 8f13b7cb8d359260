import { readdir, readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { readEngineLock, readEngineSize } from "../../../../../src/orchestrator/engines/llama-cpp/install/lock.ts";
import {
  useOllama,
  binaryPackages,
  currentPlatform,
  engineFolderName,
  engineVersion,
  requireSupported,
  type PlatformFacts,
} from "../../../../../src/orchestrator/engines/llama-cpp/install/platform.ts";

const node = { execPath: "node" };
const linux = (libc: PlatformFacts["libc"]): PlatformFacts => ({
  platform: "linux",
  arch: "x64",
  node,
  ...(libc !== undefined && { libc }),
});

describe("a system", () => {
  test.each<[string, PlatformFacts, string]>([
    ["Debian 12", linux({ kind: "glibc", version: "2.36" }), "linux-x64"],
    ["Ubuntu 22.04", linux({ kind: "glibc", version: "2.34" }), "linux-x64"],
    ["Apple silicon", { platform: "darwin", arch: "arm64", node }, "darwin-arm64"],
    ["Windows on ARM", { platform: "win32", arch: "arm64", node }, "win32-arm64"],
    ["CUDA", { ...linux({ kind: "glibc", version: "2.36" }), backend: "cuda" }, "linux-x64-cuda"],
    ["Vulkan on Windows", { platform: "win32", arch: "x64", node, backend: "vulkan" }, "win32-x64-vulkan"],
  ])("is supported: %s", (_system, facts, lock) => {
    expect(requireSupported(facts)).toBe(lock);
  });

  test.each<[string, PlatformFacts, RegExp]>([
    ["Alpine", linux({ kind: "musl" }), /needs glibc 2\.34 or newer; this system has musl/],
    ["Debian 11", linux({ kind: "glibc", version: "2.31" }), /this system has 2\.31/],
    ["glibc 2.9 (no decimal fraction)", linux({ kind: "glibc", version: "2.9" }), /this system has 2\.9/],
    ["FreeBSD", { platform: "freebsd", arch: "x64", node }, /no binaries for freebsd-x64/],
    ["32-bit ARM", { platform: "linux", arch: "arm", node, libc: { kind: "glibc", version: "2.36" } }, /linux-arm /],
    ["a name of Object.prototype", { platform: "to", arch: "String", node }, /no binaries/],
  ])("is not supported, and Ollama is suggested: %s", (_system, facts, message) => {
    expect(() => requireSupported(facts)).toThrow(
      expect.objectContaining({
        name: "EngineNotInstalled",
        message: expect.stringMatching(message),
        next: [useOllama],
      }),
    );
  });

  test("without binaries for its cards is told how to go back to the processor", () => {
    expect(() => requireSupported({ platform: "darwin", arch: "arm64", node, backend: "cuda" })).toThrow(
      expect.objectContaining({
        message: "the embedded engine has no CUDA binaries for darwin-arm64",
        next: [{ step: "changeSetting", setting: "providers.llamaCpp.backend", to: "cpu" }],
      }),
    );
  });

  test("has its own engine folder if it needs other binaries", () => {
    expect(engineFolderName(linux({ kind: "glibc", version: "2.36" }))).toBe(
      `node-llama-cpp-${engineVersion}-linux-x64-glibc`,
    );
    expect(engineFolderName({ platform: "win32", arch: "arm64", node })).toBe(
      `node-llama-cpp-${engineVersion}-win32-arm64`,
    );
    expect(engineFolderName({ platform: "win32", arch: "x64", node, backend: "cuda" })).toBe(
      `node-llama-cpp-${engineVersion}-win32-x64-cuda`,
    );
  });

  test("has a C library only on Linux", () => {
    const facts = currentPlatform();
    expect(facts).toMatchObject({ platform: process.platform, arch: process.arch });
    expect(facts.libc !== undefined).toBe(process.platform === "linux");
  });
});

describe("the shipped locks", () => {
  const locks = resolve("engine-lock");

  test("exist for every supported platform and no other", async () => {
    expect((await readdir(locks)).toSorted()).toEqual(Object.keys(binaryPackages).toSorted());
  });

  test.each(Object.entries(binaryPackages))(
    "%s: contain the engine and its binaries with sha512, less than 90 MB without those of a card",
    async (platform, binaries) => {
      const folder = resolve(locks, platform);
      const packages = await readEngineLock(folder);
      const size = readEngineSize(folder);
      const versions = new Map(packages.map((entry) => [entry.path, entry.version]));
      expect(versions.get("node_modules/node-llama-cpp")).toBe(engineVersion);
      const native = packages.filter((entry) => entry.name.startsWith("@node-llama-cpp/"));
      expect(native.map(({ name }) => name).toSorted()).toEqual(binaries.toSorted());
      expect(new Set(native.map(({ version }) => version))).toEqual(new Set([engineVersion]));
      expect(size.downloadBytes).toBe(packages.reduce((sum, entry) => sum + entry.bytes, 0));
      const most = { cuda: 650_000_000, vulkan: 180_000_000 }[platform.split("-")[2] ?? ""] ?? 90_000_000;
      expect(size.installedBytes).toBeLessThan(most);
    },
  );

  test("contain no addresses", async () => {
    for (const platform of Object.keys(binaryPackages)) {
      expect(await readFile(resolve(locks, platform, "package-lock.json"), "utf8")).not.toContain('"resolved"');
    }
  });
});
