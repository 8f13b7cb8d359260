import { createHash, randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, copyFile, link, open, realpath, rm, stat } from "node:fs/promises";
import path from "node:path";
import { InvalidRequest, LoadFailed, PullFailed, throwIfCancelled } from "../../../api/errors.ts";
import { advice } from "../../../api/next-step.ts";
import { renameOver, syncFolder } from "../../../storage/replace-file.ts";
import { formatBytes } from "../../../util/format-bytes.ts";
import { type ModelName, formatModelName, parseModelName } from "../../../util/model-name.ts";
import type { PulledModel, Report, ModelRecipe } from "../../engine.ts";
import { printedCount, weightCount, fileTypeNames, type GgufHeader } from "../../gguf/header.ts";
import { IMPORT_PREFIX, commitManifest, type StoreContext } from "./model-store.ts";
import { createSpeedMeter } from "../../download.ts";
import { asPullError, pulled } from "./pull.ts";
import { codeOf, defined, messageOf } from "../../../util/values.ts";
import { type StoreLayout, blobState, makePrivateFolder, writeFileDurably, readSmallFile } from "./layout.ts";
import { type Layer, MEDIA_TYPES, MAX_MANIFEST_BYTES, type Manifest, layersOf, parseManifest } from "./manifest.ts";
import { checkAdapter } from "../../gguf/compatibility.ts";
import type { StoredModel } from "./reader.ts";

const CHUNK_BYTES = 1024 ** 2;
const REPORT_EVERY_BYTES = 64 * 1024 ** 2;
const useFullPath = advice("name a readable GGUF file by its full path");

/**
 * Imports a local GGUF into the store.
 *
 * A reflink is tried first: it costs nothing and is independent of its source. Then a hard link, which costs nothing
 * either, but a program that writes to the source writes to our blob. Therefore it is compared before and after hashing,
 * never trusted for another import or pull (`layout.ts`), and a model whose linked weights are younger than its
 * manifest is refused (`reader.ts`). Programs that replace a file, as downloaders do, don't affect the blob. A copy is
 * the last resort: models are gigabytes. In each case the file that becomes the blob is the one that is hashed.
 *
 * Throws `InvalidRequest` (no such file, one part of several), `LoadFailed` (not a valid GGUF), `PullFailed` (disk).
 */
export async function importModel(
  context: StoreContext,
  givenFile: string,
  name: ModelName,
  report: Report,
  signal: AbortSignal,
): Promise<PulledModel> {
  const { options, own } = context;
  const { layout } = own;
  const shown = formatModelName(name);
  return bring(context, signal, async (temporary) => {
    const file = await checkSource(givenFile);
    throwIfCancelled(signal, `the import of ${shown}`);
    report({ message: `checking ${path.basename(file)}` });
    const header = await options.inspect?.(file, signal);
    const before = await own.find(name);
    await makePrivateFolder(layout.blobsFolder);
    const brought = await linkOrCopy(context, file, temporary, shown, report, signal);
    const weights = { mediaType: MEDIA_TYPES.model, ...brought };
    const config = `${JSON.stringify(configOfGguf(header, weights.digest))}\n`;
    const outcome = await context.lock(async () => {
      await storeBlob(layout, temporary, weights);
      return commit(context, name, await writeBlob(context, MEDIA_TYPES.config, config), [weights]);
    });
    const stored = await own.find(name);
    if (stored === undefined) throw new PullFailed(`${shown} was imported but can't be read back from the store`);
    return pulled(stored, {
      wasAlreadyPresent: outcome === "unchanged" && before !== undefined,
      ...(outcome === "replaced"
        ? { note: `it replaced another ${shown}${before === undefined ? "" : ` of ${formatBytes(before.sizeBytes)}`}` }
        : {}),
    });
  });
}

/** `work` may bring a file to `temporary`, which is removed in the end. Throws the errors of a pull. */
async function bring({ own }: StoreContext, signal: AbortSignal, work: (temporary: string) => Promise<PulledModel>) {
  const fileName = `${IMPORT_PREFIX}${process.pid}-${randomBytes(4).toString("hex")}`;
  const temporary = path.join(own.layout.blobsFolder, fileName);
  try {
    return await work(temporary);
  } catch (error) {
    throw asPullError(error, signal);
  } finally {
    await removeTemporary(temporary);
  }
}

