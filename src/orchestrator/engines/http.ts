import { failureOf, trustCertificate } from "./failures.ts";
import type { Dispatcher } from "undici";
import { Cancelled, OrchestratorError, PullFailed } from "../api/errors.ts";
import type { NextSteps } from "../api/next-step.ts";
import type { AddressGuard } from "./address-guard.ts";
import { codeOf, messageOf } from "../util/values.ts";

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

interface HttpOptions {
  /** Addresses of the proxies for plain and encrypted requests. */
  readonly httpProxy?: string | undefined;
  readonly httpsProxy?: string | undefined;
  /** Comma-separated hosts. */
  readonly noProxy?: string | undefined;
  /** Checks every address and every resolved name; behind a proxy, which resolves names, only numeric addresses. */
  readonly guard?: AddressGuard;
  /** Authorities to trust in place of Node's, and whether certificates are checked. */
  readonly tls?: { readonly ca?: string[]; readonly rejectUnauthorized?: boolean };
}

/**
 * GET over undici, which is loaded with the first request: it is the largest chunk of the program. Its own timeouts are
 * off, because a transfer watches every byte.
 */
export function createHttpClient({ httpProxy, httpsProxy, noProxy, guard, tls = {} }: HttpOptions) {
  let dispatchers: { readonly open: Dispatcher; readonly guarded: Dispatcher } | undefined;
  return {
    async get(url: URL, headers: Readonly<Record<string, string>>, signal: AbortSignal): Promise<HttpResponse> {
      const { EnvHttpProxyAgent, request } = await import("undici");
      const agent = (connect: object): Dispatcher =>
        new EnvHttpProxyAgent({
          // Empty instead of absent: undici would read this process's environment.
          httpProxy: httpProxy ?? "",
          httpsProxy: httpsProxy ?? "",
          noProxy: noProxy ?? "",
          headersTimeout: 0,
          bodyTimeout: 0,
          connect: { ...tls, timeout: 10_000, ...connect },
          requestTls: tls,
          proxyTls: tls,
        });
      guard?.check(url);
      dispatchers ??= { open: agent({}), guarded: agent(guard === undefined ? {} : { lookup: guard.lookup }) };
      const dispatcher = guard?.isNamed(url) === false ? dispatchers.guarded : dispatchers.open;
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
    },
    /** Closes all connections, including those in use. */
    async close() {
      await Promise.all([dispatchers?.open.destroy(), dispatchers?.guarded.destroy()]);
    },
  };
}

/** A proxy can't reach this machine's own servers, which NO_PROXY often doesn't list. */
const NEVER_PROXIED = "localhost,127.0.0.1,[::1]";

/** Through the proxies in `env`: HTTP_PROXY, HTTPS_PROXY, NO_PROXY in either case. */
export function createHttpGet(env: Readonly<Record<string, string | undefined>>, guard: AddressGuard): HttpGet {
  const proxy = (name: string) => env[name.toLowerCase()] ?? env[name] ?? "";
  const noProxy = proxy("NO_PROXY").trim();
  return createHttpClient({
    httpProxy: proxy("HTTP_PROXY"),
    httpsProxy: proxy("HTTPS_PROXY"),
    // undici accepts `*` (no proxy at all) only as the whole list.
    noProxy: noProxy === "*" ? noProxy : noProxy === "" ? NEVER_PROXIED : `${noProxy},${NEVER_PROXIED}`,
    guard,
  }).get;
}

/**
 * A fault that may be over a moment later. `unreachable`: no connection; `interrupted`: an answer stopped; `busy`: the
 * server asks to wait. After the last attempt it becomes `PullFailed`.
 */
export class TransientFault extends Error {
  readonly kind: "unreachable" | "interrupted" | "busy";

  constructor(kind: TransientFault["kind"], message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "TransientFault";
    this.kind = kind;
  }
}

/** Whether a server that answers with this status may answer otherwise a moment later. */
export function isBusy(status: number): boolean {
  return status === 408 || status === 425 || status === 429 || status >= 500;
}

/** The content of a file from a byte on: the one that was asked for, or an earlier one. */
export interface ByteStream {
  readonly startsAt: number;
  readonly body: AsyncIterable<Uint8Array>;
}

interface TransferOptions {
  readonly http: HttpGet;
  /** What is asked, and of whom, for messages: `smollm2:135m`, `hf.co`. */
  readonly what: string;
  readonly host: string;
  /** The longest wait for a response and for each further byte. */
  readonly stallMs: number;
  readonly signal: AbortSignal;
  /** Headers for an address, which may be the target of a redirect. */
  headers(url: URL): Readonly<Record<string, string>>;
  /** Throws for an address that must not be asked; `from` is the one that redirects to it. */
  check(url: URL, from?: URL): void;
  readonly next?: { readonly untrusted?: NextSteps; readonly redirects?: NextSteps };
}

const MAX_REDIRECTS = 5;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/**
 * Requests for one content, aborted when nothing arrives for too long or when the caller aborts. Its methods throw
 * `TransientFault`, `PullFailed` and `Cancelled`. Close it; the end of a `stream` does that, too.
 */
