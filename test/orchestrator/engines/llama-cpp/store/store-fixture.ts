import { createHash } from "node:crypto";
import { mkdtemp, readdir, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, onTestFinished } from "vitest";
import type { Progress } from "../../../../../src/orchestrator/api/types.ts";
import { PullFailed } from "../../../../../src/orchestrator/api/errors.ts";
import { createAddressGuard } from "../../../../../src/orchestrator/engines/address-guard.ts";
import { createHttpGet } from "../../../../../src/orchestrator/engines/http.ts";
import { createModelStore } from "../../../../../src/orchestrator/engines/llama-cpp/store/model-store.ts";
import { startFakeRegistry, type FakeRegistry } from "../../../../support/fake-registry.ts";

type ModelStoreOptions = Parameters<typeof createModelStore>[0];

/** A registry and temporary folders for one test. */
export interface StoreFixture {
  readonly registry: FakeRegistry;
  /** The folder of the store that `store()` creates; doesn't exist yet. */
  readonly folder: string;
  /** Another temporary folder, beside `folder`. */
  readonly scratch: string;
  /** Warnings of all stores. */
  readonly warnings: string[];
  store(options?: Partial<ModelStoreOptions>): ReturnType<typeof createModelStore>;
}

export async function storeFixture(): Promise<StoreFixture> {
  // macOS: the temporary folder is behind a symlink.
  const scratch = await realpath(await mkdtemp(path.join(tmpdir(), "ollm-store-")));
  onTestFinished(() => rm(scratch, { recursive: true, force: true }));
  const registry = await startFakeRegistry();
  onTestFinished(() => registry.close());
  const folder = path.join(scratch, "models");
  const warnings: string[] = [];
  return {
    registry,
    folder,
    scratch,
    warnings,
    store: (options) =>
      createModelStore({
        folder,
        readOnlyFolders: [],
        registry: {
          defaultHost: registry.host,

          stallTimeoutMs: 10_000,
        },
        http: createHttpGet({}, loopbackNamed),
        log: { debug: () => {}, info: () => {}, warn: (line) => warnings.push(line) },
        retry: { retries: 3, initialDelayMs: 1, maxDelayMs: 5 },
        ...options,
      }),
  };
}

/** Bytes that start like a GGUF, differ by `seed` and don't repeat. */
export function weights(sizeBytes: number, seed = 1): Buffer {
  const data = Buffer.alloc(sizeBytes);
  for (let at = 0, block = 0; at < sizeBytes; at += 32, block++) {
    createHash("sha256").update(`${seed}/${block}`).digest().copy(data, at);
  }
  data.write("GGUF");
  return data;
}

/** Compares buffers quickly: `toEqual` takes seconds for a megabyte. */
export function expectSameBytes(got: Buffer, wanted: Buffer): void {
  expect(got).toHaveLength(wanted.length);
  expect(got.equals(wanted)).toBe(true);
}

/** Fake registries are on this machine. */
export const loopbackNamed = createAddressGuard({
  allowedHosts: () => ["127.0.0.1"],
  refuse: (message, next) => new PullFailed(message, { next }),
});

export const never: AbortSignal = new AbortController().signal;
export const ignore = (): void => {};

/** A report that records its events; tests can wait for one. */
export function recorder(): {
  readonly seen: Progress[];
  readonly report: (progress: Progress) => void;
  until(matches: (progress: Progress) => boolean): Promise<Progress>;
} {
  const seen: Progress[] = [];
  const waiting = new Set<() => void>();
  return {
    seen,
    report(progress) {
      seen.push(progress);
      for (const wake of waiting) wake();
    },
    until: (matches) =>
      new Promise((resolve) => {
        const check = () => {
          const found = seen.find(matches);
          if (found === undefined) return;
          waiting.delete(check);
          resolve(found);
        };
        waiting.add(check);
        check();
      }),
  };
}

/** A clock by which each event is late enough to be reported; otherwise progress is reported ten times a second. */
export function eagerClock(): () => number {
  let calls = 0;
  return () => Date.now() + calls++ * 150;
}

/** Every file below `folder`, as sorted relative paths. */
export async function filesBelow(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)))
    .toSorted();
}

export function sha256(data: Uint8Array | string): string {
  return createHash("sha256").update(data).digest("hex");
}
