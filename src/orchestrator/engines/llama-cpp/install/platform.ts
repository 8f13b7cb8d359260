import packages from "./binary-packages.json" with { type: "json" };
import { readFile, readdir } from "node:fs/promises";
import path from "node:path";
import { EngineNotInstalled } from "../../../api/errors.ts";
import { advice } from "../../../api/next-step.ts";

/** Version of node-llama-cpp. A change requires new locks (`scripts/engine-locks.ts`). */
export const engineVersion = "3.21.1";

/** What the engine computes with: the processor (on Apple silicon with Metal), or graphics cards. */
export type Backend = "cpu" | "cuda" | "vulkan";

export const backendNames: Readonly<Record<Backend, string>> = { cpu: "CPU", cuda: "CUDA", vulkan: "Vulkan" };

/** A graphics card, with what the engine can use it by. */
export interface Card {
  readonly name: string;
  readonly backend: Exclude<Backend, "cpu">;
}

/** Facts that determine which binaries run on this machine; injected for tests. */
export interface PlatformFacts {
  readonly platform: string;
  readonly arch: string;
  /** `providers.llamaCpp.backend`; absent: `cpu`. */
  readonly backend?: Backend;
  /** Linux only. `version` as the C library prints it: `2.36`. */
  readonly libc?: { readonly kind: "glibc" | "musl"; readonly version?: string };
  readonly node: {
    /** A program that runs JavaScript modules, for the trial run; in a desktop client it may not be Node. */
    readonly execPath: string;
  };
}

/**
 * Folder below `engine-lock/` → the packages with binaries. Those for cards come with those for the processor, which runs
 * the models when a card fails. `-ext` is CUDA 12, for machines without CUDA 13.
 */
export const binaryPackages: Readonly<Record<string, readonly string[]>> = packages;

/** The binaries are linked against the C library of Debian 12 and Ubuntu 22.04. */
const oldestGlibc = "2.34";

/** Next step on a machine on which the embedded engine does not run. */
export const useOllama = advice("use Ollama instead: it is detected at 127.0.0.1:11434, or at OLLM_HOST");

/** Returns the facts of this process. Takes a few milliseconds on Linux (a diagnostic report). */
export function currentPlatform(backend: Backend = "cpu"): PlatformFacts {
  const { platform, arch, execPath } = process;
  const facts = { platform, arch, backend, node: { execPath } };
  if (platform !== "linux") return facts;
  const version = glibcVersion();
  return { ...facts, libc: version === undefined ? { kind: "musl" } : { kind: "glibc", version } };
}

function glibcVersion(): string | undefined {
  // By default the report resolves the host names of all sockets, which can take minutes.
  const report = process.report as typeof process.report & { excludeNetwork?: boolean };
  const before = report.excludeNetwork;
  report.excludeNetwork = true;
  try {
    const { header } = report.getReport() as { header?: { glibcVersionRuntime?: string } };
    return header?.glibcVersionRuntime;
  } finally {
    if (before !== undefined) report.excludeNetwork = before;
  }
}

/** Returns the name of the engine's folder in `OLLM_HOME/engines`. Different machines may share one home. */
export function engineFolderName(facts: PlatformFacts): string {
  const libc = facts.libc === undefined ? "" : `-${facts.libc.kind}`;
  return `node-llama-cpp-${engineVersion}-${facts.platform}-${facts.arch}${libc}${suffixOf(facts)}`;
}

const suffixOf = ({ backend = "cpu" }: PlatformFacts): string => (backend === "cpu" ? "" : `-${backend}`);

/** Returns the folder of this platform's lock, or undefined when there is none. */
export function lockName(facts: PlatformFacts): string | undefined {
  const name = `${facts.platform}-${facts.arch}${suffixOf(facts)}`;
  return Object.hasOwn(binaryPackages, name) ? name : undefined;
}

/** Returns the folder of this platform's lock. Throws `EngineNotInstalled` when no binaries run on this machine. */
export function requireSupported(facts: PlatformFacts): string {
  const name = lockName(facts);
  const { backend = "cpu" } = facts;
  if (name === undefined && backend !== "cpu" && lockName({ ...facts, backend: "cpu" }) !== undefined) {
    throw new EngineNotInstalled(
      `the embedded engine has no ${backendNames[backend]} binaries for ${facts.platform}-${facts.arch}`,
      { next: { step: "changeSetting", setting: "providers.llamaCpp.backend", to: "cpu" } },
    );
  }
  if (name === undefined) {
    const known = Object.keys(binaryPackages).join(", ");
    throw new EngineNotInstalled(
      `the embedded engine has no binaries for ${facts.platform}-${facts.arch} (supported: ${known})`,
      { next: useOllama },
    );
  }
  if (facts.libc?.kind === "musl") {
    throw new EngineNotInstalled(
      `the embedded engine needs glibc ${oldestGlibc} or newer; this system has musl (such as Alpine)`,
      { next: useOllama },
    );
  }
  if (facts.libc?.version !== undefined && isOlder(facts.libc.version, oldestGlibc)) {
    throw new EngineNotInstalled(
      `the embedded engine needs glibc ${oldestGlibc} or newer; this system has ${facts.libc.version}`,
      { next: useOllama },
    );
  }
  return name;
}

function isOlder(version: string, than: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const [thanMajor = 0, thanMinor = 0] = than.split(".").map(Number);
  return major < thanMajor || (major === thanMajor && minor < thanMinor);
}

/**
 * The first card that there are binaries for. NVIDIA's are used by CUDA where its runtime is installed, which is neither
 * part of the driver nor of the binaries, and by Vulkan elsewhere, which comes with every maker's driver.
 */
export async function cardFor(
  names: readonly string[],
  facts: { readonly platform: string; readonly arch: string },
  environment: Readonly<Record<string, string | undefined>>,
): Promise<Card | undefined> {
  const [name] = names.toSorted((one, other) => Number(isNvidia(other)) - Number(isNvidia(one)));
  if (name === undefined) return undefined;
  const hasCuda = isNvidia(name) && (await hasCudaRuntime(facts.platform, environment));
  const backend = hasCuda ? "cuda" : "vulkan";
  return lockName({ ...facts, backend, node: { execPath: "" } }) === undefined ? undefined : { name, backend };
}

const isNvidia = (name: string): boolean => /nvidia|geforce|quadro|tesla/i.test(name);

/** The versions that the binaries are linked to: 13, and 12 in the package `-ext`. */
const runtime = /^(?:libcudart\.so\.1[23]|cudart64_1[23]\.dll)/i;

/** Whether the system's loader finds CUDA's runtime: in its cache or in the folders that it searches. */
async function hasCudaRuntime(platform: string, environment: Readonly<Record<string, string | undefined>>) {
  const isWindows = platform === "win32";
  const folders = (isWindows ? environment["PATH"] : environment["LD_LIBRARY_PATH"]) ?? "";
  for (const folder of folders.split(isWindows ? ";" : ":").filter((each) => path.isAbsolute(each))) {
    const files = await readdir(folder).catch(() => []);
    if (files.some((file) => runtime.test(file))) return true;
  }
  if (isWindows) return false;
  const cache = await readFile("/etc/ld.so.cache", "latin1").catch(() => "");
  return /libcudart\.so\.1[23]\0/.test(cache);
}
