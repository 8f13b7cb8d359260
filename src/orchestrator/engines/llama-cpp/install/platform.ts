import { EngineNotInstalled } from "../../../api/errors.ts";
import { advice } from "../../../api/next-step.ts";

/** Version of node-llama-cpp. A change requires new locks (`scripts/engine-locks.ts`). */
export const engineVersion = "3.21.1";

/** Facts that determine which binaries run on this machine; injected for tests. */
export interface PlatformFacts {
  readonly platform: string;
  readonly arch: string;
  /** Linux only. `version` as the C library prints it: `2.36`. */
  readonly libc?: { readonly kind: "glibc" | "musl"; readonly version?: string };
  readonly node: {
    /** A program that runs JavaScript modules, for the trial run; in a desktop client it may not be Node. */
    readonly execPath: string;
  };
}

/** Folder below `engine-lock/` → the package with that platform's binaries (CPU; Metal on Apple silicon). */
export const binaryPackages: Readonly<Record<string, string>> = {
  "linux-x64": "@node-llama-cpp/linux-x64",
  "linux-arm64": "@node-llama-cpp/linux-arm64",
  "darwin-arm64": "@node-llama-cpp/mac-arm64-metal",
  "darwin-x64": "@node-llama-cpp/mac-x64",
  "win32-x64": "@node-llama-cpp/win-x64",
  "win32-arm64": "@node-llama-cpp/win-arm64",
};

/** The binaries are linked against the C library of Debian 12 and Ubuntu 22.04. */
const oldestGlibc = "2.34";

/** Next step on a machine on which the embedded engine does not run. */
export const useOllama = advice("use Ollama instead: it is detected at 127.0.0.1:11434, or at OLLM_HOST");

/** Returns the facts of this process. Takes a few milliseconds on Linux (a diagnostic report). */
export function currentPlatform(): PlatformFacts {
  const facts = { platform: process.platform, arch: process.arch, node: { execPath: process.execPath } };
  if (process.platform !== "linux") return facts;
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
  return `node-llama-cpp-${engineVersion}-${facts.platform}-${facts.arch}${libc}`;
}

/** Returns the folder of this platform's lock, or undefined when there is none. */
export function lockName(facts: PlatformFacts): string | undefined {
  const name = `${facts.platform}-${facts.arch}`;
  return Object.hasOwn(binaryPackages, name) ? name : undefined;
}

/** Returns the folder of this platform's lock. Throws `EngineNotInstalled` when no binaries run on this machine. */
export function requireSupported(facts: PlatformFacts): string {
  const name = lockName(facts);
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
