import { readFile } from "node:fs/promises";
import { rootCertificates } from "node:tls";
import type { Log } from "../../../api/log.ts";
import type { RegistrySettings } from "./registry.ts";

/** The part of a fetch response that a download needs. */
export interface RegistryResponse {
  readonly ok: boolean;
  readonly status: number;
  readonly headers: { get(name: string): string | null };
  readonly body: AsyncIterable<Uint8Array> | null;
}

export type RegistryFetch = (
  address: string,
  init: { readonly headers: Readonly<Record<string, string>>; readonly signal: AbortSignal },
) => Promise<RegistryResponse>;

/** HTTP through the configured proxy with the configured certificates. Redirects are returned, not followed. */
export interface Transport {
  readonly fetch: RegistryFetch;
  /** Closes all connections, including those in use. */
  close(): Promise<void>;
}

/** Loads undici on first use: it is the largest chunk of the program, and most runs install nothing. */
export async function createTransport(settings: RegistrySettings, log: Log): Promise<Transport> {
  const { EnvHttpProxyAgent, fetch } = await import("undici");
  if (!settings.isCertificateChecked)
    log.warn("engine: npm's strict-ssl is off: the registry's certificate is not checked");
  const tls = {
    ...(await trustedCertificates(settings, log)),
    ...(settings.isCertificateChecked ? {} : { rejectUnauthorized: false }),
  };
  const dispatcher = new EnvHttpProxyAgent({
    // Empty instead of absent: undici would read this process's environment instead of the injected one.
    httpProxy: settings.httpProxy ?? "",
    httpsProxy: settings.httpsProxy ?? "",
    noProxy: settings.noProxy ?? "",
    connect: { ...tls, timeout: 10_000 },
    requestTls: tls,
    proxyTls: tls,
  });
  return {
    fetch: (address, init) => fetch(address, { ...init, dispatcher, redirect: "manual" }),
    close: () => dispatcher.destroy(),
  };
}

/** Adds the configured certificates to Node's own list, which they would otherwise replace. */
async function trustedCertificates(settings: RegistrySettings, log: Log): Promise<{ ca?: string[] }> {
  const extra = [...settings.certificates];
  for (const file of settings.certificateFiles) {
    try {
      extra.push(await readFile(file, "utf8"));
    } catch (error) {
      // Like npm and Node: the installation may work without the file.
      log.warn(`engine: certificates ${file} cannot be read (${(error as NodeJS.ErrnoException).code})`);
    }
  }
  return extra.length === 0 ? {} : { ca: [...rootCertificates, ...extra] };
}