function commit({ own, options }: StoreContext, name: ModelName, config: Layer | undefined, layers: readonly Layer[]) {
  const manifest = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.manifest,
    ...(config && { config: written(config) }),
    layers: layers.map(written),
  };
  return commitManifest(own, name, Buffer.from(`${JSON.stringify(manifest)}\n`), options.log);
}

/** The real path of a GGUF that is a single file; throws like `importModel`. A hard link to a link would be a link. */
async function checkSource(givenFile: string): Promise<string> {
  if (!path.isAbsolute(givenFile)) {
    throw new InvalidRequest(`${givenFile} is not an absolute path`, { next: useFullPath });
  }
  const [, part, parts] = /-(\d{5})-of-(\d{5})\.gguf$/i.exec(givenFile) ?? [];
  if (parts !== undefined && Number(parts) > 1) {
    throw new InvalidRequest(`${givenFile} is part ${Number(part)} of ${Number(parts)} of a split GGUF`, {
      next: advice("join the parts: `llama-gguf-split --merge FIRST-PART OUTPUT.gguf`"),
    });
  }
  const handle = await openSource(givenFile);
  try {
    const found = await handle.stat();
    if (!found.isFile()) {
      throw new InvalidRequest(`${givenFile} is ${found.isDirectory() ? "a folder" : "a pipe, socket or device"}`, {
        next: useFullPath,
      });
    }
    const magic = Buffer.alloc(4);
    const { bytesRead } = await handle.read(magic, 0, 4, 0).catch((error: unknown) => {
      throw unreadable(givenFile, error);
    });
    if (bytesRead === 0) throw new LoadFailed(`${givenFile} is empty`, { next: advice("download it again") });
    if (magic.toString("latin1") !== "GGUF") {
      throw new LoadFailed(`${givenFile} is not a GGUF file: it doesn't start with "GGUF"`, {
        next: [
          advice("convert it with llama.cpp's convert_hf_to_gguf.py"),
          { step: "pullModelThat", that: "in GGUF format", example: "hf.co/ORG/REPO:QUANT" },
        ],
      });
    }
  } finally {
    await handle.close();
  }
  return realpath(givenFile);
}

function unreadable(file: string, error: unknown): InvalidRequest {
  const why = codeOf(error) === "ENOENT" ? "there is no such file" : messageOf(error);
  return new InvalidRequest(`${file} can't be read: ${why}`, { next: useFullPath, cause: error });
}

