import { spawn } from "node:child_process";
import { mkdir, rm, writeFile, open } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { Cancelled, LoadFailed, PullFailed, OrchestratorError, throwIfCancelled } from "../../../api/errors.ts";
import { crashReasonIn } from "../../failures.ts";
import { type LockedPackage, reportLock } from "./lock.ts";
import { useOllama } from "./platform.ts";
import type { Environment, RegistrySettings } from "./registry.ts";
import { advice } from "../../../api/next-step.ts";
import { defined, parseJson } from "../../../util/values.ts";
import type { RetryOptions } from "../../../util/retry.ts";
import { WrongContent, download } from "../../download.ts";
import { type ByteStream, type HttpGet, type HttpResponse, TransientFault, isBusy, openTransfer } from "../../http.ts";

/** Enough to use the bandwidth with many small packages, few enough for a registry's limits. */
const parallelDownloads = 6;

/**
 * Downloads, verifies and unpacks every package; returns the bytes on disk. Never runs install scripts. The first failure
 * aborts the other downloads and is thrown when all have ended, so that nothing writes afterwards.
 */
export async function installPackages(
  options: Omit<DownloadOptions, "onBytes"> & {
    readonly packages: readonly LockedPackage[];
    /** Packages are unpacked into `node_modules/…` below it. */
    readonly folder: string;
    /** For archives; each is removed after unpacking. */
    readonly downloadsFolder: string;
    readonly onBytes: (entry: LockedPackage, bytes: number) => void;
  },
): Promise<number> {
  const stop = new AbortController();
  const signal = AbortSignal.any([options.signal, stop.signal]);
  const waiting = options.packages.map((entry, index) => ({
    entry,
    archive: join(options.downloadsFolder, `${index}.tgz`),
  }));
  let bytes = 0;
  await mkdir(options.downloadsFolder, { recursive: true, mode: 0o700 });

  const work = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined && !signal.aborted; next = waiting.shift()) {
      const { entry, archive } = next;
      await downloadPackage(entry, archive, { ...options, signal, onBytes: (sum) => options.onBytes(entry, sum) });
      const unpackedBytes = await unpackPackage(entry, archive, join(options.folder, ...entry.path.split("/")));
      bytes += unpackedBytes; // not `+= await`, which reads the sum too early
      await rm(archive, { force: true });
    }
  };
  let failure: { readonly error: unknown } | undefined;
  await Promise.all(
    Array.from({ length: parallelDownloads }, () =>
      work().catch((error: unknown) => {
        failure ??= { error }; // later failures follow from the first
        stop.abort();
      }),
    ),
  );
  if (failure !== undefined) throw failure.error;
  options.signal.throwIfAborted();
  return bytes;
}

/** False for sources of llama.cpp (35 MB of 76), type declarations and source maps, which are unused at run time. */
function isNeeded(packageName: string, path: string): boolean {
  if (packageName === "node-llama-cpp" && path === "llama/gitRelease.bundle") return false;
  return !/\.(?:d\.[cm]?ts|map)$/.test(path);
}

/**
 * Unpacks one verified package into its own folder and returns the bytes written. Accepts only plain files and folders
 * below that folder: throws `PullFailed` for anything else (links, `..`, absolute names, Windows drives), although the
 * checksum matched. Ignores modes and owners in the archive.
 */
export async function unpackPackage(entry: LockedPackage, file: string, folder: string): Promise<number> {
  const { extract } = await import("tar/extract");
  await mkdir(folder, { recursive: true, mode: 0o700 });
  let refused: string | undefined;
  let bytes = 0;
  await extract({
    file,
    cwd: folder,
    strip: 1, // the archive's own top folder, usually `package/`
    preserveOwner: false,
    noMtime: true,
    filter: (path, found) => {
      if (!("type" in found)) throw new Error("tar passes entries to the filter when it extracts");
      refused ??= whyUnsafe(path, found.type);
      if (refused !== undefined) return false;
      found.mode = found.type === "Directory" ? 0o700 : 0o600;
      const isWanted = isNeeded(entry.name, path.slice(path.indexOf("/") + 1));
      if (isWanted) bytes += found.size;
      return isWanted;
    },
    onwarn: (_code, message) => {
      refused ??= message;
    },
  });
  if (refused !== undefined) {
    throw new PullFailed(`${entry.name} ${entry.version} contains an unsafe entry: ${refused}`, {
      next: reportLock,
    });
  }
  return bytes;
}

function whyUnsafe(path: string, type: string): string | undefined {
  if (!["File", "OldFile", "ContiguousFile", "Directory"].includes(type)) return `${path} is a ${type}`;
  const isOutside = path.split(/[\\/]/).includes("..");
  if (isOutside || /^[\\/]|^[a-z]:|\0|\\/i.test(path)) return `the name ${JSON.stringify(path)}`;
  return undefined;
}

/** The first start takes half a second, but longer with cold disks and virus scanners. */
const trialLimitMs = 60_000;
const keptOutputCharacters = 2_000;

