import { readFile, open, readdir, stat } from "node:fs/promises";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";
import { OrchestratorError, LoadFailed } from "../../../api/errors.ts";
import { advice } from "../../../api/next-step.ts";
import { engineVersion } from "./platform.ts";
import { jsonIn, messageOf } from "../../../util/values.ts";
import { replaceFile } from "../../../storage/replace-file.ts";

/** One package of the engine's lock. */
export interface LockedPackage {
  readonly name: string;
  readonly version: string;
  /** Relative to the engine's folder, with forward slashes: `node_modules/cliui/node_modules/ansi-regex`. */
  readonly path: string;
  /** `sha512-…` (base64), as npm writes it. */
  readonly integrity: string;
  /** Compressed size; a longer download is rejected. */
  readonly bytes: number;
}

/** Measured when the locks are created and stored next to them in `size.json`. */
const sizeSchema = z.object({
  downloadBytes: z.number().int().positive(),
  installedBytes: z.number().int().positive(),
  /** Path of the package → compressed bytes. */
  packages: z.record(z.string(), z.number().int().positive()),
});

export type EngineSize = Omit<z.output<typeof sizeSchema>, "packages">;

const lockSchema = z.object({
  lockfileVersion: z.literal(3),
  packages: z.record(
    z.string(),
    z.object({
      version: z.string().optional(),
      integrity: z.string().optional(),
      optional: z.boolean().optional(),
    }),
  ),
});

const packageName = String.raw`(?:@[a-z0-9][\w.~-]*/)?[a-z0-9][\w.~-]*`;
const pathPattern = new RegExp(String.raw`^(?:node_modules/${packageName}/)*node_modules/(${packageName})$`, "i");
const integrityPattern = /^sha512-[A-Za-z0-9+/]{86}==$/;

/** Next step for a package that does not contain what the engine needs. */
export const reportLock = advice("report this as a bug in ollm-mcp, whose lock names this package");

/** Reads the sizes of one platform's lock, synchronously. Throws `OrchestratorError`. */
export function readEngineSize(folder: string): EngineSize {
  try {
    return sizeSchema.parse(JSON.parse(readFileSync(join(folder, "size.json"), "utf8")));
  } catch (error) {
    throw broken(join(folder, "size.json"), error);
  }
}

/**
 * Reads the packages of one platform's lock, largest first so that long downloads start early. Omits optional ones (725 MB
 * of binaries for GPUs). Throws `OrchestratorError` when the shipped lock is missing or damaged.
 */
export async function readEngineLock(folder: string): Promise<readonly LockedPackage[]> {
  const file = join(folder, "package-lock.json");
  try {
    const lock = lockSchema.parse(JSON.parse(await readFile(file, "utf8")));
    const { packages: sizes } = sizeSchema.parse(JSON.parse(await readFile(join(folder, "size.json"), "utf8")));
    const packages = lockedPackages(lock.packages).map((entry) => ({
      ...entry,
      bytes: required(sizes[entry.path], entry.path),
    }));
    const engine = packages.find((entry) => entry.path === "node_modules/node-llama-cpp");
    if (engine?.version !== engineVersion) throw new Error(`it does not contain node-llama-cpp ${engineVersion}`);
    return packages.toSorted((a, b) => b.bytes - a.bytes);
  } catch (error) {
    throw broken(file, error);
  }
}

/** Returns the packages to install from a parsed `package-lock.json`, which has no sizes. */
export function lockedPackages(
  packages: z.infer<typeof lockSchema>["packages"],
): readonly Omit<LockedPackage, "bytes">[] {
  return Object.entries(packages)
    .filter(([path, entry]) => path !== "" && entry.optional !== true)
    .map(([path, entry]) => {
      const match = pathPattern.exec(path);
      if (match?.[1] === undefined) throw new Error(`"${path}" is not a package's folder`);
      const integrity = required(entry.integrity, path);
      if (!integrityPattern.test(integrity)) throw new Error(`${path} has no sha512`);
      return { path, name: match[1], version: required(entry.version, path), integrity };
    });
}

