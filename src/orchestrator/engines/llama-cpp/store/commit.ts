import path from "node:path";
import type { Log } from "../../../api/log.ts";
import { blobState } from "./blob-state.ts";
import { removeUnreferenced } from "./collect.ts";
import { errorText, makePrivateFolder, readSmallFile, writeFileDurably } from "./files.ts";
import { blobsOf, MAX_MANIFEST_BYTES, parseManifest, type Manifest } from "./manifest.ts";
import type { ModelName } from "../../../util/model-name.ts";
import type { StoreReader } from "./reader.ts";

export type CommitOutcome = "written" | "replaced" | "unchanged" | "blobs-missing";

/**
 * Writes a model's manifest, which makes it listed, and deletes blobs that only the previous manifest named. Must run
 * under the store's lock. Returns `blobs-missing` if a removal has deleted a shared blob meanwhile.
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
    log.warn(`store: blobs of the replaced model were not deleted yet: ${errorText(error)}`);
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
