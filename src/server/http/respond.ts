import type { IncomingMessage, ServerResponse } from "node:http";

/** Parts of an error answer. */
export interface ErrorAnswer {
  readonly status: number;
  readonly message: string;
  readonly code?: number;
  readonly id?: string | number | null;
  readonly headers?: Readonly<Record<string, string>>;
}

/** On every answer: it is for whoever asked, and is what it says it is. */
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

/** Swallowed of a refused body, so that the client gets to read why; far more than an honest client still sends. */
const maxSwallowedBytes = 16 * 1024 * 1024;
const swallowMs = 2_000;

/**
 * Answers with an error. A body that was not read yet is thrown away unread, for a bounded time and size, and the
 * connection is closed: cutting it at once would take the answer from clients that are still sending.
 */
export function answerError(request: IncomingMessage, response: ServerResponse, answer: ErrorAnswer): void {
  const isUnread = !request.readableEnded && request.method !== "GET" && request.method !== "HEAD";
  answerJson(response, answer.status, errorBody(answer), {
    ...answer.headers,
    ...(isUnread && { connection: "close" }),
  });
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

/** Bounds for what a client does not read. */
export interface StreamLimits {
  /** Waiting bytes on top of which nothing more is written: the connection is cut instead. */
  readonly maxUnreadBytes: number;
  /**
   * So long may something wait without being taken, and so long again for each MiB: that a large answer is being read
   * shows only at its end.
   */
  readonly maxStallMs: number;
}

export const streamLimits: StreamLimits = { maxUnreadBytes: 4 * 1024 * 1024, maxStallMs: 60_000 };

/**
 * Cuts the connection of a client that does not read. `hasRoom` is asked before every write: false says that the
 * connection was cut; `wrote` is told after it, since the last message may be the one that is not taken. One message may
 * be as large as it likes; what is bounded is what piles up behind it.
 */
export function watchReader(
  response: ServerResponse,
  limits: StreamLimits,
  onCut: (why: string) => void,
): { hasRoom(): boolean; wrote(): void; close(): void } {
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
    // `drain` comes when all is read, so a reader that is slow but reads is given the time by asking again.
    if (response.writableLength > 0 && timer === undefined) watch(response.writableLength);
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

  function watch(waitingBytes: number): void {
    timer = setTimeout(
      () => {
        const now = response.writableLength;
        if (now >= waitingBytes) cut(`it left ${now} bytes unread for too long`);
        else watch(now);
      },
      limits.maxStallMs * (1 + waitingBytes / 2 ** 20),
    );
    timer.unref();
  }
}

/**
 * Writes a web `Response`, streams included, without ever holding more than `limits` of it. Resolves when the answer is
 * sent or the client is gone; its body is cancelled then.
 */
export async function sendWebResponse(
  from: Response,
  response: ServerResponse,
  limits: StreamLimits,
  onCut: (why: string) => void,
): Promise<void> {
  if (response.destroyed) {
    await from.body?.cancel();
    return;
  }
  const headers = new Headers(from.headers);
  // Whether the connection stays open is between Node and the client: the SDK's streams would keep it against its wish.
  headers.delete("connection");
  response.writeHead(from.status, { ...commonHeaders, ...Object.fromEntries(headers) });
  if (from.body === null) {
    response.end();
    return;
  }
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
