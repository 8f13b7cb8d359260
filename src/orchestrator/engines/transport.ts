import { randomBytes } from "node:crypto";
import { Readable } from "node:stream";
import type { Dispatcher } from "undici";
import { Cancelled, throwIfCancelled } from "../api/errors.ts";
import type { CallerContext } from "../api/types.ts";
import type { ConnectionUsage } from "../api/facade-status.ts";
import { formatBytes } from "../util/format-bytes.ts";
import type { AddressGuard } from "./address-guard.ts";
import type { Attempt, ErrorReply, Headers, TransportErrors } from "./failures.ts";
import { type PoolName, type PoolOptions, createPools } from "./connection-pools.ts";

/** One exchange with the server: what it is (`Attempt`) and how it is carried out. */
export interface Exchange extends Attempt {
  readonly pool: PoolName;
  /** `total` limits the whole exchange, `stall` the time without a byte. */
  /** `firstMs`: until a streamed reply begins, if that may take longer. */
  readonly bound: { readonly kind: "total" | "stall"; readonly ms: number; readonly firstMs?: number };
  /** Maximum size of the reply; a longer one is aborted and fails. Default 4 MB. */
  readonly maxReplyBytes?: number;
  readonly trace?: CallerContext["trace"];
}

/** A call that may take minutes and be silent for `ms`, on a connection of its own. */
export function longCall(
  what: string,
  ms: number,
  model: string,
  otherwise: Exchange["otherwise"],
  maxReplyBytes?: number,
): Exchange {
  const bound = { kind: "stall", ms } as const;
  return { what, model, otherwise, pool: "generation", bound, ...(maxReplyBytes !== undefined && { maxReplyBytes }) };
}

interface Request {
  readonly method: "GET" | "HEAD" | "POST" | "DELETE";
  /** With the base path. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | AsyncIterable<Uint8Array>;
  /** Any other status is an error. */
  readonly expected?: readonly number[];
}

interface Reply {
  readonly status: number;
  /** The whole body. */
  text(): Promise<string>;
}

/** Takes the lines of a streamed reply. What it throws ends the exchange. */
export interface LineTaker {
  /** A line that isn't blank, without its line feed. */
  line(text: string): void;
  /** The response has ended, after `rest`, the beginning of a line. */
  end(rest: string): void;
}

/** Enough for a list of ten thousand models. */
const defaultReplyBytes = 4_000_000;
/** Maximum length of one line of a stream: a token has about a hundred characters, an error a few thousand. */
const maxLineCharacters = 1_000_000;
/** How much of an error response is read. */
const maxErrorBytes = 64_000;

/**
 * Exchanges with one server over undici. Redirects are not followed, so that a server can't send text elsewhere. `guard`
 * checks the address of every connection.
 */
export class Transport<Errors extends TransportErrors> {
  readonly #pools: ReturnType<typeof createPools>;
  readonly #origin: string;
  readonly errors: Errors;

  constructor(url: URL, guard: AddressGuard, poolOptions: () => PoolOptions, errors: Errors) {
    this.#pools = createPools(url, guard, poolOptions);
    this.#origin = url.origin;
    this.errors = errors;
  }

  /**
   * Posts `body` and passes the lines of the streamed reply to `taker`, each at most `bound.ms` after the one before;
   * `onStart` gets a function that ends the exchange with an error instead, and limits the time itself. Throws as
   * `exchange` does.
   */
  async stream(
    exchange: Exchange,
    { path, headers, body }: Pick<Request, "path" | "headers"> & { readonly body: object },
    taker: LineTaker,
    signal: AbortSignal,
    onStart?: (fail: (error: Error) => void) => void,
  ): Promise<void> {
    const errors = this.errors;
    try {
      const undici = await this.#pools.undici();
      // A listener on a signal that has aborted would never be called.
      signal.throwIfAborted();
      const { maxReplyBytes = defaultReplyBytes, bound } = exchange;
      await new Promise<void>((resolve, reject) => {
        const reader = createLineReader({
          taker,
          maxBytes: maxReplyBytes,
          errorOfReply: (reply) => errors.ofReply(reply, exchange),
          tooLong: (limit) => errors.ofLength(limit, exchange),
          settle(error) {
            signal.removeEventListener("abort", abort);
            if (error === undefined) resolve();
            else reject(error);
          },
        });
        const abort = (): void => reader.fail(exchangeEnded);
        signal.addEventListener("abort", abort, { once: true });
        onStart?.((error) => reader.fail(error));
        this.#pools.poolFor("generation", undici).dispatch(
          {
            path,
            method: "POST",
            headers: {
              "content-type": "application/json",
              ...headers,
              ...(exchange.trace?.flags && traceHeaders(exchange.trace)),
            },
            body: JSON.stringify(body),
            headersTimeout: onStart === undefined ? (bound.firstMs ?? bound.ms) : 0,
            bodyTimeout: onStart === undefined ? bound.ms : 0,
          },
          reader,
        );
      });
    } catch (error) {
      if (signal.aborted) throw new Cancelled(`${exchange.what} was cancelled`, { cause: signal.reason });
      const { code = "" } = error as NodeJS.ErrnoException;
      const { ms, firstMs = ms } = exchange.bound;
      if (code === "UND_ERR_HEADERS_TIMEOUT") throw errors.ofTimeout(firstMs, exchange);
      if (code === "UND_ERR_BODY_TIMEOUT") throw errors.ofTimeout(ms, exchange);
      throw errors.ofFailure(error, exchange);
    }
  }

  /**
   * Runs `talk` with a `send` whose connections close when `signal` aborts, the timeout expires, or `talk` ends. Throws
   * `Cancelled` for an aborted signal (without a request if it was aborted before) and translates every other error.
   */
  async exchange<Result>(
    exchange: Exchange,
    signal: AbortSignal,
    talk: (send: (request: Request) => Promise<Reply>) => Promise<Result>,
  ): Promise<Result> {
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
      const undici = await this.#pools.undici();
      return await talk(async ({ path, expected = [200], body, headers = {}, method }) => {
        const reply = await undici.request(`${this.#origin}${path}`, {
          method,
          headers,
          body: body === undefined || typeof body === "string" ? (body ?? null) : Readable.from(observed(body, touch)),
          dispatcher: this.#pools.poolFor(exchange.pool, undici),
          signal: controller.signal,
        });
        touch();
        const status = reply.statusCode;
        if (!expected.includes(status)) {
          const text = await textOf(reply.body, maxErrorBytes);
          throw this.errors.ofReply({ status, text, headers: reply.headers }, exchange);
        }
        const { maxReplyBytes = defaultReplyBytes } = exchange;
        const tooLong = (): Error => this.errors.ofLength(formatBytes(maxReplyBytes), exchange);
        return { status, text: () => textOf(observed(reply.body, touch), maxReplyBytes, tooLong) };
      });
    } catch (error) {
      if (signal.aborted) throw new Cancelled(`${exchange.what} was cancelled`, { cause: signal.reason });
      if (isTimedOut) throw this.errors.ofTimeout(exchange.bound.ms, exchange);
      throw this.errors.ofFailure(error, exchange);
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", abort);
      // Closes the connection of a reply that was not read to its end; a finished one returns to its pool.
      abort();
    }
  }

  usage(): ConnectionUsage {
    return this.#pools.usage();
  }

  close(): Promise<void> {
    return this.#pools.close();
  }
}

