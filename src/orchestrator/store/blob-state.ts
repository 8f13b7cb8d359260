import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import type { StoreLayout } from "./layout.ts";
import type { Layer } from "./manifest.ts";

/**
 * Whether the store has a blob in full. Blobs appear by rename once they are verified, so the size tells; only one
 * with a second hard link (imported in place) may have been written to since.
 */
export async function blobState(layout: StoreLayout, blob: Layer): Promise<"there" | "linked" | "absent"> {
  const found = await stat(layout.blobFile(blob.digest)).catch(() => undefined);
  if (found?.isFile() !== true || found.size !== blob.size) return "absent";
  return found.nlink > 1 ? "linked" : "there";
}

/** Like `blobState`, but reads a linked blob through to tell. */
export async function isBlobIntact(layout: StoreLayout, blob: Layer): Promise<boolean> {
  const state = await blobState(layout, blob);
  if (state !== "linked") return state === "there";
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(layout.blobFile(blob.digest), { highWaterMark: 1024 ** 2 }))
    hash.update(chunk as Buffer);
  return hash.digest("hex") === blob.digest;
}