/** Loads the module and the native binaries in the same way as the engine's child process. */
const script = `
process.stdin.on("close", () => process.exit(1)).resume(); // the parent process has ended
const { getLlama } = await import(process.argv[2]);
const gpu = process.argv[3] === "cpu" ? { gpu: false } : {};
const llama = await getLlama({ build: "never", skipDownload: true, logLevel: "error", ...gpu });
await llama.dispose();
process.exit(0);
`;

/**
 * Imports the engine once in a child process, to detect binaries that don't run on this machine without a crash of this
 * process. Throws `LoadFailed` with the child's error, and `Cancelled`; the child has ended in every case.
 */
export async function runTrial(options: {
  /** Absolute path of the module to import. */
  readonly modulePath: string;
  /** Absolute path for the script. A file, because the engine's own test process would inherit flags like --eval and fail. */
  readonly scriptFile: string;
  /** The program that runs it. */
  readonly execPath: string;
  readonly environment: Environment;
  readonly signal: AbortSignal;
  readonly limitMs?: number;
  /** Leaves cards alone, whose driver may be busy or missing now: whether they work is found out at each start. */
  readonly isCpuOnly?: boolean;
}): Promise<void> {
  const { execPath, modulePath, scriptFile, signal, limitMs = trialLimitMs } = options;
  await writeFile(scriptFile, script, { mode: 0o600, signal });
  const limit = AbortSignal.timeout(limitMs);
  const mode = options.isCpuOnly === true ? ["cpu"] : [];
  const child = spawn(execPath, [scriptFile, pathToFileURL(modulePath).href, ...mode], {
    stdio: ["pipe", "pipe", "pipe"],
    windowsHide: true,
    killSignal: "SIGKILL",
    signal: AbortSignal.any([signal, limit]),
    // A desktop client's own program runs JavaScript only with this variable.
    env: { ...options.environment, ELECTRON_RUN_AS_NODE: "1" },
  });
  let output = "";
  const keep = (chunk: Buffer): void => {
    output = (output + chunk.toString("utf8")).slice(-keptOutputCharacters);
  };
  child.stdout.on("data", keep);
  child.stderr.on("data", keep);
  let failure: unknown;
  child.on("error", (error) => {
    failure = error; // not started, or killed by the signal
  });
  // `close` follows the end of both outputs, also when the program could not be started.
  const { code, killedBy } = await new Promise<{ code: number | null; killedBy: NodeJS.Signals | null }>((resolve) => {
    child.once("close", (exitCode, exitSignal) => resolve({ code: exitCode, killedBy: exitSignal }));
  });
  if (signal.aborted) throw new Cancelled("installing the embedded engine was cancelled", { cause: signal.reason });
  if (code === 0) return;
  const reason = limit.aborted
    ? `it did not start within ${limitMs / 1000} s`
    : killedBy !== null
      ? `its process was ended by ${killedBy}`
      : (crashReasonIn(output.split("\n")) ??
        (failure instanceof Error ? failure.message : `its process ended with code ${code}`));
  throw new LoadFailed(`the embedded engine was downloaded but does not run on this machine: ${reason}`, {
    next: useOllama,
    cause: failure ?? output,
  });
}

/** Timeouts and retries of an installation. */
export interface Patience extends RetryOptions {
  /** Maximum wait for the first byte and between bytes. */
  readonly stallMs: number;
  /** Interval of looks at another process's claim; default that of `claimFile`. */
  readonly pollMs?: number;
}

/** Next step after a network failure. */
export const checkNetwork = advice("check the network, the proxy and npm's setting registry, then try again");
const useOwnHostRegistry = advice(
  "point npm's setting registry at a registry that serves the packages from its own host",
);

interface DownloadOptions {
  readonly registry: RegistrySettings;
  readonly http: HttpGet;
  readonly patience: Patience;
  readonly signal: AbortSignal;
  /** Bytes of this package so far. */
  readonly onBytes: (bytes: number) => void;
}

/**
 * Downloads one package into the new file and checks its sha512 against the lock. Detects stalls, and resumes after
 * transient failures. Throws `PullFailed` (the file is then unusable) and `Cancelled`.
 */
async function downloadPackage(entry: LockedPackage, file: string, options: DownloadOptions): Promise<void> {
  const { patience, signal, onBytes } = options;
  const host = new URL(options.registry.registryFor(entry.name)).host;
  const handle = await open(file, "wx+", 0o600);
  try {
    await download(
      {
        handle,
        // Continues after the last bytes.
        write: (bytes) => handle.writeFile(bytes),
        sizeBytes: entry.bytes,
        algorithm: "sha512",
        digest: Buffer.from(entry.integrity.replace("sha512-", ""), "base64").toString("hex"),
        open: (firstByte) => openPackage(entry, host, firstByte, options),
        retry: patience,
        emit: ({ completedBytes }) => onBytes(completedBytes),
      },
      signal,
    );
  } catch (error) {
    throwIfCancelled(signal, "installing the embedded engine");
    if (error instanceof WrongContent) {
      throw new PullFailed(
        `${label(entry)} from ${host} is not what ollm-mcp was released with (sha512 differs); nothing was installed`,
        { next: advice("point npm's setting registry at another registry: a proxy or a mirror changes packages") },
      );
    }
    if (error instanceof OrchestratorError || !(error instanceof TransientFault)) throw error;
    throw new PullFailed(
      `${label(entry)} could not be downloaded from ${host} in ${patience.retries + 1} attempts: ${error.message}`,
      { next: checkNetwork, cause: error },
    );
  } finally {
    await handle.close();
  }
}

