import type { Dispatcher } from "undici";
import type { AddressGuard } from "./address-guard.ts";

export interface HttpResponse {
  readonly status: number;
  header(name: string): string | undefined;
  readonly body: AsyncIterable<Uint8Array>;
  /** Closes the connection when the body isn't read to its end. */
  discard(): void;
}

/** One GET without following redirects. Rejects with the system's error, or with the signal's reason. */
export type HttpGet = (
  url: URL,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
) => Promise<HttpResponse>;

/** A proxy can't reach this machine's own servers, which NO_PROXY often doesn't list. */
const NEVER_PROXIED = "localhost,127.0.0.1,[::1]";

/**
 * GET over undici, through the proxies in `env` (HTTP_PROXY, HTTPS_PROXY, NO_PROXY in either case). undici is loaded
 * with the first request; its own timeouts are off, because the registry client watches every byte. `guard` checks every
 * address and every resolved name; behind a proxy the proxy resolves names, and only numeric addresses are checked.
 */
export function createHttpGet(env: Readonly<Record<string, string | undefined>>, guard: AddressGuard): HttpGet {
  let dispatchers: { readonly open: Dispatcher; readonly guarded: Dispatcher } | undefined;
  return async (url, headers, signal) => {
    const { EnvHttpProxyAgent, request } = await import("undici");
    const proxy = (name: string) => env[name.toLowerCase()] ?? env[name] ?? "";
    const agent = (connect: object): Dispatcher =>
      new EnvHttpProxyAgent({
        httpProxy: proxy("HTTP_PROXY"),
        httpsProxy: proxy("HTTPS_PROXY"),
        noProxy: noProxyList(proxy("NO_PROXY")),
        headersTimeout: 0,
        bodyTimeout: 0,
        connect: { timeout: 10_000, ...connect },
      });
    guard.check(url);
    dispatchers ??= { open: agent({}), guarded: agent({ lookup: guard.lookup }) };
    const dispatcher = guard.isNamed(url) ? dispatchers.open : dispatchers.guarded;
    const response = await request(url, { headers, signal, dispatcher });
    return {
      status: response.statusCode,
      header(name) {
        const value = response.headers[name];
        return Array.isArray(value) ? value[0] : value;
      },
      body: response.body,
      discard() {
        // A destroyed body emits an abort error.
        response.body.on("error", () => {});
        response.body.destroy();
      },
    };
  };
}

/** undici accepts `*` (no proxy at all) only as the whole list. */
function noProxyList(configured: string): string {
  if (configured.trim() === "*") return "*";
  return configured.trim() === "" ? NEVER_PROXIED : `${configured},${NEVER_PROXIED}`;
}
