import path from "node:path";
import { readdir, rm, stat, rmdir, access, constants } from "node:fs/promises";
import type { Log } from "../../../api/log.ts";
import {
  type ModelName,
  formatModelName,
  modelKey,
  parseModelName,
  tryParseModelName,
} from "../../../util/model-name.ts";
import { codeOf, messageOf, orUndefined, undefinedIfMissing } from "../../../util/values.ts";
import {
  type StoreLayout,
  blobState,
  makePrivateFolder,
  readSmallFile,
  writeFileDurably,
  type WriteAt,
  storeLayout,
  writeAt,
} from "./layout.ts";
import { MAX_MANIFEST_BYTES, blobsOf, parseManifest } from "./manifest.ts";
import { type StoreReader, type StoredModel, createStoreReader } from "./reader.ts";
import { InvalidConfig, InvalidRequest, StoreFailed, UnknownModel } from "../../../api/errors.ts";
import { advice } from "../../../api/next-step.ts";
import { type Mutex, createMutex, JoinedWorks } from "../../../util/joined-work.ts";
import { freeDiskBytes } from "../../../storage/replace-file.ts";
import { didYouMean } from "../../../util/nearest.ts";
import type { ModelRecipe, PulledModel, Report } from "../../engine.ts";
import type { InspectGguf } from "../../gguf/header.ts";
import type { RetryOptions } from "../../../util/retry.ts";
import type { DownloadEvent } from "../../download.ts";
import type { HttpGet } from "../../http.ts";
import type { RegistrySettings } from "./registry-client.ts";

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
  const dropped = before && orUndefined(() => parseManifest(before));
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

const ABANDONED_AFTER_MS = 7 * 24 * 3600 * 1000;
/** A download, its claim, or a download of an earlier version, with its holder's name. */
const PARTIAL = /^sha256-[0-9a-f]{64}-partial(?:\.lock(?:\.[0-9a-f]{8})?|-[0-9a-f]{8}-\d+-[0-9a-f]{8})?$/;
/** Prefix of the names of files that an import is writing. */
export const IMPORT_PREFIX = "import-";

