import { readFile } from "node:fs/promises";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";
import { OrchestratorError } from "../../../api/errors.ts";
import { advice } from "../../../api/next-step.ts";
import { engineVersion } from "./platform.ts";
import { messageOf } from "../../../util/message-of.ts";

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
export interface EngineSize {
  readonly downloadBytes: number;
  readonly installedBytes: number;
}

const sizeSchema = z.object({
  downloadBytes: z.number().int().positive(),
  installedBytes: z.number().int().positive(),
  /** Path of the package → compressed bytes. */
  packages: z.record(z.string(), z.number().int().positive()),
});

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

const name = String.raw`(?:@[a-z0-9][\w.~-]*/)?[a-z0-9][\w.~-]*`;
const pathPattern = new RegExp(String.raw`^(?:node_modules/${name}/)*node_modules/(${name})$`, "i");
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
