import { createHash, randomBytes } from "node:crypto";
import path from "node:path";
import { InvalidRequest, PullFailed, throwIfCancelled } from "../../../api/errors.ts";
import { advice } from "../../../api/next-step.ts";
import { type ModelName, formatModelName, parseModelName } from "../../../util/model-name.ts";
import type { ModelRecipe, PulledModel, Report } from "../../engine.ts";
import { checkAdapter } from "../../gguf/compatibility.ts";
import { IMPORT_PREFIX, commitManifest } from "./commit.ts";
import { asPullError } from "./download.ts";
import { checkSource, linkOrCopy, removeTemporary, storeBlob } from "./import.ts";
import { blobState, makePrivateFolder, readSmallFile, writeFileDurably } from "./layout.ts";
import { type Layer, MAX_MANIFEST_BYTES, MEDIA_TYPES, type Manifest, layersOf, parseManifest } from "./manifest.ts";
import type { StoreContext } from "./model-store.ts";
import { pulled } from "./pull.ts";
import type { StoredModel } from "./reader.ts";

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
  const { own, options } = context;
  const { layout } = own;
  const name = parseModelName(recipe.name);
  const shown = formatModelName(name);
  throwIfCancelled(signal, `the creation of ${shown}`);
  const temporary = path.join(layout.blobsFolder, `${IMPORT_PREFIX}${process.pid}-${randomBytes(4).toString("hex")}`);
  try {
    await makePrivateFolder(layout.blobsFolder);
    const adapter =
      recipe.adapterFile === undefined
        ? undefined
        : await importAdapter(context, recipe.adapterFile, temporary, report, signal);
    const outcome = await context.lock(async () => {
      const before = await ownManifest(context, parseModelName(base.name), base);
      if (adapter !== undefined) await storeBlob(layout, temporary, adapter);
      const layers = await layersWith(context, before, recipe, base, adapter);
      const manifest = {
        schemaVersion: 2,
        mediaType: MEDIA_TYPES.manifest,
        ...(before.config === undefined ? {} : { config: written(before.config) }),
        layers: layers.map(written),
      };
      return commitManifest(own, name, Buffer.from(`${JSON.stringify(manifest)}\n`), options.log);
    });
    const stored = await own.find(name);
    if (stored === undefined) throw new PullFailed(`${shown} was created but can't be read back from the store`);
    return pulled(stored, { wasAlreadyPresent: outcome === "unchanged" });
  } catch (error) {
    throw asPullError(error, signal);
  } finally {
    await removeTemporary(temporary);
  }
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
  const { digest, sizeBytes } = await linkOrCopy(context, file, temporary, path.basename(file), report, signal);
  return { mediaType: MEDIA_TYPES.adapter, digest, size: sizeBytes };
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