/** Deletes those of `digests` that no manifest of the store names; returns the bytes freed on disk. */
async function removeUnreferenced(store: StoreReader, digests: readonly string[], log: Log): Promise<number> {
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
async function pruneAbandoned(store: StoreReader, nowMs: number, log: Log): Promise<void> {
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
  return (await readdir(layout.blobsFolder).catch(undefinedIfMissing)) ?? [];
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

type Replaceable = "retry" | "writeAt" | "freeDiskBytes" | "now" | "userAgent";

interface ModelStoreOptions
  extends Omit<StoreDependencies, Replaceable>, Partial<Pick<StoreDependencies, Replaceable>> {
  /** Absolute; created by the first write. */
  readonly folder: string;
  /** Foreign Ollama stores (`ollamaStoreCandidates`); those that don't exist are ignored. */
  readonly readOnlyFolders: readonly string[];
  readonly platform?: NodeJS.Platform;
}

const DEFAULT_RETRY = { retries: 5, initialDelayMs: 500, maxDelayMs: 8000 };

/** The embedded engine's models: one own folder, and foreign Ollama stores that are only read. */
export type ModelStore = ReturnType<typeof createModelStore>;

/** The store of the embedded engine. Throws `InvalidConfig` if the own folder is one of the read-only ones. */
export function createModelStore(options: ModelStoreOptions) {
  const platform = options.platform ?? process.platform;
  const folderKey = (folder: string) =>
    platform === "linux" ? path.resolve(folder) : path.resolve(folder).toLowerCase();
  if (options.readOnlyFolders.some((folder) => folderKey(folder) === folderKey(options.folder))) {
    throw new InvalidConfig(
      `store.path is ${options.folder}, which is Ollama's store: its models are used from there anyway, and it deletes files it doesn't know`,
      { next: { step: "changeSetting", setting: "store.path" } },
    );
  }
  const dependencies: StoreDependencies = {
    retry: DEFAULT_RETRY,
    writeAt,
    freeDiskBytes,
    now: () => Date.now(),
    userAgent: "ollm-mcp",
    ...options,
  };
  const { log } = dependencies;
  const own = createStoreReader(storeLayout(options.folder, platform), false, log);
  const foreign = options.readOnlyFolders.map((folder) => createStoreReader(storeLayout(folder, platform), true, log));
  const lock = createMutex();

  const findUsable = async (name: ModelName): Promise<StoredModel | undefined> => {
    for (const store of [own, ...foreign]) {
      const model = await store.find(name);
      if (model !== undefined) return model;
    }
    return undefined;
  };

  const list = async (): Promise<readonly StoredModel[]> => {
    const found = new Map<string, StoredModel>();
    for (const store of [own, ...foreign]) {
      const models = await Promise.all(
        (await store.entries()).map(async (entry) => ({ entry, model: await store.read(entry) })),
      );
      for (const { entry, model } of models) {
        const key = modelKey(entry.name);
        if (model !== undefined && !found.has(key)) found.set(key, model);
      }
    }
    return [...found.values()];
  };

  let pruned: Promise<void> | undefined;
  const pruneOnce = () => {
    pruned ??= lock(() => pruneAbandoned(own, dependencies.now(), log)).catch((error: unknown) => {
      log.warn(`store: abandoned downloads in ${options.folder} were not deleted: ${messageOf(error)}`);
    });
    return pruned;
  };

  const context: StoreContext = {
    options: dependencies,
    own,
    lock,
    downloads: new JoinedWorks("the pull"),
    findUsable,
  };

  // Code for downloads and imports is loaded on demand: most starts of the program need neither.
  return {
    /** Own models first; an own model hides a foreign one of the same name. */
    list,
    /** A name without tag means `:latest`. */
    async find(name: string): Promise<StoredModel | undefined> {
      const parsed = tryParseModelName(name);
      return parsed === undefined ? undefined : findUsable(parsed);
    },
    /** Path of the weights with that sha256 (hex) in any of the stores; undefined if this user can't read them. */
    weights: (digest: string): Promise<string | undefined> => readableBlob([own, ...foreign], digest),
    /** Two pulls of one model share one download; a cancelled one keeps what has arrived. */
    async pull(name: string, report: Report, signal: AbortSignal): Promise<PulledModel> {
      const parsed = parseModelName(name);
      await pruneOnce();
      const { pullModel } = await import("./pull.ts");
      return pullModel(context, parsed, report, signal);
    },
    /** Asks the registry once. Throws `UnknownModel`, `PullFailed`, `Cancelled`. */
    async downloadOf(name: string, signal: AbortSignal) {
      const parsed = parseModelName(name);
      const { downloadOf } = await import("./pull.ts");
      return { sizeBytes: await downloadOf(context, parsed, signal), host: parsed.host };
    },
    async import(file: string, name: string, report: Report, signal: AbortSignal): Promise<PulledModel> {
      const parsed = parseModelName(name);
      await pruneOnce();
      const { importModel } = await import("./import.ts");
      return importModel(context, file, parsed, report, signal);
    },
    /** Creates a model that uses the blobs of an own one. Throws `UnknownModel`, `InvalidRequest`, `PullFailed`. */
    async create(recipe: ModelRecipe, report: Report, signal: AbortSignal): Promise<PulledModel> {
      const base = await findUsable(parseModelName(recipe.base));
      if (base === undefined) {
        throw new UnknownModel(`the store has no model ${recipe.base}`, { next: { step: "listModels" } });
      }
      const { createModel } = await import("./import.ts");
      return createModel(context, recipe, base, report, signal);
    },
    /** Also deletes blobs that no other own manifest names. Throws `UnknownModel`, `InvalidRequest` (read-only). */
    remove: async (name: string): Promise<{ readonly freedBytes: number }> =>
      removeModel(own, foreign, context, parseModelName(name), list),
  };
}

async function readableBlob(stores: readonly StoreReader[], digest: string): Promise<string | undefined> {
  if (!/^[0-9a-f]{64}$/.test(digest)) return undefined;
  for (const { layout } of stores) {
    const file = layout.blobFile(digest);
    try {
      await access(file, constants.R_OK);
      return file;
    } catch {
      // Missing, or not readable by this user: try the next store.
    }
  }
  return undefined;
}

async function removeModel(
  own: StoreReader,
  foreign: readonly StoreReader[],
  { lock, options }: StoreContext,
  name: ModelName,
  list: () => Promise<readonly StoredModel[]>,
): Promise<{ readonly freedBytes: number }> {
  const shown = formatModelName(name);
  const freedBytes = await lock(async () => {
    const entry = await own.entry(name);
    if (entry === undefined) return undefined;
    const { manifestFile } = entry;
    let text: string;
    try {
      text = (await readSmallFile(manifestFile, MAX_MANIFEST_BYTES)).toString("utf8");
      await rm(manifestFile);
    } catch (error) {
      throw new StoreFailed(`${shown} can't be deleted: ${messageOf(error)}`, {
        next: advice(`check the permissions of ${manifestFile} and its folder`),
        cause: error,
      });
    }
    try {
      await removeEmptyFolders(path.dirname(manifestFile), own.layout.manifestsFolder);
      // Not parsed, so that a damaged manifest's blobs are deleted too.
      const digests = [...text.matchAll(/sha256:([0-9a-f]{64})/g)].map(([, hex]) => hex ?? "");
      return await removeUnreferenced(own, digests, options.log);
    } catch (error) {
      // The model is deleted; its blobs are pruned later.
      options.log.warn(`store: blobs of the deleted ${shown} were not deleted yet: ${messageOf(error)}`);
      return 0;
    }
  });
  if (freedBytes !== undefined) return { freedBytes };
  const isForeign = (await Promise.all(foreign.map((store) => store.entry(name)))).some((entry) => entry !== undefined);
  if (isForeign) {
    throw new InvalidRequest(`${shown} is in Ollama's store, which ollm only reads`, {
      next: advice(`run \`ollama rm ${shown}\``),
    });
  }
  const names = (await list()).filter((model) => !model.isReadOnly).map((model) => model.name);
  throw new UnknownModel(`the store has no model ${shown}`, {
    next: didYouMean(shown, names, 1, { step: "listModels" }),
  });
}

/** Everything outside a model store that it uses, and its limits. */
interface StoreDependencies {
  readonly registry: RegistrySettings;
  readonly http: HttpGet;
  readonly userAgent: string;
  readonly inspect?: InspectGguf;
  /** Milliseconds since the epoch; compared with the times of files. */
  readonly now: () => number;
  /** Bytes that this user may write to the file system of an existing folder. */
  readonly freeDiskBytes: (folder: string) => Promise<number>;
  readonly log: Log;
  readonly retry: RetryOptions;
  readonly writeAt: WriteAt;
}

/** Shared by the store's operations. */
export interface StoreContext {
  readonly options: StoreDependencies;
  readonly own: StoreReader;
  /** Held while manifests are written or deleted. */
  readonly lock: Mutex;
  /** Downloads in progress, by digest. */
  readonly downloads: JoinedWorks<void, DownloadEvent>;
  /** The model that the engine would use for that name: own before foreign. */
  findUsable(name: ModelName): Promise<StoredModel | undefined>;
}

/** Removes `folder` and its parents, up to but not including `root`, as long as they are empty. */
async function removeEmptyFolders(folder: string, root: string): Promise<void> {
  for (let current = folder; current.startsWith(root + path.sep); current = path.dirname(current)) {
    const entries = await readdir(current);
    if (entries.length > 0) return;
    await rmdir(current);
  }
}