/** Returns the usual address of a package's archive, which npm's own registry uses. */
export function tarballAddress(
  registry: RegistrySettings,
  entry: { readonly name: string; readonly version: string },
): string {
  const baseName = entry.name.slice(entry.name.indexOf("/") + 1);
  return `${registry.registryFor(entry.name)}${entry.name}/-/${baseName}-${entry.version}.tgz`;
}

/** More than the document of any package. */
const maxDocumentBytes = 32 * 1024 ** 2;

/** Tries the usual address first, then the one in the package's document. */
async function openPackage(
  entry: LockedPackage,
  host: string,
  firstByte: number,
  { registry, http, patience, signal }: DownloadOptions,
): Promise<ByteStream> {
  const transfer = openTransfer({
    http,
    what: label(entry),
    host,
    stallMs: patience.stallMs,
    signal,
    headers(url) {
      const authorization = registry.authorizationFor(url.href);
      return { "user-agent": "ollm-mcp", ...defined({ authorization }) };
    },
    check: (url) => checkHost(entry, url, registry),
    next: {
      redirects: useOwnHostRegistry,
      untrusted: {
        step: "restartDaemon",
        after: "name your organisation's certificates (PEM) in NODE_EXTRA_CA_CERTS or in npm's setting cafile",
      },
    },
  });
  const archive = (address: string): Promise<HttpResponse> =>
    transfer.get(address, {
      accept: "application/octet-stream, */*",
      ...(firstByte > 0 && { range: `bytes=${firstByte}-` }),
    });
  try {
    const usual = tarballAddress(registry, entry);
    const response = await archive(usual);
    if (isOk(response)) return transfer.stream(response, firstByte);
    if (response.status !== 404 && response.status !== 405) throw refusal(entry, host, response);

    response.discard();
    const document = await transfer.get(`${registry.registryFor(entry.name)}${entry.name.replace("/", "%2f")}`, {
      accept: "application/vnd.npm.install-v1+json, application/json;q=0.9",
    });
    if (!isOk(document)) throw refusal(entry, host, document);
    const elsewhere = tarballIn(jsonIn(await transfer.bytes(document, maxDocumentBytes)), entry.version);
    if (elsewhere === undefined || elsewhere === usual) throw refusal(entry, host, response);
    const second = await archive(elsewhere);
    if (!isOk(second)) throw refusal(entry, host, second);
    return transfer.stream(second, firstByte);
  } catch (error) {
    transfer.close();
    throw error;
  }
}

/**
 * Throws `PullFailed` for a host other than the registry's, because the registry chooses it and it may be one that only
 * this machine can reach, and for plain HTTP where the registry uses TLS.
 */
function checkHost(entry: LockedPackage, target: URL, settings: RegistrySettings): void {
  const registry = new URL(settings.registryFor(entry.name));
  const isSecureEnough = target.protocol === registry.protocol || target.protocol === "https:";
  if (target.host === registry.host && isSecureEnough) return;
  throw new PullFailed(
    `${registry.host} refers to ${target.origin} for ${label(entry)}; packages are downloaded only from the registry's own host`,
    { next: useOwnHostRegistry },
  );
}

function jsonIn(body: Buffer | undefined): unknown {
  if (body === undefined)
    throw new TransientFault("interrupted", `the registry's response has more than ${maxDocumentBytes} bytes`);
  try {
    return parseJson(body.toString("utf8"));
  } catch (error) {
    throw new TransientFault("interrupted", `the registry's response is not valid JSON (${String(error)})`, error);
  }
}

function tarballIn(document: unknown, version: string): string | undefined {
  const versions = (document as { versions?: Record<string, { dist?: { tarball?: unknown } }> } | null)?.versions;
  const tarball = versions?.[version]?.dist?.tarball;
  return typeof tarball === "string" && /^https?:/i.test(tarball) && URL.canParse(tarball) ? tarball : undefined;
}

function isOk({ status }: HttpResponse): boolean {
  return status === 200 || status === 206;
}

function refusal(entry: LockedPackage, host: string, response: HttpResponse): Error {
  const { status } = response;
  response.discard();
  if (isBusy(status)) return new TransientFault("busy", `${host} answered ${status}`);
  const next = advice(
    status === 401 || status === 403 || status === 407
      ? "check the credentials for this registry in npm's configuration (npm config list)"
      : "point npm's setting registry at a registry that serves this package",
  );
  return new PullFailed(`${host} answered ${status} for ${label(entry)}`, { next });
}

const label = (entry: LockedPackage): string => `${entry.name} ${entry.version}`;
