import type { Dirent, Stats } from "node:fs";
import { access, constants, readdir, stat } from "node:fs/promises";
import path from "node:path";
import type { Log } from "../../../api/log.ts";
import type { InstalledModel } from "../../../api/types.ts";
import { type ModelName, formatModelName, modelKey, nameFromSegments } from "../../../util/model-name.ts";
import { codeOf, defined, messageOf, undefinedIfMissing } from "../../../util/values.ts";
import { type StoreLayout, readSmallFile } from "./layout.ts";
import {
  MAX_MANIFEST_BYTES,
  MEDIA_TYPES,
  type Manifest,
  blobsOf,
  layersOf,
  parseConfig,
  parseManifest,
  parseParameters,
  unsupportedKind,
} from "./manifest.ts";

/**
 * A model as files on disk, in Ollama's layout: what the embedded engine needs to load it. Its name is as Ollama prints it
 * (default host, namespace left out, tag kept: `smollm2:135m`, `hf.co/org/repo:Q4_K_M`), its size the sum of all its blobs;
 * family, parameters and quantization are of the config blob, absent when it doesn't state them.
 */
export interface StoredModel extends Pick<
  InstalledModel,
  "name" | "sizeBytes" | "family" | "parameterSize" | "quantization"
> {
  /** sha256 hex of the weights blob. */
  readonly digest: string;
  /** ISO 8601. */
  readonly modifiedAt: string;
  /** Absolute path of the weights. */
  readonly weightsFile: string;
  readonly adapterFiles: readonly string[];
  /** `SYSTEM` of the manifest. */
  readonly system?: string;
  /** `PARAMETER` lines of the manifest. */
  readonly parameters: Readonly<Record<string, unknown>>;
  /** It is in a store that belongs to Ollama: never written to, never deleted from. */
  readonly isReadOnly: boolean;
  /** Why the embedded engine can't load it, known without reading the weights (tensor layers, cloud model). */
  readonly unsupported?: string;
}

/** Config, parameter and system blobs have a few kB; larger ones are not read. */
const MAX_SMALL_BLOB_BYTES = 1024 ** 2;
/** The coarsest resolution of file times is 2 s (FAT). */
const CLOCK_GRAIN_MS = 2000;

/** A model's entry in a store folder; its manifest is not read yet. */
interface StoreEntry {
  readonly name: ModelName;
  readonly manifestFile: string;
}

/** Reads one store folder, own or foreign. What can't be read is skipped and logged, each message once per store. */
export type StoreReader = ReturnType<typeof createStoreReader>;

type ReadFolder = (folder: string) => Promise<readonly Dirent[]>;

export function createStoreReader(layout: StoreLayout, isReadOnly: boolean, log: Log) {
  const logged = new Set<string>();
  const warnOnce = (line: string): undefined => {
    if (!logged.has(line)) log.warn(line);
    logged.add(line);
    return undefined;
  };

  const readFolder: ReadFolder = async (folder) => {
    try {
      return await readFolderStrictly(folder);
    } catch (error) {
      warnOnce(`models in ${folder} are ignored: ${messageOf(error)}`);
      return [];
    }
  };

  const entries = () => walk(layout, readFolder);

  const readManifest = async (entry: StoreEntry): Promise<Manifest | undefined> => {
    try {
      return parseManifest(await readSmallFile(entry.manifestFile, MAX_MANIFEST_BYTES));
    } catch (error) {
      // Deleted since it was listed.
      if (codeOf(error) === "ENOENT") return undefined;
      return warnOnce(`${formatModelName(entry.name)} is ignored: ${entry.manifestFile}: ${messageOf(error)}`);
    }
  };

  const read = async (entry: StoreEntry): Promise<StoredModel | undefined> => {
    const manifest = await readManifest(entry);
    if (manifest === undefined) return undefined;
    const missing = await missingBlob(layout, manifest);
    if (missing !== undefined) return warnOnce(`${formatModelName(entry.name)} is ignored: ${missing}`);
    try {
      return await describe(entry, manifest);
    } catch (error) {
      // Deleted while it was read.
      if (codeOf(error) === "ENOENT") return undefined;
      return warnOnce(`${formatModelName(entry.name)} is ignored: ${messageOf(error)}`);
    }
  };

  const describe = async (entry: StoreEntry, manifest: Manifest): Promise<StoredModel> => {
    const small = await readSmallBlobs(layout, manifest);
    const [weights] = layersOf(manifest, MEDIA_TYPES.model);
    const manifestStat = await stat(entry.manifestFile);
    const identity = weights ?? manifest.config ?? manifest.layers[0];
    const unsupported =
      unsupportedKind(manifest, small.config)?.reason ??
      small.problem ??
      (weights === undefined
        ? undefined
        : await weightsProblem(layout.blobFile(weights.digest), manifestStat, isReadOnly));
    return {
      name: formatModelName(entry.name),
      digest: identity?.digest ?? "",
      sizeBytes: blobsOf(manifest).reduce((sum, blob) => sum + blob.size, 0),
      modifiedAt: manifestStat.mtime.toISOString(),
      weightsFile: weights === undefined ? "" : layout.blobFile(weights.digest),
      adapterFiles: layersOf(manifest, MEDIA_TYPES.adapter).map((layer) => layout.blobFile(layer.digest)),
      parameters: small.parameters,
      isReadOnly,
      ...defined({
        system: small.system,
        family: small.config?.model_family,
        parameterSize: small.config?.model_type,
        quantization: small.config?.file_type,
        unsupported,
      }),
    };
  };

  /** The entry of that name; preferably in the same case. */
  const entryOf = async (name: ModelName): Promise<StoreEntry | undefined> => {
    const same = (await entries()).filter((candidate) => modelKey(candidate.name) === modelKey(name));
    return same.find((candidate) => formatModelName(candidate.name) === formatModelName(name)) ?? same[0];
  };

  return {
    layout,
    entries,
    entry: entryOf,
    /** The model of that name, as `read` returns it. */
    async find(name: ModelName): Promise<StoredModel | undefined> {
      const entry = await entryOf(name);
      return entry && (await read(entry));
    },
    /** `undefined` (and a log line) when the manifest doesn't parse or its weights are missing. */
    read,
    /** Every digest in any manifest. Throws if a manifest can't be read: then nothing may be deleted. */
    async referencedDigests(): Promise<ReadonlySet<string>> {
      const digests = new Set<string>();
      for (const { manifestFile } of await walk(layout, readFolderStrictly)) {
        // A manifest that doesn't parse counts too: its blobs may be all that is left of a model.
        const text = (await readSmallFile(manifestFile, MAX_MANIFEST_BYTES)).toString("utf8");
        for (const [, hex] of text.matchAll(/sha256:([0-9a-f]{64})/g)) digests.add(hex ?? "");
      }
      return digests;
    },
  };
}

