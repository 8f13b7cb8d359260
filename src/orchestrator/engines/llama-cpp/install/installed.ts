import { open, readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { LoadFailed } from "../../../api/errors.ts";
import { replaceFile } from "../../../storage/replace-file.ts";
import { jsonIn } from "../../../util/parse-json.ts";
import { reportLock } from "./lock.ts";

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
  return stat(file).then(
    (found) => found.size,
    () => undefined,
  );
}