/** A request is a span of its own, so its id is a new one. */
function traceHeaders({ id, flags, state }: NonNullable<Exchange["trace"]>): Readonly<Record<string, string>> {
  const traceparent = `00-${id}-${randomBytes(8).toString("hex")}-${flags}`;
  return { traceparent, ...(state !== undefined && { tracestate: state }) };
}

/** The reason of every abort; the exchange translates rejections with it. */
const exchangeEnded = new Error("the exchange has ended");

interface ReaderOptions {
  readonly taker: LineTaker;
  readonly maxBytes: number;
  readonly errorOfReply: (reply: ErrorReply) => Error;
  readonly tooLong: (limit: string) => Error;
  readonly settle: (error?: unknown) => void;
}

/** Reads one streamed reply, line by line. Ends once: with the response, or with the first failure. */
function createLineReader({ taker, maxBytes, errorOfReply, tooLong, settle }: ReaderOptions) {
  const decoder = new TextDecoder();
  let opened: Dispatcher.DispatchController | undefined;
  let status = 200;
  let headers: Headers = {};
  let bytes = 0;
  /** The beginning of a line; of an error response, its text. */
  let rest = "";
  let isOver = false;
  const errorOf = (): Error => errorOfReply({ status, text: rest, headers });

  /** Rejects at once; the connection closes, or is not used if it isn't open yet. */
  function fail(error: unknown): void {
    if (isOver) return;
    isOver = true;
    opened?.abort(exchangeEnded);
    settle(error);
  }

  function readError(text: string): void {
    rest = text.slice(0, maxErrorBytes);
    if (bytes > maxErrorBytes) throw errorOf();
  }

  return {
    fail,
    onRequestStart(controller) {
      opened = controller;
      if (isOver) controller.abort(exchangeEnded);
    },
    onResponseStart: (_controller, statusCode, given) => void ([status, headers] = [statusCode, given]),
    onResponseData(_controller, chunk) {
      if (isOver) return;
      bytes += chunk.length;
      const text = rest + decoder.decode(chunk, { stream: true });
      try {
        if (status !== 200) return readError(text);
        if (bytes > maxBytes) throw tooLong(formatBytes(maxBytes));
        let start = 0;
        for (let end = text.indexOf("\n"); end !== -1; end = text.indexOf("\n", start)) {
          const line = text.slice(start, end);
          start = end + 1;
          if (line.trim() === "") continue;
          taker.line(line);
          if (isOver) return;
        }
        rest = text.slice(start);
        if (rest.length > maxLineCharacters) throw tooLong(`${formatBytes(maxLineCharacters)} in one line`);
      } catch (error) {
        fail(error);
      }
    },
    onResponseEnd() {
      if (isOver) return;
      if (status !== 200) return fail(errorOf());
      try {
        taker.end(rest);
      } catch (error) {
        return fail(error);
      }
      isOver = true;
      settle();
    },
    onResponseError: (_controller, error) => fail(error),
  } satisfies Dispatcher.DispatchHandler & { readonly fail: unknown };
}

async function* observed(stream: AsyncIterable<Uint8Array>, touch: () => void): AsyncGenerator<Uint8Array> {
  for await (const chunk of stream) {
    touch();
    yield chunk;
  }
}

/** At most the first `maxBytes` of a body as text, or the error `tooLong`; the connection closes with the exchange. */
async function textOf(body: AsyncIterable<Uint8Array>, maxBytes: number, tooLong?: () => Error): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes <= maxBytes) continue;
    if (tooLong !== undefined) throw tooLong();
    break;
  }
  return Buffer.concat(chunks).subarray(0, maxBytes).toString("utf8");
}