function required<Value>(value: Value | undefined, path: string): Value {
  if (value === undefined) throw new Error(`the entry of ${path} is incomplete`);
  return value;
}

function broken(file: string, cause: unknown): OrchestratorError {
  const reason = messageOf(cause);
  return new OrchestratorError(`the embedded engine's lock ${file} cannot be used: ${reason}`, {
    next: advice("reinstall ollm-mcp: this file is part of the package"),
    cause,
  });
}

const markerFile = "complete.json";
const modulePath = ["node_modules", "node-llama-cpp"] as const;

/** Written last: an installation is complete if this file exists and the listed files have their sizes. */
const markerSchema = z.object({
  schemaVersion: z.literal(1),
  /** The module to import, relative to the folder, with forward slashes. */
  entry: z.string(),
  /** Files that the engine needs to start: path → bytes. */
  files: z.record(z.string(), z.number()),
});

/** Returns the absolute path of the module of a complete installation, else undefined. Checks about 25 files: 1 ms. */
export async function findInstalled(folder: string): Promise<string | undefined> {
  const text = await readFile(join(folder, markerFile), "utf8").catch(() => undefined);
  if (text === undefined) return undefined;
  const marker = markerSchema.safeParse(jsonIn(text));
  if (!marker.success) return undefined; // interrupted while it was written: installed again
  const { entry, files } = marker.data;
  const isWhole = await Promise.all(
    Object.entries(files).map(async ([path, bytes]) => (await sizeOf(join(folder, path))) === bytes),
  );
  return isWhole.every(Boolean) ? join(folder, ...entry.split("/")) : undefined;
}

/** Returns the path of the engine's module relative to `folder`, from its package.json. Throws `LoadFailed`. */
export async function findEntry(folder: string): Promise<string> {
  const manifest = z
    .object({ main: z.string() })
    .safeParse(jsonIn(await readFile(join(folder, ...modulePath, "package.json"), "utf8").catch(() => "")));
  const path = manifest.success ? [...modulePath, ...manifest.data.main.split("/").filter((part) => part !== ".")] : [];
  if (path.length === 0 || (await sizeOf(join(folder, ...path))) === undefined) {
    throw new LoadFailed("the embedded engine's package contains no module to import", {
      next: reportLock,
    });
  }
  return path.join("/");
}

/**
 * Marks `folder` as complete. Throws `LoadFailed` when one of `binaryPackages` contains no native binary.
 */
export async function markInstalled(folder: string, entry: string, binaryPackages: readonly string[]): Promise<void> {
  const binaries: string[] = [];
  for (const name of binaryPackages) {
    const files = await filesBelow(folder, `node_modules/${name}/bins`);
    if (!files.some((file) => /\.(?:node|so|dll)$/.test(file)))
      throw new LoadFailed(`${name} contains no native binary`, { next: reportLock });
    binaries.push(...files);
  }
  const files: Record<string, number> = {};
  for (const path of [entry, ...binaries]) {
    const handle = await open(join(folder, path), "r+");
    try {
      // After a power failure a file may lack its content: large files are flushed, and checked by size.
      await handle.sync();
      files[path] = (await handle.stat()).size;
    } finally {
      await handle.close();
    }
  }
  const marker = { schemaVersion: 1, entry, files } satisfies z.infer<typeof markerSchema>;
  await replaceFile(join(folder, markerFile), `${JSON.stringify(marker, undefined, 1)}\n`, { mode: 0o600 });
}

/** Returns all files below `folder/path`, relative to `folder`, with forward slashes. */
async function filesBelow(folder: string, path: string): Promise<readonly string[]> {
  const entries = await readdir(join(folder, path), { withFileTypes: true }).catch(() => []);
  const nested = await Promise.all(
    entries.map(async (entry) => {
      const child = `${path}/${entry.name}`;
      return entry.isDirectory() ? filesBelow(folder, child) : [child];
    }),
  );
  return nested.flat().toSorted();
}

async function sizeOf(file: string): Promise<number | undefined> {
  return (await stat(file).catch(() => undefined))?.size;
}
