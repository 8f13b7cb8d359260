import { rm, open, stat } from "node:fs/promises";
import { PullFailed, throwIfCancelled, Cancelled } from "../../../api/errors.ts";
import { advice, type NextStep } from "../../../api/next-step.ts";
import { formatBytes } from "../../../util/format-bytes.ts";
import { type ModelName, formatModelName, isCloudName } from "../../../util/model-name.ts";
import { retrying } from "../../../util/retry.ts";
import { type DownloadEvent, createSpeedMeter, WrongContent, download } from "../../download.ts";
import type { PulledModel, Report } from "../../engine.ts";
import { TransientFault, type ByteStream } from "../../http.ts";
import { commitManifest, type StoreContext } from "./model-store.ts";
import { codeOf, defined, messageOf, undefinedIfMissing } from "../../../util/values.ts";
import { checkBlob, makePrivateFolder, type StoreLayout } from "./layout.ts";
import { type Layer, blobsOf, cloudSteps, parseManifest, unsupportedKind } from "./manifest.ts";
import { openRegistry } from "./registry-client.ts";
import type { StoredModel } from "./reader.ts";
import { constants } from "node:fs";
import { type Claim, claimFile, renameOver, syncFolder } from "../../../storage/replace-file.ts";

/** The work of a pull, known from the manifest. */
type PullPlan = Awaited<ReturnType<typeof planPull>>;

const MANIFEST_RETRIES = 2;
const MAX_ROUNDS = 3;
const REPORT_INTERVAL_MS = 100;

/** Fetches the manifest and compares it with the store. Throws `UnknownModel`, `PullFailed`, `Cancelled`. */
async function planPull(context: StoreContext, name: ModelName, signal: AbortSignal) {
  const shown = formatModelName(name);
  if (isCloudName(shown)) {
    throw new PullFailed(
      `${shown} can't be pulled for the embedded engine: it is a cloud model without weights to run here`,
      { next: cloudSteps },
    );
  }
  const { options, own } = context;
  const session = openRegistry(name, options.registry, options.http, options.userAgent);
  const raw = await retrying(
    {
      attempt: () => session.manifest(signal),
      // Offline is reported at once; waiting is for downloads.
      faultOf: (error) => (error instanceof TransientFault && error.kind !== "unreachable" ? error : undefined),
      onRetry: (fault) => options.log.info(`looking up ${shown}: ${fault.message}; retrying`),
    },
    { ...options.retry, retries: Math.min(MANIFEST_RETRIES, options.retry.retries) },
    signal,
  );
  const blobs = blobsIn(raw, shown);
  const states = await Promise.all(
    blobs.map(async (blob) => ({
      blob,
      isThere: (await checkBlob(own.layout, blob)) === "intact",
      arrivedBytes: Math.min(blob.size, await partialBytes(own.layout, blob.digest)),
    })),
  );
  const missing = states.filter((state) => !state.isThere);
  return {
    session,
    raw,
    blobs,
    missing: missing.map((state) => state.blob),
    totalBytes: bytesOf(blobs),
    /** Bytes still to download. */
    remainingBytes: missing.reduce((sum, { blob, arrivedBytes }) => sum + blob.size - arrivedBytes, 0),
  };
}

const bytesOf = (blobs: readonly Layer[]): number => blobs.reduce((sum, { size }) => sum + size, 0);

/** Bytes of all blobs of a model, by its manifest, for which the registry is asked once. Throws as `pullModel`. */
export async function downloadOf({ options }: StoreContext, name: ModelName, signal: AbortSignal): Promise<number> {
  const shown = formatModelName(name);
  try {
    const { manifest } = openRegistry(name, options.registry, options.http, options.userAgent);
    return bytesOf(blobsIn(await manifest(signal), shown));
  } catch (error) {
    throw asPullError(error, signal, shown);
  }
}

function blobsIn(raw: Buffer, shown: string): readonly Layer[] {
  let manifest: ReturnType<typeof parseManifest>;
  try {
    manifest = parseManifest(raw);
  } catch (error) {
    throw new PullFailed(`the registry's manifest of ${shown} is malformed: ${messageOf(error)}`, { cause: error });
  }
  const { reason, next } = unsupportedKind(manifest) ?? {};
  if (reason === undefined) return blobsOf(manifest);
  throw new PullFailed(`${shown} can't be pulled for the embedded engine: ${reason}`, { next });
}

