import { open, readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { LoadFailed } from "../../../errors.ts";
import { parseJson } from "../../../text/parse-json.ts";
import { reportLock } from "./lock.ts";

const markerFile = "complete.json";
const modulePath = ["node_modules", "node-llama-cpp"] as const;

/** Written last: a folder without it, or whose listed files have another size, is not an installation. */
const markerSchema = z.object({
  schemaVersion: z.literal(1),
  /** The module to import, below the folder, with forward slashes. */
  entry: z.string(),
  /** What must be there in full for the engine to start: path → bytes. */
  files: z.record(z.string(), z.number()),
});

/** Absolute path of the module of a complete installation, else undefined. Looks at some 25 files: about 1 ms. */
export async function findInstalled(folder: string): Promise<string | undefined> {
  const text = await readFile(join(folder, markerFile), "utf8").catch(() => undefined);
  if (text === undefined) return undefined;
  const marker = markerSchema.safeParse(jsonIn(text));
  if (!marker.success) return undefined; // cut while it was written: installed again
  const { entry, files } = marker.data;
  const isWhole = await Promise.all(
    Object.entries(files).map(async ([path, bytes]) => (await sizeOf(join(folder, path))) === bytes),
  );
  return isWhole.every(Boolean) ? join(folder, ...entry.split("/")) : undefined;
}

/** Path of the engine's module below `folder`, as its own package.json names it. Throws `LoadFailed`. */
export async function findEntry(folder: string): Promise<string> {
  const manifest = z
    .object({ main: z.string() })
    .safeParse(jsonIn(await readFile(join(folder, ...modulePath, "package.json"), "utf8").catch(() => "")));
  const path = manifest.success ? [...modulePath, ...manifest.data.main.split("/").filter((part) => part !== ".")] : [];
  if (path.length === 0 || (await sizeOf(join(folder, ...path))) === undefined) {
    throw new LoadFailed("The embedded engine's package holds no module to import", {
      next: reportLock,
    });
  }
  return path.join("/");
}

/**
 * Marks `folder` as complete. Throws `LoadFailed` when the package with the native binaries (named by its path below
 * `folder`) has none.
 */
export async function markInstalled(folder: string, entry: string, binaryPackagePath: string): Promise<void> {
  const binaries = await filesBelow(folder, `${binaryPackagePath}/bins`);
  if (!binaries.some((file) => file.endsWith(".node"))) {
    throw new LoadFailed(`${binaryPackagePath} holds no native binary`, {
      next: reportLock,
    });
  }
  const files: Record<string, number> = {};
  for (const path of [entry, ...binaries]) {
    const handle = await open(join(folder, path), "r+");
    try {
      // After a power cut a file may have its name and not its content: the large ones are flushed and checked by size.
      await handle.sync();
      files[path] = (await handle.stat()).size;
    } finally {
      await handle.close();
    }
  }
  const marker = { schemaVersion: 1, entry, files } satisfies z.infer<typeof markerSchema>;
  const handle = await open(join(folder, markerFile), "w", 0o600);
  try {
    await handle.writeFile(`${JSON.stringify(marker, undefined, 1)}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Every file below `folder/path`, named from `folder` with forward slashes. */
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

function jsonIn(text: string): unknown {
  try {
    return parseJson(text);
  } catch {
    return undefined;
  }
}