/** Manifests are exactly four folders deep; other names (`.DS_Store`) are ignored. */
async function walk(layout: StoreLayout, readFolder: ReadFolder): Promise<readonly StoreEntry[]> {
  let found: readonly (readonly string[])[] = [[]];
  for (let depth = 0; depth < 4; depth++) {
    const children = await Promise.all(
      found.map(async (segments) => {
        const entries = await readFolder(path.join(layout.manifestsFolder, ...segments));
        return entries.map((entry) => [...segments, entry.name]);
      }),
    );
    found = children.flat();
  }
  return found.flatMap((segments) => {
    const name = nameFromSegments(segments);
    return name === undefined ? [] : [{ name, manifestFile: path.join(layout.manifestsFolder, ...segments) }];
  });
}

const readFolderStrictly: ReadFolder = async (folder) =>
  (await readdir(folder, { withFileTypes: true }).catch(undefinedIfMissing)) ?? [];

/** A description of the first missing or incomplete blob of a manifest. */
async function missingBlob(layout: StoreLayout, manifest: Manifest): Promise<string | undefined> {
  for (const blob of blobsOf(manifest)) {
    const file = layout.blobFile(blob.digest);
    try {
      const { size } = await stat(file);
      if (size !== blob.size) return `${file} has ${size} bytes instead of ${blob.size}`;
    } catch (error) {
      return codeOf(error) === "ENOENT" ? `${file} is missing` : `${file}: ${messageOf(error)}`;
    }
  }
  return undefined;
}

async function readSmallBlobs(layout: StoreLayout, manifest: Manifest) {
  const problems: string[] = [];
  const readBlob = async <Value>(what: string, digest: string | undefined, parse: (raw: Buffer) => Value) => {
    if (digest === undefined) return undefined;
    try {
      return parse(await readSmallFile(layout.blobFile(digest), MAX_SMALL_BLOB_BYTES));
    } catch (error) {
      problems.push(`its ${what} can't be read: ${messageOf(error)}`);
      return undefined;
    }
  };
  const digestOf = (mediaType: string) => layersOf(manifest, mediaType)[0]?.digest;
  const config = await readBlob("config", manifest.config?.digest, parseConfig);
  const parameters = await readBlob("parameters", digestOf(MEDIA_TYPES.params), parseParameters);
  const system = await readBlob("system prompt", digestOf(MEDIA_TYPES.system), (raw) => raw.toString("utf8"));
  return { config, parameters: parameters ?? {}, system, problem: problems[0] };
}

/**
 * An own blob with a second hard link was imported in place, and its owner can still write to it. It was older than the
 * manifest when it was imported; if it is younger now, its content may not match its digest. (Ollama touches its own
 * blobs, so their times mean nothing.)
 */
async function weightsProblem(file: string, manifestStat: Stats, isReadOnly: boolean): Promise<string | undefined> {
  const { nlink, mtimeMs } = await stat(file);
  if (!isReadOnly && nlink > 1 && mtimeMs > manifestStat.mtimeMs + CLOCK_GRAIN_MS) {
    return "the file it was imported from was changed afterwards; it must be imported again";
  }
  try {
    await access(file, constants.R_OK);
    return undefined;
  } catch (error) {
    return `its weights can't be read by this user (${codeOf(error) ?? messageOf(error)})`;
  }
}
