import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { Cancelled, OrchestratorError, PullFailed, throwIfCancelled } from "../../../api/errors.ts";
import { advice } from "../../../api/next-step.ts";
import { parseJson } from "../../../util/parse-json.ts";
import type { LockedPackage } from "./lock.ts";
import type { RegistryFetch, RegistryResponse, RegistrySettings } from "./registry.ts";

/** Timeouts and retries of downloads. */
export interface Patience {
  /** Maximum wait for the first byte and between bytes. */
  readonly stallMs: number;
  /** Attempts after the first, for transient failures (no connection, reset, stall, 408, 429, 5xx). */
  readonly retries: number;
  /** Wait before the first retry; doubles up to `longestWaitMs`. */
  readonly firstWaitMs: number;
  readonly longestWaitMs: number;
}

/** Next step after a network failure. */
export const checkNetwork = advice("check the network, the proxy and npm's setting registry, then try again");

/** A failure that is worth a retry. */
class Transient extends Error {}

export interface DownloadOptions {
  readonly registry: RegistrySettings;
  readonly fetch: RegistryFetch;
  readonly patience: Patience;
  readonly signal: AbortSignal;
  /** Bytes of this package so far; restarts at 0 with each attempt. */
  readonly onBytes: (bytes: number) => void;
}

/**
 * Downloads one package into `file` and checks its sha512 against the lock. Detects stalls and retries transient failures.
 * Throws `PullFailed` (the file is then unusable) and `Cancelled`.
 */
export async function downloadPackage(entry: LockedPackage, file: string, options: DownloadOptions): Promise<void> {
  const { ExponentialBackoff, handleType, retry } = await import("cockatiel");
  const { patience, signal } = options;
  const policy = retry(handleType(Transient), {
    maxAttempts: patience.retries,
    backoff: new ExponentialBackoff({ initialDelay: patience.firstWaitMs, maxDelay: patience.longestWaitMs }),
  });
  try {
    await policy.execute(() => attempt(entry, file, options), signal);
  } catch (error) {
    throwIfCancelled(signal, "installing the embedded engine");
    if (error instanceof OrchestratorError) throw error;
    if (!(error instanceof Transient)) throw error;
    throw new PullFailed(
      `${label(entry)} could not be downloaded from ${hostOf(entry, options)} in ${patience.retries + 1} attempts: ${error.message}`,
      { next: checkNetwork, cause: error },
    );
  }
}

async function attempt(entry: LockedPackage, file: string, options: DownloadOptions): Promise<void> {
  const stall = new AbortController();
  const watchdog = setTimeout(() => stall.abort(), options.patience.stallMs);
  try {
    const signal = AbortSignal.any([options.signal, stall.signal]);
    const response = await request(entry, options, signal);
    await receive(entry, response, file, options, () => watchdog.refresh());
  } catch (error) {
    if (options.signal.aborted) throw new Cancelled("installing the embedded engine was cancelled", { cause: error });
    if (stall.signal.aborted) {
      throw new Transient(`no byte arrived for ${options.patience.stallMs / 1000} s`, { cause: error });
    }
    throw error;
  } finally {
    clearTimeout(watchdog);
    stall.abort(); // frees a connection whose body was not read to its end
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

/** Tries the usual address first, then the one in the package's document. */
async function request(entry: LockedPackage, options: DownloadOptions, signal: AbortSignal): Promise<RegistryResponse> {
  const usual = tarballAddress(options.registry, entry);
  const response = await get(entry, usual, "application/octet-stream, */*", options, signal);
  if (response.ok) return response;
  if (response.status !== 404 && response.status !== 405) throw refusal(entry, response, options);

  const document = await get(
    entry,
    `${options.registry.registryFor(entry.name)}${entry.name.replace("/", "%2f")}`,
    "application/vnd.npm.install-v1+json, application/json;q=0.9",
    options,
    signal,
  );
  if (!document.ok) throw refusal(entry, document, options);
  const elsewhere = tarballIn(await readJson(document), entry.version);
  if (elsewhere === undefined || elsewhere === usual) throw refusal(entry, response, options);
  const second = await get(entry, elsewhere, "application/octet-stream, */*", options, signal);
  if (!second.ok) throw refusal(entry, second, options);
  return second;
}

const maxRedirects = 5;
const redirectStatuses: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/**
 * Requests an address of the package's registry. Redirects are followed only to the registry's own host: another address
 * is chosen by the registry and may be one that only this machine can reach.
 */
async function get(
  entry: LockedPackage,
  address: string,
  accept: string,
  options: DownloadOptions,
  signal: AbortSignal,
): Promise<RegistryResponse> {
  let next = address;
  for (let redirects = 0; redirects <= maxRedirects; redirects += 1) {
    checkHost(entry, next, options);
    const response = await send(next, accept, options, signal);
    const location = redirectStatuses.has(response.status) ? response.headers.get("location") : null;
    if (location === null) return response;
    if (!URL.canParse(location, next))
      throw new PullFailed(`${hostOf(entry, options)} redirects ${label(entry)} to an invalid address`, {
        next: useOwnHostRegistry,
      });
    next = new URL(location, next).href;
  }
  throw new PullFailed(`${hostOf(entry, options)} redirects ${label(entry)} more than ${maxRedirects} times`, {
    next: useOwnHostRegistry,
  });
}

const useOwnHostRegistry = advice(
  "point npm's setting registry at a registry that serves the packages from its own host",
);

/** Throws `PullFailed` for a host other than the registry's, and for plain HTTP where the registry uses TLS. */
function checkHost(entry: LockedPackage, address: string, options: DownloadOptions): void {
  const registry = new URL(options.registry.registryFor(entry.name));
  const target = new URL(address);
  const isSecureEnough = target.protocol === registry.protocol || target.protocol === "https:";
  if (target.host === registry.host && isSecureEnough) return;
  throw new PullFailed(
    `${registry.host} refers to ${target.origin} for ${label(entry)}; packages are downloaded only from the registry's own host`,
    { next: useOwnHostRegistry },
  );
}

async function send(
  address: string,
  accept: string,
  options: DownloadOptions,
  signal: AbortSignal,
): Promise<RegistryResponse> {
  const authorization = options.registry.authorizationFor(address);
  const headers = { accept, "user-agent": "ollm-mcp", ...(authorization !== undefined && { authorization }) };
  try {
    return await options.fetch(address, { headers, signal });
  } catch (error) {
    const reason = reasonOf(error);
    if (/self.signed|certificate|issuer|altname|first certificate/i.test(reason)) {
      throw new PullFailed(`the certificate of ${new URL(address).host} is not trusted: ${reason}`, {
        next: advice("name your organisation's certificates (PEM) in NODE_EXTRA_CA_CERTS or in npm's setting cafile"),
        cause: error,
      });
    }
    throw new Transient(reason, { cause: error });
  }
}

/** More than the document of any package. */
const maxDocumentBytes = 32 * 1024 ** 2;

async function readJson(response: RegistryResponse): Promise<unknown> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of chunksOf(response)) {
    bytes += chunk.byteLength;
    if (bytes > maxDocumentBytes)
      throw new Transient(`the registry's response has more than ${maxDocumentBytes} bytes`);
    chunks.push(chunk);
  }
  try {
    return parseJson(Buffer.concat(chunks).toString("utf8"));
  } catch (error) {
    throw new Transient(`the registry's response is not valid JSON (${reasonOf(error)})`, { cause: error });
  }
}

