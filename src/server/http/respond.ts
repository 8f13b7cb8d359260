import type { IncomingMessage, ServerResponse } from "node:http";
import { isTooDeep, maxJsonDepth, orUndefined } from "../../orchestrator/util/values.ts";
import type { Timers } from "../../orchestrator/util/timers.ts";

/** Parts of an error answer. */
interface ErrorAnswer {
  readonly status: number;
  readonly message: string;
  readonly code?: number;
  readonly id?: string | number | null;
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

/** Headers of every answer: not cached, and its content type not guessed. */
export const commonHeaders = { "cache-control": "no-store", "x-content-type-options": "nosniff" } as const;

/** The JSON-RPC form of an HTTP error. */
export function errorBody({ message, code = -32_000, id = null }: Omit<ErrorAnswer, "status">): string {
  return JSON.stringify({ jsonrpc: "2.0", error: { code, message }, id });
}

export function answerJson(response: ServerResponse, status: number, body: string, headers: object = {}): void {
  if (response.headersSent || response.destroyed) return;
  response.writeHead(status, {
    ...commonHeaders,
    "content-type": "application/json",
    "content-length": Buffer.byteLength(body),
    ...headers,
  });
  response.end(body);
}

/** Limit of the discarded body of a rejected request; more than an honest client still sends. */
const maxSwallowedBytes = 16 * 1024 * 1024;
const swallowMs = 2_000;

/**
 * Answers with an error. An unread body is discarded, for a bounded time and size, and then the connection is closed:
 * closing at once would lose the answer for clients that are still sending.
 */
export function answerError(request: IncomingMessage, response: ServerResponse, answer: ErrorAnswer): void {
  answerBody(request, response, { ...answer, body: errorBody(answer) });
}

/** The same with the body of another protocol. */
export function answerBody(
  request: IncomingMessage,
  response: ServerResponse,
  answer: Pick<ErrorAnswer, "status" | "headers"> & { readonly body: string },
): void {
  const isUnread = !request.readableEnded && request.method !== "GET" && request.method !== "HEAD";
  answerJson(response, answer.status, answer.body, { ...answer.headers, ...(isUnread && { connection: "close" }) });
  if (!isUnread) return;
  let swallowedBytes = 0;
  request.on("data", (chunk: Buffer) => {
    swallowedBytes += chunk.length;
    if (swallowedBytes > maxSwallowedBytes) request.destroy();
  });
  request.on("error", () => undefined);
  const timer = setTimeout(() => request.destroy(), swallowMs);
  timer.unref();
  request.once("close", () => clearTimeout(timer));
  request.resume();
}

/** Limits for data that a client does not read. */
export interface StreamLimits {
  /** With more unread bytes than this the connection is closed instead of written to. */
  readonly maxUnreadBytes: number;
  /**
   * How long data may stay unread, plus the same again per MiB, because progress in reading a large answer is visible only
   * at its end.
   */
  readonly maxStallMs: number;
}

export const streamLimits: StreamLimits = { maxUnreadBytes: 4 * 1024 * 1024, maxStallMs: 60_000 };

/**
 * Closes the connection of a client that does not read. Call `hasRoom` before every write (false: the connection was
 * closed) and `wrote` after it, since the last message may be the one that is not read. A single message may have any
 * size; the limit is for what accumulates behind it.
 */
export function watchReader(response: ServerResponse, limits: StreamLimits, onCut: (why: string) => void) {
  let timer: NodeJS.Timeout | undefined;
  let isCut = false;
  const cut = (why: string): void => {
    if (isCut) return;
    isCut = true;
    onCut(why);
    response.destroy();
  };
  const settle = (): void => {
    clearTimeout(timer);
    timer = undefined;
  };
  const watchIfStuck = (): void => {
    // `drain` fires only when everything is read, so a slow reader is recognised by checking again.
    if (response.writableLength > 0 && timer === undefined) watch();
  };
  response.on("drain", settle);
  response.on("finish", settle);
  response.on("close", settle);
  return {
    hasRoom() {
      if (isCut || response.destroyed) return false;
      if (response.writableLength > limits.maxUnreadBytes) {
        cut(`it left ${response.writableLength} bytes unread`);
        return false;
      }
      if (response.writableNeedDrain) watchIfStuck();
      return true;
    },
    wrote: watchIfStuck,
    close: settle,
  };

  function watch(): void {
    const before = takenBytes();
    timer = setTimeout(
      () => {
        timer = undefined;
        // A small write that is read at once causes no `drain`.
        if (takenBytes() === before && response.writableLength > 0) {
          cut(`it left ${response.writableLength} bytes unread for too long`);
        } else watchIfStuck();
      },
      limits.maxStallMs * (1 + response.writableLength / 2 ** 20),
    );
    timer.unref();
  }

  /** What the system has taken for the client: grows while it reads. */
  function takenBytes(): number {
    const { socket } = response;
    return socket === null ? 0 : socket.bytesWritten - socket.writableLength;
  }
}

/**
 * Writes a web `Response`, streams included, holding at most `limits` of it. Resolves when the answer is sent, or when the
 * client has disconnected; then its body is cancelled.
 */
export async function sendWebResponse(
  from: Response,
  response: ServerResponse,
  limits: StreamLimits,
  onCut: (why: string) => void,
): Promise<void> {
  if (response.destroyed) return from.body?.cancel();
  const headers = new Headers(from.headers);
  // Node decides whether the connection stays open: the SDK's streams would keep it open against the client's request.
  headers.delete("connection");
  response.writeHead(from.status, { ...commonHeaders, ...Object.fromEntries(headers) });
  if (from.body === null) return void response.end();
  response.flushHeaders();
  const reader = from.body.getReader();
  const watcher = watchReader(response, limits, onCut);
  const stop = (): void => void reader.cancel().catch(() => undefined);
  response.once("close", stop);
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done || !watcher.hasRoom()) break;
      response.write(value);
      if (response.writableNeedDrain) watcher.wrote();
    }
  } finally {
    response.off("close", stop);
    if (response.destroyed) {
      watcher.close();
      stop();
    } else {
      response.end();
      watcher.wrote();
    }
  }
}

