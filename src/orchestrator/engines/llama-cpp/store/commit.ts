import { readdir, rm, stat } from "node:fs/promises";
import path from "node:path";
import type { Log } from "../../../api/log.ts";
import type { ModelName } from "../../../util/model-name.ts";
import { codeOf, messageOf } from "../../../util/message-of.ts";
import { type StoreLayout, blobState, makePrivateFolder, readSmallFile, writeFileDurably } from "./layout.ts";
import { MAX_MANIFEST_BYTES, type Manifest, blobsOf, parseManifest } from "./manifest.ts";
import type { StoreReader } from "./reader.ts";

/**
 * Writes a model's manifest, which makes it listed, and deletes blobs that only the previous manifest named. Must run
 * under the store's lock. Returns `blobs-missing` if a removal has deleted a shared blob meanwhile.
 */
export async function commitManifest(
  store: StoreReader,
  name: ModelName,
  raw: Buffer,
  log: Log,
): Promise<"written" | "replaced" | "unchanged" | "blobs-missing"> {
  const manifest = parseManifest(raw);
  for (const blob of blobsOf(manifest)) {
    if (["absent", "damaged"].includes(await blobState(store.layout, blob))) return "blobs-missing";
  }
  // A name that exists in another case keeps that case: one model, and one file on case-insensitive file systems.
  const file = (await store.entry(name))?.manifestFile ?? store.layout.manifestFile(name);
  const before = await readSmallFile(file, MAX_MANIFEST_BYTES).catch(() => undefined);
  await makePrivateFolder(path.dirname(file));
  // Written even if unchanged: a manifest younger than its blobs records that they were just verified.
  await writeFileDurably(file, raw, store.layout.platform);
  if (before?.equals(raw) === true) return "unchanged";
  const dropped = before === undefined ? undefined : tryParse(before);
  if (dropped === undefined) return "written";
  try {
    await removeUnreferenced(
      store,
      blobsOf(dropped).map((blob) => blob.digest),
      log,
    );
  } catch (error) {
    // The new model is complete; the old blobs are pruned later.
    log.warn(`store: blobs of the replaced model were not deleted yet: ${messageOf(error)}`);
  }
  return "replaced";
}

function tryParse(raw: Buffer): Manifest | undefined {
  try {
    return parseManifest(raw);
  } catch {
    return undefined;
  }
}

const ABANDONED_AFTER_MS = 7 * 24 * 3600 * 1000;
/** A download, its claim, or a download of an earlier version, with its holder's name. */
const PARTIAL = /^sha256-[0-9a-f]{64}-partial(?:\.lock(?:\.[0-9a-f]{8})?|-[0-9a-f]{8}-\d+-[0-9a-f]{8})?$/;
/** Prefix of the names of files that an import is writing. */
export const IMPORT_PREFIX = "import-";

/** Deletes those of `digests` that no manifest of the store names; returns the bytes freed on disk. */
export async function removeUnreferenced(store: StoreReader, digests: readonly string[], log: Log): Promise<number> {
  const referenced = await store.referencedDigests();
  let freedBytes = 0;
  for (const hex of new Set(digests)) {
    if (!referenced.has(hex)) freedBytes += await removeFile(store.layout.blobFile(hex), log);
  }
  return freedBytes;
}

/**
 * Deletes what pulls and imports abandoned more than a week ago: partial downloads, and complete blobs that no manifest
 * names.
 */
export async function pruneAbandoned(store: StoreReader, nowMs: number, log: Log): Promise<void> {
  const { layout } = store;
  const fileNames = await readBlobNames(layout);
  if (fileNames.length === 0) return;
  const referenced = await store.referencedDigests();
  for (const fileName of fileNames) {
    const [, hex] = /^sha256-([0-9a-f]{64})$/.exec(fileName) ?? [];
    const isOurs = hex !== undefined || fileName.startsWith(IMPORT_PREFIX) || PARTIAL.test(fileName);
    if (!isOurs || (hex !== undefined && referenced.has(hex))) continue;
    const file = path.join(layout.blobsFolder, fileName);
    const found = await stat(file).catch(() => undefined);
    // A hard link has the times of its source, but creating it changes ctime.
    if (found === undefined || nowMs - Math.max(found.mtimeMs, found.ctimeMs) < ABANDONED_AFTER_MS) continue;
    log.info(`store: removing ${file}: a pull or import abandoned over a week ago`);
    await removeFile(file, log);
  }
}

async function readBlobNames(layout: StoreLayout): Promise<readonly string[]> {
  try {
    return await readdir(layout.blobsFolder);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return [];
    throw error;
  }
}

/** A file in use can't be deleted on Windows: it stays, unreferenced, and is pruned a week later. */
async function removeFile(file: string, log: Log): Promise<number> {
  try {
    const { size, nlink } = await stat(file);
    await rm(file);
    // The bytes of an imported file are still used under its other name.
    return nlink > 1 ? 0 : size;
  } catch (error) {
    if (codeOf(error) !== "ENOENT")
      log.warn(`store: ${file} is no longer needed but can't be deleted: ${messageOf(error)}`);
    return 0;
  }
}