/** Downloads what is missing and writes the manifest last, so that only complete models are listed. */
export async function pullModel(
  context: StoreContext,
  name: ModelName,
  report: Report,
  signal: AbortSignal,
): Promise<PulledModel> {
  const shown = formatModelName(name);
  throwIfCancelled(signal, `the pull of ${shown}`);
  const present = await context.findUsable(name);
  // Ollama's copy is used as it is; a second one would cost gigabytes.
  if (present?.isReadOnly === true && present.unsupported === undefined) {
    return pulled(present, {
      wasAlreadyPresent: true,
      note: "it is in Ollama's store, from which it is used directly",
    });
  }
  report({ message: `looking up ${shown}` });
  try {
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const plan = await planPull(context, name, signal);
      await downloadMissing(context, shown, plan, report, signal);
      report({ message: `writing ${shown}`, completedBytes: plan.totalBytes, totalBytes: plan.totalBytes });
      const outcome = await context.lock(() => commitManifest(context.own, name, plan.raw, context.options.log));
      // A removal has deleted a shared blob meanwhile: download it again.
      if (outcome === "blobs-missing") continue;
      const stored = await context.findUsable(name);
      if (stored === undefined) throw new PullFailed(`${shown} was downloaded but can't be read back from the store`);
      return pulled(stored, {
        wasAlreadyPresent: outcome === "unchanged" && plan.missing.length === 0,
        ...(outcome === "replaced" ? { note: `it replaced an older ${shown}` } : {}),
      });
    }
    throw new PullFailed(`blobs of ${shown} were deleted from ${context.own.layout.folder} repeatedly during the pull`);
  } catch (error) {
    const isOffline = error instanceof TransientFault && error.kind === "unreachable" && !signal.aborted;
    if (!isOffline || present === undefined || present.unsupported !== undefined)
      throw asPullError(error, signal, shown);
    context.options.log.warn(`${shown} is installed; it could not be checked for a newer version: ${error.message}`);
    return pulled(present, {
      wasAlreadyPresent: true,
      note: "the registry can't be reached, so it was not checked for a newer version",
    });
  }
}

async function downloadMissing(
  context: StoreContext,
  shown: string,
  plan: PullPlan,
  report: Report,
  signal: AbortSignal,
): Promise<void> {
  if (plan.missing.length === 0) return;
  const { options, own } = context;
  await makePrivateFolder(own.layout.blobsFolder);
  const freeBytes = await options.freeDiskBytes(own.layout.blobsFolder);
  if (freeBytes < plan.remainingBytes) {
    throw new PullFailed(
      `${shown} needs ${formatBytes(plan.remainingBytes)} (${plan.remainingBytes} bytes) on disk, ${own.layout.folder} has ${formatBytes(freeBytes)} (${freeBytes} bytes) free`,
      { next: [advice("free some disk space"), { step: "deleteModel" }, storeElsewhere] },
    );
  }
  let doneBytes = plan.blobs.filter((blob) => !plan.missing.includes(blob)).reduce((sum, blob) => sum + blob.size, 0);
  const startBytes = plan.totalBytes - plan.remainingBytes;
  const rest =
    startBytes > 0
      ? `${formatBytes(plan.remainingBytes)} of ${formatBytes(plan.totalBytes)}`
      : formatBytes(plan.totalBytes);
  report({ message: `${shown}: ${rest} to download`, completedBytes: startBytes, totalBytes: plan.totalBytes });
  const speed = createSpeedMeter(options.now);
  const say = throttled(options.now, (event: DownloadEvent) => {
    const completedBytes = doneBytes + event.completedBytes;
    const bytesPerSecond = speed(completedBytes);
    report({
      message: event.note === undefined ? `downloading ${shown}` : `downloading ${shown}: ${event.note}`,
      completedBytes,
      totalBytes: plan.totalBytes,
      ...defined({ bytesPerSecond }),
    });
  });
  for (const blob of plan.missing) {
    const openBlob = (firstByte: number, until: AbortSignal) => plan.session.blob(blob.digest, firstByte, until);
    const transfer = { model: shown, layout: own.layout, retry: options.retry, writeAt: options.writeAt };
    // A damaged blob would count as complete; one that another pull has downloaded meanwhile is kept.
    const state = await checkBlob(own.layout, blob);
    if (state === "damaged") await rm(own.layout.blobFile(blob.digest), { force: true });
    await context.downloads.join(
      blob.digest,
      (shared, emit) => downloadBlob(transfer, blob, openBlob, emit, shared),
      signal,
      (event) => say(event, event.completedBytes === blob.size),
    );
    doneBytes += blob.size;
  }
}

/** At most ten events a second, plus every event with a note and the last one. */
function throttled(
  now: () => number,
  say: (event: DownloadEvent) => void,
): (event: DownloadEvent, isLast: boolean) => void {
  let saidAtMs = Number.NEGATIVE_INFINITY;
  return (event, isLast) => {
    if (!isLast && event.note === undefined && now() - saidAtMs < REPORT_INTERVAL_MS) return;
    saidAtMs = now();
    say(event);
  };
}

/** The result of a pull or an import for a stored model. */
export function pulled(model: StoredModel, extra: Pick<PulledModel, "wasAlreadyPresent" | "note">): PulledModel {
  return { name: model.name, digest: model.digest, sizeBytes: model.sizeBytes, ...extra };
}

interface BlobOptions extends Pick<StoreContext["options"], "retry" | "writeAt"> {
  readonly layout: StoreLayout;
  /** Name of the model that is pulled, for next steps. */
  readonly model: string;
}

/** Opens the blob at a byte; throws `TransientFault` for what may work a moment later. */
type OpenBlob = (firstByte: number, signal: AbortSignal) => Promise<ByteStream>;

