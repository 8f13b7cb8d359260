import path from "node:path";
import type { Log } from "../log.ts";
import { blobState } from "./blob-state.ts";
import { removeUnreferenced } from "./collect.ts";
import { errorText, makePrivateFolder, readSmallFile, writeFileDurably } from "./files.ts";
import { blobsOf, MAX_MANIFEST_BYTES, parseManifest, type Manifest } from "./manifest.ts";
import type { ModelName } from "./model-name.ts";
import type { StoreReader } from "./reader.ts";

export type CommitOutcome = "written" | "replaced" | "unchanged" | "blobs-missing";

/**
 * Writes a model's manifest, which is what makes it listed, and drops what only the manifest before it needed. To be
 * run under the store's lock: a removal in between could take a blob away again, which answers `blobs-missing`.
 */
export async function commitManifest(
  store: StoreReader,
  name: ModelName,
  raw: Buffer,
  log: Log,
): Promise<CommitOutcome> {
  const manifest = parseManifest(raw);
  for (const blob of blobsOf(manifest)) {
    if (["absent", "damaged"].includes(await blobState(store.layout, blob))) return "blobs-missing";
  }
  // The same name in another case keeps the case it has: one model, and one file where case doesn't count.
  const file = (await store.entry(name))?.manifestFile ?? store.layout.manifestFile(name);
  const before = await readSmallFile(file, MAX_MANIFEST_BYTES).catch(() => undefined);
  await makePrivateFolder(path.dirname(file));
  // Also when nothing changed: that its blobs were just found right is told by the manifest being the youngest.
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
    // The new model is complete; what the old one left is pruned later.
    log.warn(`blobs of the replaced model stay for now: ${errorText(error)}`);
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
