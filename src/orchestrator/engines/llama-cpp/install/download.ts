import { open } from "node:fs/promises";
import { OrchestratorError, PullFailed, throwIfCancelled } from "../../../api/errors.ts";
import { advice } from "../../../api/next-step.ts";
import { parseJson } from "../../../util/parse-json.ts";
import type { RetryOptions } from "../../../util/retry.ts";
import { WrongContent, download } from "../../download.ts";
import { type ByteStream, type HttpGet, type HttpResponse, Transfer, TransientFault, isBusy } from "../../http.ts";
import type { LockedPackage } from "./lock.ts";
import type { RegistrySettings } from "./registry.ts";
import { defined } from "../../../util/defined.ts";

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

export interface DownloadOptions {
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
export async function downloadPackage(entry: LockedPackage, file: string, options: DownloadOptions): Promise<void> {
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
  const transfer = new Transfer({
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
