import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import type { StoreLayout } from "./layout.ts";
import type { Layer } from "./manifest.ts";

type BlobState = "intact" | "linked" | "damaged" | "absent";

/**
 * Whether the store has the complete blob. Blobs appear by rename after verification, so the size suffices; only one
 * with a second hard link (imported in place) may have been written to since.
 */
export async function blobState(layout: StoreLayout, blob: Layer): Promise<BlobState> {
  const found = await stat(layout.blobFile(blob.digest)).catch(() => undefined);
  if (found === undefined) return "absent";
  if (!found.isFile() || found.size !== blob.size) return "damaged";
  return found.nlink > 1 ? "linked" : "intact";
}

/** Like `blobState`, but hashes a linked blob to decide. */
export async function checkBlob(layout: StoreLayout, blob: Layer): Promise<Exclude<BlobState, "linked">> {
  const state = await blobState(layout, blob);
  if (state !== "linked") return state;
  const hash = createHash("sha256");
  const content = createReadStream(layout.blobFile(blob.digest), { highWaterMark: 1024 ** 2 });
  for await (const chunk of content) hash.update(chunk as Buffer);
  return hash.digest("hex") === blob.digest ? "intact" : "damaged";
}
