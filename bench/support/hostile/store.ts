import { mkdir, open, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { encodeGguf, type MetadataEntry, writeGguf } from "../../../test/support/gguf-writer.ts";

const manifestType = "application/vnd.docker.distribution.manifest.v2+json";
const configType = "application/vnd.docker.container.image.v1+json";
const modelType = "application/vnd.ollama.image.model";
const architecture: MetadataEntry = ["general.architecture", "string", "llama"];

/**
 * Lays `count` models into the store of a home, each of a file that `write` makes and answers the size of. Digests are
 * made up: no listing checks them.
 */
export async function plantModels(
  home: string,
  count: number,
  write: (file: string) => Promise<number>,
): Promise<void> {
  const blobs = join(home, "models", "blobs");
  await mkdir(blobs, { recursive: true, mode: 0o700 });
  const configHex = "c".repeat(64);
  await writeFile(join(blobs, `sha256-${configHex}`), "{}");
  for (let index = 0; index < count; index += 1) {
    const hex = index.toString(16).padStart(64, "a");
    const size = await write(join(blobs, `sha256-${hex}`));
    const folder = join(home, "models", "manifests", "registry.ollama.ai", "library", `crafted${index}`);
    await mkdir(folder, { recursive: true });
    const manifest = {
      schemaVersion: 2,
      mediaType: manifestType,
      config: { mediaType: configType, digest: `sha256:${configHex}`, size: 2 },
      layers: [{ mediaType: modelType, digest: `sha256:${hex}`, size }],
    };
    await writeFile(join(folder, "latest"), JSON.stringify(manifest));
  }
}

/** A header of `texts` texts of 15 MiB each. Answers the file's size. */
export async function writeTexts(file: string, texts: number): Promise<number> {
  const textBytes = 15 * 1024 ** 2;
  const text = Buffer.alloc(textBytes, "x");
  const { header } = encodeGguf({ metadata: [architecture], tensors: [] });
  header.writeBigUInt64LE(BigInt(1 + texts), 16);
  // Without the padding behind the last key.
  const end = header.lastIndexOf("llama") + "llama".length;
  const handle = await open(file, "w");
  try {
    let position = (await handle.write(header, 0, end, 0)).bytesWritten;
    for (let index = 0; index < texts; index += 1) {
      const key = Buffer.from(`text.${index}`);
      const head = Buffer.alloc(8 + key.length + 4 + 8);
      head.writeBigUInt64LE(BigInt(key.length), 0);
      key.copy(head, 8);
      head.writeUInt32LE(8, 8 + key.length);
      head.writeBigUInt64LE(BigInt(textBytes), 12 + key.length);
      position += (await handle.write(head, 0, head.length, position)).bytesWritten;
      position += (await handle.write(text, 0, textBytes, position)).bytesWritten;
    }
    const size = Math.ceil(position / 32) * 32;
    await handle.truncate(size);
    return size;
  } finally {
    await handle.close();
  }
}

/** A header of so many keys. Answers the file's size. */
export async function writeKeys(file: string, keys: number): Promise<number> {
  const entries = Array.from({ length: keys }, (_, index): MetadataEntry => [`llama.key.${index}`, "u32", index]);
  return (await writeGguf(file, { metadata: [architecture, ...entries], tensors: [] })).fileBytes;
}
