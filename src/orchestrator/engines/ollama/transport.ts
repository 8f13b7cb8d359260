import { Readable } from "node:stream";
import type { Ollama } from "ollama/browser";
import type { Dispatcher, Pool } from "undici";
import { Cancelled, throwIfCancelled } from "../../api/errors.ts";
import type { AddressGuard } from "../address-guard.ts";
import { CutOff, errorOfFailure, errorOfLength, errorOfReply, errorOfTimeout, type Attempt } from "./errors.ts";
import { formatBytes } from "../../util/format-bytes.ts";
import type { OllamaHost } from "../../util/ollama-host.ts";
import { parseJson } from "../../util/parse-json.ts";

declare global {
  /** The `ollama` package's declarations expect the browser's types. */
  type HeadersInit = ConstructorParameters<typeof Headers>[0];
}

/** One exchange with the server: what it is (`Attempt`) and how it is carried out. */
export interface Exchange extends Attempt {
  /** `control`: short, shares ten connections. `generation`: may take minutes, gets a connection of its own. */
  readonly pool: "control" | "generation";
  /** `total` limits the whole exchange, `stall` the time without a byte. */
  readonly bound: { readonly kind: "total" | "stall"; readonly ms: number };
  /** Maximum size of the reply; a longer one is aborted and fails. Default 4 MB. */
  readonly maxReplyBytes?: number;
}

/** Current connections of one pool. */
export interface PoolUsage {
  readonly connected: number;
  readonly running: number;
  /** Requests waiting for a connection. */
  readonly queued: number;
}

export interface ConnectionUsage {
  readonly control: PoolUsage & { readonly limit: number };
  readonly generation: PoolUsage;
}

/** One exchange's client: everything sent through it ends with the exchange. */
export interface Client {
  readonly ollama: Ollama;
  /** For requests that the package lacks (blobs). Returns the status; throws for one that is not `expected`. */
  send(
    method: "HEAD" | "POST",
    path: string,
    expected: readonly number[],
    body?: { readonly stream: AsyncIterable<Uint8Array>; readonly bytes: number },
  ): Promise<number>;
}

export interface Transport {
  /**
   * Runs `talk` with a client whose connection closes when `signal` aborts, the timeout expires, or `talk` ends. Throws
   * `Cancelled` for an aborted signal (without a request if it was aborted before) and translates every other error.
   */
  exchange<Result>(exchange: Exchange, signal: AbortSignal, talk: (client: Client) => Promise<Result>): Promise<Result>;
  usage(): ConnectionUsage;
  close(): Promise<void>;
}

/** Enough for concurrent status, listing and unloading; more would only queue inside Ollama. */
const controlConnections = 10;

/** Enough for a list of ten thousand models. */
const defaultReplyBytes = 4_000_000;
/** Maximum length of one line of a stream: a token has about a hundred characters, an error a few thousand. */
const maxLineCharacters = 1_000_000;
/** How much of an error response is read. */
const maxErrorBytes = 64_000;

/**
 * The `ollama` package over undici. Each exchange creates its own client, because the package's `abort()` aborts every
 * stream of a client. Error responses and lines that aren't JSON never reach the package: it prints the former to
 * stdout, which is reserved for the protocol, and skips the latter. Redirects are not followed, so that a local server
 * can't send text elsewhere. `guard` checks the address of every connection.
 */