async function openSource(file: string): Promise<FileHandle> {
  try {
    // Without O_NONBLOCK opening a pipe waits for its writer; Windows has neither.
    return await open(file, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  } catch (error) {
    throw unreadable(file, error);
  }
}

type ImportedFile = Pick<Layer, "digest" | "size">;

/** Links or copies `source` to `target` and hashes it; messages call it `shown`. Throws like `importModel`. */
async function linkOrCopy(
  context: StoreContext,
  source: string,
  target: string,
  shown: string,
  report: Report,
  signal: AbortSignal,
): Promise<ImportedFile> {
  const { freeDiskBytes, now } = context.options;
  const before = await stat(source);
  const isLinked = await linkCheaply(source, target);
  if (!isLinked) {
    const freeBytes = await freeDiskBytes(path.dirname(target));
    if (freeBytes < before.size) {
      throw new PullFailed(
        `importing ${shown} copies ${formatBytes(before.size)} (${before.size} bytes), ${path.dirname(target)} has ${formatBytes(freeBytes)} (${freeBytes} bytes) free`,
        {
          next: [
            advice("free some disk space"),
            advice("move the file to the disk of the store: then it is linked instead of copied"),
          ],
        },
      );
    }
  }
  const speed = createSpeedMeter(now);
  const onBytes = (completedBytes: number) => {
    const bytesPerSecond = speed(completedBytes);
    report({
      message: `${isLinked ? "hashing" : "copying"} ${shown}`,
      completedBytes,
      totalBytes: before.size,
      ...defined({ bytesPerSecond }),
    });
  };
  const brought = await hashFile(isLinked ? target : source, isLinked ? undefined : target, onBytes, context, signal);
  const after = await stat(source);
  if (brought.size !== before.size || after.size !== before.size || after.mtimeMs !== before.mtimeMs) {
    throw new InvalidRequest(`${source} was changed while it was imported`, {
      next: advice("import it when it is complete"),
    });
  }
  return brought;
}

/** Never throws: the caller has a more important error to report. A file that remains is pruned later. */
async function removeTemporary(file: string): Promise<void> {
  await rm(file, { force: true }).catch(() => undefined);
}

/** Creates a reflink or a hard link; false if neither is possible (another volume, FAT). */
async function linkCheaply(source: string, target: string): Promise<boolean> {
  for (const attempt of [
    () => copyFile(source, target, constants.COPYFILE_FICLONE_FORCE),
    () => link(source, target),
  ]) {
    try {
      await attempt();
      return true;
    } catch {
      // Try the next way; a real problem shows up in the copy.
      await removeTemporary(target);
    }
  }
  return false;
}

/** Hashes `source`, copying it to `copyTo` in the same pass when given. */
async function hashFile(
  source: string,
  copyTo: string | undefined,
  onBytes: (completedBytes: number) => void,
  { options }: StoreContext,
  signal: AbortSignal,
): Promise<ImportedFile> {
  const hash = createHash("sha256");
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  const input = await open(source, "r");
  const output =
    copyTo === undefined
      ? undefined
      : await open(copyTo, "wx", 0o600).catch(async (error: unknown) => {
          await input.close();
          throw error;
        });
  try {
    let size = 0;
    onBytes(0);
    for (;;) {
      signal.throwIfAborted();
      const { bytesRead } = await input.read(buffer, 0, buffer.length, size);
      if (bytesRead === 0) break;
      const chunk = buffer.subarray(0, bytesRead);
      hash.update(chunk);
      if (output !== undefined) await options.writeAt(output, chunk, size);
      size += bytesRead;
      if (size % REPORT_EVERY_BYTES < bytesRead) onBytes(size);
    }
    onBytes(size);
    await output?.sync();
    return { digest: hash.digest("hex"), size };
  } finally {
    await Promise.all([input.close(), output?.close()]);
  }
}

/**
 * Replaces an existing file of that digest unless it is certainly intact: one that we wrote, or the same file. (Windows
 * can't replace a blob that a loaded model has open.)
 */
async function storeBlob(layout: StoreLayout, temporary: string, blob: Layer): Promise<void> {
  const file = layout.blobFile(blob.digest);
  const state = await blobState(layout, blob);
  if (state === "intact") return;
  if (state === "linked" && (await stat(file)).ino === (await stat(temporary)).ino) return;
  await renameOver(temporary, file, layout.platform);
  await syncFolder(layout.blobsFolder, layout.platform);
}

/** The config blob that Ollama writes for an imported GGUF (`types/model/config.go`), as far as known from the header. */
function configOfGguf(header: GgufHeader | undefined, weightsHex: string): Readonly<Record<string, unknown>> {
  const fileType = Number(header?.metadata["general.file_type"] ?? Number.NaN);
  return {
    model_format: "gguf",
    model_family: header?.architecture ?? "",
    model_families: header === undefined ? [] : [header.architecture],
    model_type: header === undefined ? "" : (printedCount(weightCount(header)) ?? "0"),
    file_type: fileTypeNames.get(fileType) ?? "unknown",
    architecture: "amd64",
    os: "linux",
    rootfs: { type: "layers", diff_ids: [`sha256:${weightsHex}`] },
  };
}

/**
 * Writes a manifest that refers to the blobs of `recipe.base` in the own store, with another system prompt, parameters
 * over the base's, and an adapter after its adapters. Weights are neither read nor copied; an adapter is imported.
 * Replaces a model of that name: the caller has asked the user. Throws `InvalidRequest` (the base is in Ollama's store,
 * the file is not an adapter), `PullFailed` (disk).
 */
export async function createModel(
  context: StoreContext,
  recipe: ModelRecipe,
  base: StoredModel,
  report: Report,
  signal: AbortSignal,
): Promise<PulledModel> {
  const { own } = context;
  const { layout } = own;
  const name = parseModelName(recipe.name);
  const shown = formatModelName(name);
  throwIfCancelled(signal, `the creation of ${shown}`);
  return bring(context, signal, async (temporary) => {
    await makePrivateFolder(layout.blobsFolder);
    const adapter =
      recipe.adapterFile === undefined
        ? undefined
        : await importAdapter(context, recipe.adapterFile, temporary, report, signal);
    const outcome = await context.lock(async () => {
      const before = await ownManifest(context, parseModelName(base.name), base);
      if (adapter !== undefined) await storeBlob(layout, temporary, adapter);
      return commit(context, name, before.config, await layersWith(context, before, recipe, base, adapter));
    });
    const stored = await own.find(name);
    if (stored === undefined) throw new PullFailed(`${shown} was created but can't be read back from the store`);
    return pulled(stored, { wasAlreadyPresent: outcome === "unchanged" });
  });
}

async function ownManifest({ own }: StoreContext, name: ModelName, base: StoredModel): Promise<Manifest> {
  const entry = base.isReadOnly ? undefined : await own.entry(name);
  if (entry === undefined) {
    throw new InvalidRequest(`${base.name} is in Ollama's store, which ollm only reads`, {
      next: [
        advice("start Ollama, which can then create the model itself"),
        { step: "pullModel", model: base.name, engine: "llama-cpp" },
      ],
    });
  }
  return parseManifest(await readSmallFile(entry.manifestFile, MAX_MANIFEST_BYTES));
}

async function importAdapter(
  context: StoreContext,
  givenFile: string,
  temporary: string,
  report: Report,
  signal: AbortSignal,
): Promise<Layer> {
  const file = await checkSource(givenFile);
  const { inspect } = context.options;
  if (inspect !== undefined) await checkAdapter(inspect, file, givenFile, signal);
  const brought = await linkOrCopy(context, file, temporary, path.basename(file), report, signal);
  return { mediaType: MEDIA_TYPES.adapter, ...brought };
}

/** The base's layers, with those that the recipe changes replaced; writes the blobs of the new ones. */
async function layersWith(
  context: StoreContext,
  before: Manifest,
  recipe: ModelRecipe,
  base: StoredModel,
  adapter: Layer | undefined,
): Promise<readonly Layer[]> {
  const changed = new Map<string, Layer>();
  if (recipe.system !== undefined) {
    changed.set(MEDIA_TYPES.system, await writeBlob(context, MEDIA_TYPES.system, recipe.system));
  }
  if (Object.keys(recipe.parameters).length > 0) {
    const parameters = { ...base.parameters, ...recipe.parameters };
    changed.set(MEDIA_TYPES.params, await writeBlob(context, MEDIA_TYPES.params, JSON.stringify(parameters)));
  }
  const kept = before.layers.filter(({ mediaType }) => !changed.has(mediaType));
  const isThereAlready = layersOf(before, MEDIA_TYPES.adapter).some(({ digest }) => digest === adapter?.digest);
  return [...kept, ...(adapter === undefined || isThereAlready ? [] : [adapter]), ...changed.values()];
}

async function writeBlob({ own }: StoreContext, mediaType: string, text: string): Promise<Layer> {
  const data = Buffer.from(text);
  const digest = createHash("sha256").update(data).digest("hex");
  const layer = { mediaType, digest, size: data.length };
  if ((await blobState(own.layout, layer)) !== "intact") {
    await writeFileDurably(own.layout.blobFile(digest), data, own.layout.platform);
  }
  return layer;
}

function written({ mediaType, digest, size }: Layer): object {
  return { mediaType, digest: `sha256:${digest}`, size };
}