/** The same limit as for a line over stdio. `seconds` bounds the time, too; absent: the server's `requestTimeout` does. */
const callBody: { readonly maxBytes: number; readonly seconds?: number } = { maxBytes: 4 * 1024 * 1024 };

type ReadBody =
  | { readonly kind: "json"; readonly value: unknown; readonly bytes: Buffer }
  | { readonly kind: "failed"; readonly status: number; readonly code: number; readonly message: string }
  /** The client went away. */
  | { readonly kind: "gone" };

/** Reads a request's JSON body within `limits`. */
export async function readBody(
  request: IncomingMessage,
  response: ServerResponse,
  timers: Timers,
  { maxBytes, seconds } = callBody,
): Promise<ReadBody> {
  const limit = maxBytes < 2 ** 20 ? `${maxBytes / 1024} KiB` : `${maxBytes / 2 ** 20} MiB; name files instead`;
  const tooLarge = failed(413, `the body exceeds the limit of ${limit}`);
  if (Number(request.headers["content-length"] ?? 0) > maxBytes) return tooLarge;
  // Sent only after head and size have passed the checks.
  if (request.headers.expect !== undefined) response.writeContinue();
  const chunks: Buffer[] = [];
  let bytes = 0;
  const end = await new Promise<"whole" | "gone" | "large" | "late">((resolve) => {
    const stop = (why: "large" | "late"): void => {
      // The rest is drained with the answer: left unread, it would cut the answer off.
      request.off("data", take);
      request.pause();
      resolve(why);
    };
    const take = (chunk: Buffer): void => {
      bytes += chunk.length;
      if (bytes <= maxBytes) chunks.push(chunk);
      else stop("large");
    };
    const cancel = seconds === undefined ? undefined : timers.after(seconds * 1_000, () => stop("late"));
    request.on("data", take);
    request.once("end", () => resolve("whole"));
    request.once("error", () => resolve("gone"));
    request.once("close", () => {
      cancel?.();
      resolve("gone");
    });
  });
  if (end === "gone") return { kind: "gone" };
  if (end === "large") return tooLarge;
  if (end === "late") return failed(408, `the body did not arrive within ${seconds} seconds`);
  const whole = Buffer.concat(chunks);
  const text = whole.toString("utf8");
  if (isTooDeep(text)) return failed(400, `the body nests deeper than ${maxJsonDepth} levels`);
  const value: unknown = orUndefined(() => JSON.parse(text));
  return value === undefined ? failed(400, "the body is not JSON", -32_700) : { kind: "json", value, bytes: whole };
}

function failed(status: number, message: string, code = -32_600): ReadBody {
  return { kind: "failed", status, code, message };
}

/** The request's head for the SDK, which gets the parsed body separately. The token is left out. */
export function webRequest(request: IncomingMessage, base: string, signal: AbortSignal): Request {
  const headers = new Headers();
  for (const [name, value] of Object.entries(request.headers)) {
    if (value === undefined || hiddenHeaders.has(name)) continue;
    headers.set(name, Array.isArray(value) ? value.join(", ") : value);
  }
  return new Request(new URL(request.url ?? "/", base), { method: request.method ?? "GET", headers, signal });
}

const hiddenHeaders: ReadonlySet<string> = new Set(
  "authorization cookie connection content-length transfer-encoding expect".split(" "),
);

/** Headers of the answer to a preflight of an approved origin. */
export const preflightHeaders = {
  ...commonHeaders,
  "access-control-allow-methods": "GET, POST, DELETE",
  "access-control-allow-headers":
    "authorization, content-type, accept, last-event-id, mcp-session-id, mcp-protocol-version, mcp-method, mcp-name",
  "access-control-max-age": "600",
} as const;
