import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createEngineInstallation } from "../../../../../src/orchestrator/engines/llama-cpp/install/installation.ts";
import type { Progress } from "../../../../../src/orchestrator/api/types.ts";
import {
  enginePackages,
  startFakeNpmRegistry,
  type FakeNpmRegistry,
  type FakePackage,
} from "../../../../support/fake-npm-registry.ts";

type InstallPatience = NonNullable<EngineInstallationOptions["patience"]>;

type EngineFiles = ReturnType<typeof createEngineInstallation>;

type EngineInstallationOptions = Parameters<typeof createEngineInstallation>[0];

/** The engines folder, lock and registry of one test. */
export interface InstallFixture {
  readonly registry: FakeNpmRegistry;
  readonly enginesFolder: string;
  readonly lockFolder: string;
  /** All progress reports, oldest first. */
  readonly reports: readonly Progress[];
  /** Returns the names in the engines folder; empty if it does not exist. */
  leftovers(): Promise<readonly string[]>;
  engine(options?: Partial<EngineInstallationOptions>): EngineFiles;
  install(options?: Partial<EngineInstallationOptions>, signal?: AbortSignal): Promise<EngineFiles>;
  /** Starts a separate process that installs into the same folder. */
  startProcess(): ChildProcess;
  close(): Promise<void>;
}

/** Retries without a delay; the stall timeout is long, because a busy machine is slow. */
export const eager: InstallPatience = { stallMs: 30_000, retries: 2, initialDelayMs: 1, maxDelayMs: 2, pollMs: 5 };
/** For tests of stalls. */
export const impatient: InstallPatience = { ...eager, stallMs: 1_000 };

export const folderName = "node-llama-cpp-3.21.1-linux-x64-glibc";

export async function installFixture(
  packages: readonly FakePackage[] = enginePackages(),
  tls?: { readonly key: string; readonly cert: string },
): Promise<InstallFixture> {
  const registry = await startFakeNpmRegistry(packages, tls);
  const folder = await mkdtemp(join(tmpdir(), "ollm-install-"));
  const enginesFolder = join(folder, "home", "engines");
  const lockFolder = join(folder, "engine-lock");
  await registry.writeLock(lockFolder);
  const reports: Progress[] = [];
  const processes: ChildProcess[] = [];
  const engine = (options: Partial<EngineInstallationOptions> = {}): EngineFiles =>
    createEngineInstallation({
      enginesFolder,
      lockFolder,
      platform: {
        platform: "linux",
        arch: "x64",
        libc: { kind: "glibc", version: "2.36" },
        node: { execPath: process.execPath },
      },
      environment: environmentFor(folder, registry.address),
      log: { debug: () => undefined, info: () => undefined, warn: () => undefined },
      now: Date.now,
      patience: eager,
      ...options,
    });
  return {
    registry,
    enginesFolder,
    lockFolder,
    reports,
    engine,
    leftovers: () => readdir(enginesFolder).catch(() => []),
    install: async (options, signal = new AbortController().signal) => {
      const files = engine(options);
      await files.install((progress) => reports.push(progress), signal);
      return files;
    },
    startProcess: () => {
      const program = fileURLToPath(new URL("install-program.ts", import.meta.url));
      const child = fork(program, [enginesFolder, lockFolder, registry.address], { execArgv: ["--import", "tsx"] });
      processes.push(child);
      return child;
    },
    close: async () => {
      for (const child of processes) child.kill("SIGKILL");
      await registry.close();
      await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** An environment without this machine's npm configuration, proxies and certificates. */
export function environmentFor(home: string, registry: string): Record<string, string | undefined> {
  return {
    HOME: home,
    PATH: process.env["PATH"],
    SystemRoot: process.env["SystemRoot"],
    npm_config_registry: registry,
    npm_config_globalconfig: join(home, "none"),
  };
}

/** Resolves when the process has sent `message`. */
export async function messageOf(child: ChildProcess, message: string): Promise<void> {
  for (;;) {
    const [received] = (await Promise.race([
      once(child, "message"),
      once(child, "exit").then(([code]) => {
        throw new Error(`the process ended with ${code} before it sent "${message}"`);
      }),
    ])) as [unknown];
    if (received === message) return;
  }
}