export function createTransport(host: OllamaHost, guard: AddressGuard): Transport {
  let isChecked = false;
  let loading: ReturnType<typeof open> | undefined;
  let pools: { readonly control: Pool; readonly generation: Pool } | undefined;

  // Loaded on first use, so that they don't slow down the start.
  const open = async () => {
    const [undici, { Ollama }] = await Promise.all([import("undici"), import("ollama/browser")]);
    const { origin } = new URL(host.baseUrl);
    const connect = guard.isNamed(new URL(host.baseUrl)) ? {} : { connect: { lookup: guard.lookup } };
    // Exchanges have their own timeouts; undici's would end a load or a long prompt after five minutes.
    const options = {
      keepAliveTimeout: 30_000,
      keepAliveMaxTimeout: 30_000,
      headersTimeout: 0,
      bodyTimeout: 0,
      ...connect,
    };
    pools = {
      control: new undici.Pool(origin, { ...options, connections: controlConnections }),
      generation: new undici.Pool(origin, options),
    };
    return { request: undici.request, Ollama, pools };
  };

  return {
    async exchange(exchange, signal, talk) {
      throwIfCancelled(signal, exchange.what);
      const controller = new AbortController();
      // A shared reason: by default every abort would create an exception with a stack.
      const abort = (): void => controller.abort(exchangeEnded);
      signal.addEventListener("abort", abort, { once: true });
      let isTimedOut = false;
      const timer = setTimeout(() => {
        isTimedOut = true;
        abort();
      }, exchange.bound.ms);
      const touch = (): void => {
        if (exchange.bound.kind === "stall") timer.refresh();
      };

      try {
        // Once: neither the address nor the guard's rules change.
        if (!isChecked) guard.check(new URL(host.baseUrl));
        isChecked = true;
        const { request, Ollama, pools: opened } = await (loading ??= open());
        const base = { dispatcher: opened[exchange.pool], signal: controller.signal };
        const check = async (reply: Dispatcher.ResponseData, expected: readonly number[]): Promise<void> => {
          touch();
          if (expected.includes(reply.statusCode)) return;
          throw errorOfReply(reply.statusCode, await beginning(reply.body, maxErrorBytes), exchange, host.label);
        };
        const maxReplyBytes = exchange.maxReplyBytes ?? defaultReplyBytes;
        const tooLong = (limit: string): Error => errorOfLength(limit, exchange, host.label);
        const fetch = async (url: unknown, init: RequestInit = {}): Promise<Response> => {
          const method = init.method ?? "GET";
          const headers = init.headers as Record<string, string>;
          const reply = await request(String(url), { ...base, method, headers, body: (init.body as string) ?? null });
          await check(reply, [200]);
          const body = bounded(observed(reply.body, touch), maxReplyBytes, tooLong);
          const errorOfLine = (line: string) => errorOfReply(200, line, exchange, host.label);
          return replyOf(body, () => wholeLines(body, errorOfLine, tooLong));
        };
        return await talk({
          ollama: new Ollama({ host: host.baseUrl, fetch }),
          async send(method, path, expected, body) {
            const headers = body ? { "content-length": String(body.bytes) } : {};
            const reply = await request(`${host.baseUrl}${path}`, {
              ...base,
              method,
              headers,
              body: body ? Readable.from(observed(body.stream, touch)) : null,
            });
            await check(reply, expected);
            await reply.body.dump();
            return reply.statusCode;
          },
        });
      } catch (error) {
        if (signal.aborted) throw new Cancelled(`${exchange.what} was cancelled`, { cause: signal.reason });
        if (isTimedOut) throw errorOfTimeout(exchange.bound.ms, exchange, host.label);
        throw errorOfFailure(error, exchange, host.label);
      } finally {
        clearTimeout(timer);
        signal.removeEventListener("abort", abort);
        // Closes the connection of a reply that was not read to its end; a finished one returns to its pool.
        abort();
      }
    },

    usage() {
      const of = (pool: Pool | undefined): PoolUsage => ({
        connected: pool?.stats.connected ?? 0,
        running: pool?.stats.running ?? 0,
        queued: pool?.stats.queued ?? 0,
      });
      return { control: { ...of(pools?.control), limit: controlConnections }, generation: of(pools?.generation) };
    },

    async close() {
      await loading;
      await Promise.all([pools?.control.destroy(), pools?.generation.destroy()]);
    },
  };
}

/** The reason of every abort; the exchange translates rejections with it. */
const exchangeEnded = new Error("the exchange has ended");

/**
 * A reply in the form that the package reads, whole or line by line, regardless of its content type. A real `Response`
 * over a web stream costs a tenth of a millisecond per call and several turns of the event loop per chunk.
 */
function replyOf(body: AsyncIterable<Uint8Array>, lines: () => AsyncGenerator<Uint8Array>): Response {
  const getReader = () => {
    const chunks = lines();
    return { read: () => chunks.next(), releaseLock: () => undefined };
  };
  const json = async () => parseJson(await textOf(body));
  return { ok: true, status: 200, body: { getReader }, json } as unknown as Response;
}

/**
 * Yields NDJSON by whole lines. Throws for an error line, a line that isn't JSON, a line that is too long and an
 * incomplete last line. The final line (`done`, `success`) is yielded only when the response has ended, so that the
 * connection is free.
 */
async function* wholeLines(
  body: AsyncIterable<Uint8Array>,
  errorOfLine: (line: string) => Error,
  tooLong: (limit: string) => Error,
): AsyncGenerator<Uint8Array> {
  const decoder = new TextDecoder();
  const encoder = new TextEncoder();
  let rest = "";
  let last: string | undefined;
  for await (const chunk of body) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    if (rest.length > maxLineCharacters) throw tooLong(`${formatBytes(maxLineCharacters)} in one line`);
    // Lines that arrive together are yielded together, to save turns of the event loop.
    let whole = "";
    for (const line of lines) {
      if (line.trim() === "") continue;
      const value = parseJson(line) as Record<string, unknown>;
      if ("error" in value) throw errorOfLine(line);
      if (value["done"] === true || value["status"] === "success") last = `${line}\n`;
      else whole += `${line}\n`;
    }
    if (whole !== "") yield encoder.encode(whole);
  }
  if (rest.trim() !== "" || last === undefined) throw new CutOff("the stream ended before its last line");
  yield encoder.encode(last);
}

async function* observed(stream: AsyncIterable<Uint8Array>, touch: () => void): AsyncGenerator<Uint8Array> {
  for await (const chunk of stream) {
    touch();
    yield chunk;
  }
}

/** Throws when the stream exceeds `maxBytes`. */
async function* bounded(
  stream: AsyncIterable<Uint8Array>,
  maxBytes: number,
  tooLong: (limit: string) => Error,
): AsyncGenerator<Uint8Array> {
  let bytes = 0;
  for await (const chunk of stream) {
    bytes += chunk.length;
    if (bytes > maxBytes) throw tooLong(formatBytes(maxBytes));
    yield chunk;
  }
}

async function textOf(body: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of body) chunks.push(chunk);
  return Buffer.concat(chunks).toString("utf8");
}

/** Returns at most the first `maxBytes` of a body as text; the connection closes with the exchange. */
async function beginning(body: AsyncIterable<Uint8Array>, maxBytes: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > maxBytes) break;
  }
  return Buffer.concat(chunks).subarray(0, maxBytes).toString("utf8");
}