function tarballIn(document: unknown, version: string): string | undefined {
  const versions = (document as { versions?: Record<string, { dist?: { tarball?: unknown } }> } | null)?.versions;
  const tarball = versions?.[version]?.dist?.tarball;
  return typeof tarball === "string" && /^https?:/i.test(tarball) && URL.canParse(tarball) ? tarball : undefined;
}

function refusal(entry: LockedPackage, response: RegistryResponse, options: DownloadOptions): Error {
  const { status } = response;
  if (status === 408 || status === 425 || status === 429 || status >= 500)
    return new Transient(`HTTP status ${status}`);
  const next = advice(
    status === 401 || status === 403 || status === 407
      ? "check the credentials for this registry in npm's configuration (npm config list)"
      : "point npm's setting registry at a registry that serves this package",
  );
  return new PullFailed(`${hostOf(entry, options)} answered ${status} for ${label(entry)}`, { next });
}

async function receive(
  entry: LockedPackage,
  response: RegistryResponse,
  file: string,
  options: DownloadOptions,
  onActivity: () => void,
): Promise<void> {
  const hash = createHash("sha512");
  let bytes = 0;
  options.onBytes(0);
  const handle = await open(file, "w", 0o600);
  try {
    for await (const chunk of chunksOf(response)) {
      onActivity();
      bytes += chunk.byteLength;
      if (bytes > entry.bytes) break;
      hash.update(chunk);
      await handle.writeFile(chunk); // continues after the last chunk
      options.onBytes(bytes);
    }
  } finally {
    await handle.close();
  }
  if (bytes < entry.bytes) throw new Transient(`the connection ended after ${bytes} of ${entry.bytes} bytes`);
  if (bytes > entry.bytes || `sha512-${hash.digest("base64")}` !== entry.integrity) {
    throw new PullFailed(
      `${label(entry)} from ${hostOf(entry, options)} is not what ollm-mcp was released with (sha512 differs); nothing was installed`,
      { next: advice("point npm's setting registry at another registry: a proxy or a mirror changes packages") },
    );
  }
}

/** Yields the body and marks errors of the connection as transient, unlike those of the disk. */
async function* chunksOf(response: RegistryResponse): AsyncGenerator<Uint8Array> {
  if (response.body === null) return;
  const iterator = response.body[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await iterator.next().catch((error: unknown) => {
        throw new Transient(`the connection was closed (${reasonOf(error)})`, { cause: error });
      });
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    await iterator.return?.().catch(() => undefined); // the body is no longer needed
  }
}

const label = (entry: LockedPackage): string => `${entry.name} ${entry.version}`;

function hostOf(entry: LockedPackage, options: DownloadOptions): string {
  return new URL(options.registry.registryFor(entry.name)).host;
}

/** Returns the cause of an error of fetch, whose own message is only "fetch failed". */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { cause } = error;
  if (!(cause instanceof Error)) return error.message;
  const { code } = cause as NodeJS.ErrnoException;
  return code === undefined || cause.message.includes(code) ? cause.message : `${code}: ${cause.message}`;
}
