import { readFile } from "node:fs/promises";
import { rootCertificates } from "node:tls";
import type { Log } from "../../../log.ts";
import type { RegistrySettings } from "./registry.ts";

/** What a download needs of a fetch answer. */
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

/** HTTP through the configured proxy, trusting the configured certificates. Redirects are answered, not followed. */
export interface Transport {
  readonly fetch: RegistryFetch;
  /** Closes all connections, also those in use. */
  close(): Promise<void>;
}

/** Loads undici on the first use: it is the largest chunk of the program and most runs never install anything. */
export async function createTransport(settings: RegistrySettings, log: Log): Promise<Transport> {
  const { EnvHttpProxyAgent, fetch } = await import("undici");
  if (!settings.isCertificateChecked) log.warn("npm's strict-ssl is off: the registry's certificate is not checked");
  const tls = {
    ...(await trustedCertificates(settings, log)),
    ...(settings.isCertificateChecked ? {} : { rejectUnauthorized: false }),
  };
  const dispatcher = new EnvHttpProxyAgent({
    // Empty, not absent: undici would read this process's environment instead of the injected one.
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

/** Node's own list plus the configured ones, because naming certificates replaces Node's list. */
async function trustedCertificates(settings: RegistrySettings, log: Log): Promise<{ ca?: string[] }> {
  const extra = [...settings.certificates];
  for (const file of settings.certificateFiles) {
    try {
      extra.push(await readFile(file, "utf8"));
    } catch (error) {
      // As npm and Node do: a missing file must not stop an install that may work without it.
      log.warn(`certificates ${file} cannot be read (${(error as NodeJS.ErrnoException).code})`);
    }
  }
  return extra.length === 0 ? {} : { ca: [...rootCertificates, ...extra] };
}