export function openTransfer(options: TransferOptions) {
  const controller = new AbortController();
  const { signal } = options;
  const onCallerAbort = (): void => controller.abort(signal.reason);
  let timer: NodeJS.Timeout | undefined;
  if (signal.aborted) onCallerAbort();
  signal.addEventListener("abort", onCallerAbort, { once: true });

  /** The chunks, each of which restarts the timer; time spent by the consumer doesn't count. */
  async function* body(response: HttpResponse): AsyncGenerator<Uint8Array> {
    try {
      touch();
      for await (const chunk of response.body) {
        clearTimeout(timer);
        yield chunk;
        touch();
      }
    } catch (error) {
      throw translated(error);
    } finally {
      clearTimeout(timer);
      response.discard();
    }
  }

  async function* lastBody(response: HttpResponse): AsyncGenerator<Uint8Array> {
    try {
      yield* body(response);
    } finally {
      close();
    }
  }

  function touch(): void {
    const { host, stallMs } = options;
    clearTimeout(timer);
    timer = setTimeout(
      () => controller.abort(new TransientFault("interrupted", `${host} sent nothing for ${stallMs / 1000} s`)),
      stallMs,
    );
  }

  function translated(error: unknown): Error {
    const { host, what, next } = options;
    if (signal.aborted) return new Cancelled(`the download of ${what} was cancelled`, { cause: signal.reason });
    if (controller.signal.aborted) return controller.signal.reason as TransientFault;
    return networkError(error, host, next?.untrusted);
  }

  /** One GET. */
  async function send(url: URL, headers: Readonly<Record<string, string>>): Promise<HttpResponse> {
    touch();
    try {
      return await options.http(url, headers, controller.signal);
    } catch (error) {
      throw translated(error);
    }
  }

  function close(): void {
    clearTimeout(timer);
    signal.removeEventListener("abort", onCallerAbort);
  }

  return {
    /** One GET that follows redirects. */
    async get(address: string, headers: Readonly<Record<string, string>> = {}): Promise<HttpResponse> {
      const { what, host, next } = options;
      let url = new URL(address);
      let from: URL | undefined;
      for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects += 1) {
        options.check(url, from);
        const sent = send(url, { ...headers, ...options.headers(url) });
        const response = await (from === undefined ? sent : sent.catch(redirectRefused(from, url, what)));
        const location = response.header("location");
        if (!REDIRECTS.has(response.status) || location === undefined) return response;
        response.discard();
        if (!URL.canParse(location, url.href))
          throw new PullFailed(`${host} redirects the download of ${what} to an invalid address`, {
            next: next?.redirects,
          });
        from = url;
        url = new URL(location, url.href);
      }
      throw new PullFailed(`${host} redirects the download of ${what} more than ${MAX_REDIRECTS} times`, {
        next: next?.redirects,
      });
    },
    send,
    /** The response to a request for the bytes from `firstByte` on, which has status 200 or 206. */
    stream(response: HttpResponse, firstByte: number): ByteStream {
      if (response.status !== 206) return { startsAt: 0, body: lastBody(response) };
      const range = response.header("content-range");
      const [, first] = /^bytes (\d+)-/.exec(range ?? "") ?? [];
      if (first === undefined || Number(first) > firstByte) {
        response.discard();
        throw new PullFailed(`${options.host} did not send the requested bytes from ${firstByte} on (${range})`);
      }
      return { startsAt: Number(first), body: lastBody(response) };
    },
    /** The whole body; undefined if it has more than `maxBytes`. */
    async bytes(response: HttpResponse, maxBytes: number): Promise<Buffer | undefined> {
      const chunks: Uint8Array[] = [];
      let sizeBytes = 0;
      for await (const chunk of body(response)) {
        sizeBytes += chunk.length;
        if (sizeBytes > maxBytes) return undefined;
        chunks.push(chunk);
      }
      return Buffer.concat(chunks);
    },
    close,
  };
}

/** Names the redirect to an address that the settings don't allow. */
function redirectRefused(from: URL, to: URL, what: string) {
  return (error: unknown): never => {
    if (!(error instanceof PullFailed)) throw error;
    const { message, next } = error;
    throw new PullFailed(`${from.host} redirects the download of ${what} to ${to.host}: ${message}`, {
      next,
      cause: error,
    });
  };
}

const NETWORK_DOWN = new Set(
  "ENOTFOUND EAI_AGAIN ECONNREFUSED ENETUNREACH EHOSTUNREACH UND_ERR_CONNECT_TIMEOUT".split(" "),
);

/** An error of a connection to `host` as one of ours. */
function networkError(error: unknown, host: string, untrusted: NextSteps | undefined): Error {
  if (error instanceof OrchestratorError || error instanceof TransientFault) return error;
  const message = messageOf(error);
  const code = codeOf(error) ?? "";
  const reason = code === "" || message.includes(code) ? message : `${code}: ${message}`;
  if (failureOf(error)?.kind === "untrusted") {
    return new PullFailed(`the certificate of ${host} is not trusted: ${reason}`, {
      next: untrusted ?? trustCertificate,
      cause: error,
    });
  }
  // The code is enough if the host is unreachable; "getaddrinfo ENOTFOUND HOST" would only repeat the host.
  if (NETWORK_DOWN.has(code)) return new TransientFault("unreachable", `${host} (${code})`, error);
  return new TransientFault("interrupted", `${host}: ${reason}`, error);
}
