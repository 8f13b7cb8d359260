import { createHash, randomBytes } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, mkdir, stat } from "node:fs/promises";
import path from "node:path";
import { StoreFailed } from "../../../api/errors.ts";
import { syncFolder, writeAside, NotRegular, openRegular } from "../../../storage/replace-file.ts";
import { type ModelName, nameToSegments } from "../../../util/model-name.ts";
import type { Layer } from "./manifest.ts";

export type StoreLayout = ReturnType<typeof storeLayout>;

/** Paths in one store folder, in Ollama's layout: `blobs/sha256-HEX` and `manifests/HOST/NAMESPACE/MODEL/TAG`. */
export function storeLayout(folder: string, platform: NodeJS.Platform) {
  const paths = platform === "win32" ? path.win32 : path.posix;
  const blobsFolder = paths.join(folder, "blobs");
  const manifestsFolder = paths.join(folder, "manifests");
  const blobFile = (hex: string) => paths.join(blobsFolder, `sha256-${hex}`);
  return {
    folder,
    blobsFolder,
    manifestsFolder,
    platform,
    /** `hex` must be 64 lower-case hex digits, as in parsed manifests. */
    blobFile,
    manifestFile: (name: ModelName) => paths.join(manifestsFolder, ...nameToSegments(name, platform)),
    /** A download; while a process continues it, there is a claim beside it (`.lock`). */
    partialFile: (hex: string) => `${blobFile(hex)}-partial`,
  };
}

/**
 * Folders in which an Ollama on this machine may store its models, most likely first: `OLLAMA_MODELS`, the user's own,
 * and those of its Linux services (official installer, NixOS, Arch). They need not exist.
 */
export function ollamaStoreCandidates(
  env: Readonly<Record<string, string | undefined>>,
  platform: NodeJS.Platform,
  home: string,
): readonly string[] {
  const paths = platform === "win32" ? path.win32 : path.posix;
  // Ollama strips spaces and quotes from its variables.
  const configured = (env["OLLAMA_MODELS"] ?? "").trim().replace(/^["']+|["']+$/g, "");
  const services = ["/usr/share/ollama/.ollama/models", "/var/lib/ollama/models", "/var/lib/ollama"];
  const candidates = [
    ...(paths.isAbsolute(configured) ? [configured] : []),
    paths.join(home, ".ollama", "models"),
    ...(platform === "linux" ? services : []),
  ];
  return [...new Set(candidates.map((folder) => paths.normalize(folder)))];
}

/** Creates a folder that only this user can access. */
export async function makePrivateFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
}

/** Writes `data` atomically: after a crash the file has all of it or its previous content. Mode 0600. */
export async function writeFileDurably(file: string, data: Uint8Array, platform: NodeJS.Platform): Promise<void> {
  // Two writers must not share it; with a leading dot it isn't read as a model's tag.
  const temporary = path.join(path.dirname(file), `.${randomBytes(6).toString("hex")}.tmp`);
  await writeAside(temporary, file, data, { mode: 0o600, platform });
  await syncFolder(path.dirname(file), platform);
}

/** Reads a regular file of at most `maxBytes`. Throws `StoreFailed` for anything else, or the system's error. */
export async function readSmallFile(file: string, maxBytes: number): Promise<Buffer> {
  const handle = await openRegularFile(file);
  try {
    const { size } = await handle.stat();
    if (size > maxBytes) throw new StoreFailed(`${file} has ${size} bytes, more than the ${maxBytes} that are read`);
    return await handle.readFile();
  } finally {
    await handle.close();
  }
}

async function openRegularFile(file: string): Promise<FileHandle> {
  const handle = await openRegular(file).catch((error: unknown) => {
    throw error instanceof NotRegular ? new StoreFailed(`${file} is not a regular file`, { cause: error }) : error;
  });
  if ((await handle.stat()).isFile()) return handle;
  await handle.close();
  throw new StoreFailed(`${file} is not a regular file`);
}

/** Writes all of `bytes` at `position`. */
export type WriteAt = (handle: FileHandle, bytes: Uint8Array, position: number) => Promise<void>;

export const writeAt: WriteAt = async (handle, bytes, position) => {
  for (let written = 0; written < bytes.length;) {
    const { bytesWritten } = await handle.write(bytes, written, bytes.length - written, position + written);
    written += bytesWritten;
  }
};

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