/** For a full disk. */
const storeElsewhere = { step: "changeSetting", setting: "store.path" } as const;

/**
 * Downloads one blob into the store: continues from what an earlier pull left (which is hashed again), retries after a
 * cut or a stall, and makes it a blob only if its sha256 is right. Throws `PullFailed`, `UnknownModel`, `Cancelled`;
 * what has arrived is kept unless the checksum is wrong.
 */
async function downloadBlob(
  options: BlobOptions,
  layer: Layer,
  openBlob: OpenBlob,
  emit: (event: DownloadEvent) => void,
  signal: AbortSignal,
): Promise<void> {
  const { layout } = options;
  const file = layout.partialFile(layer.digest);
  try {
    const claim = await claimFile(`${file}.lock`, {
      signal,
      onWait: async () =>
        emit({
          completedBytes: await partialBytes(layout, layer.digest),
          note: "another process is downloading it",
        }),
    });
    try {
      // Another process has downloaded it meanwhile.
      if ((await sizeOf(layout.blobFile(layer.digest))) !== undefined) return;
      await downloadPartial(options, claim, layer, openBlob, emit, signal);
      await renameOver(file, layout.blobFile(layer.digest), layout.platform);
      await syncFolder(layout.blobsFolder, layout.platform);
    } finally {
      await claim.release();
    }
  } catch (error) {
    throw asPullError(error, signal, options.model);
  }
}

/** Completes the partial. What has arrived is kept unless the checksum is wrong. */
async function downloadPartial(
  options: BlobOptions,
  claim: Claim,
  layer: Layer,
  openBlob: OpenBlob,
  emit: (event: DownloadEvent) => void,
  signal: AbortSignal,
): Promise<void> {
  const file = options.layout.partialFile(layer.digest);
  const handle = await open(file, constants.O_RDWR | constants.O_CREAT, 0o600);
  const check = (): void => {
    if (claim.isLost())
      throw new PullFailed("another process took over the download", {
        next: { step: "resumePull", model: options.model },
      });
  };
  let isKept = true;
  try {
    const wanted: Parameters<typeof download>[0] = {
      handle,
      write: (bytes, position) => options.writeAt(handle, bytes, position),
      sizeBytes: layer.size,
      algorithm: "sha256",
      digest: layer.digest,
      open: (firstByte) => openBlob(firstByte, signal),
      retry: options.retry,
      emit,
      check,
    };
    await download(wanted, signal);
    await handle.sync();
    check();
  } catch (error) {
    const isWrong = error instanceof WrongContent;
    isKept = (!isWrong || error.digest === undefined) && (await handle.stat()).size > 0;
    if (!isWrong) throw error;
    if (error.digest === undefined) throw new PullFailed(error.message, { cause: error });
    throw new PullFailed(
      `checksum mismatch: sha256 ${layer.digest.slice(0, 12)} expected, ${error.digest.slice(0, 12)} received; the damaged download was removed`,
      {
        next: [{ step: "retry" }, advice("if it happens again, look for a proxy that alters downloads")],
        cause: error,
      },
    );
  } finally {
    await handle.close();
    if (!isKept && !claim.isLost()) await rm(file, { force: true });
  }
}

/** What has arrived of a blob. */
async function partialBytes(layout: StoreLayout, hex: string): Promise<number> {
  return (await sizeOf(layout.partialFile(hex))) ?? 0;
}

/** Undefined if there is no such file. */
async function sizeOf(file: string): Promise<number | undefined> {
  return (await stat(file).catch(undefinedIfMissing))?.size;
}

/**
 * Errors of network, disk and signals as the errors of a pull; other errors are returned as they are. `model` names the
 * model of a download, of which what has arrived is kept.
 */
export function asPullError(error: unknown, signal: AbortSignal, model?: string): unknown {
  if (signal.aborted) return new Cancelled("the pull was cancelled", { cause: error });
  if (error instanceof TransientFault) {
    const resume: NextStep = { step: "resumePull", ...defined({ model }) };
    if (error.kind !== "unreachable") {
      return new PullFailed(`the download stopped: ${error.message}`, { next: resume, cause: error });
    }
    return new PullFailed(`the registry can't be reached: ${error.message}`, {
      next: [advice("check the connection (and HTTPS_PROXY, if you need a proxy)"), resume, { step: "importModel" }],
      cause: error,
    });
  }
  const code = codeOf(error);
  if (code === "ENOSPC" || code === "EDQUOT") {
    const kept = model === undefined ? "" : "; what has arrived is kept";
    return new PullFailed(`the disk is full: ${messageOf(error)}${kept}`, {
      next: [advice("free some disk space and try again"), storeElsewhere],
      cause: error,
    });
  }
  if (code !== undefined && !(error instanceof PullFailed)) {
    return new PullFailed(`a file can't be read or written: ${messageOf(error)}`, {
      next: advice("check the permissions of that file and of the folder store.path"),
      cause: error,
    });
  }
  return error;
}
