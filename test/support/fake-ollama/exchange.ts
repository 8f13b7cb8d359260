import type { IncomingMessage, ServerResponse } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import type { FakeRequest, Misbehaviour } from "./types.ts";

/** One HTTP exchange of the fake: the request as logged, and the ways to answer it. */
export interface Exchange {
  readonly request: FakeRequest;
  readonly incoming: IncomingMessage;
  /** Aborted when the connection closes, as Ollama cancels a request's context. */
  readonly signal: AbortSignal;
  json(status: number, value: unknown): Promise<void>;
  /** Nested errors of the runner have no charset, others have one; both are JSON. */
  error(status: number, message: string): Promise<void>;
  empty(status: number): void;
  text(status: number, text: string): void;
  /** NDJSON; the status is sent with the first line, as in Ollama. */
  lines(lines: AsyncIterable<unknown>): Promise<void>;
  pause(ms: number): Promise<void>;
}

/** The connection was closed, by the client or by a misbehavior. */
export class ConnectionGone extends Error {}

export function createExchange(
  request: FakeRequest,
  incoming: IncomingMessage,
  response: ServerResponse,
  misbehaviour: Misbehaviour | undefined,
): Exchange {
  const gone = new AbortController();
  response.on("close", () => gone.abort());

  const pause = async (ms: number): Promise<void> => {
    if (gone.signal.aborted) throw new ConnectionGone();
    if (ms <= 0) return;
    await delay(ms, undefined, { signal: gone.signal }).catch(() => {
      throw new ConnectionGone();
    });
  };

  const hang = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const onGone = (): void => reject(new ConnectionGone());
      if (gone.signal.aborted) return onGone();
      gone.signal.addEventListener("abort", onGone, { once: true });
      void misbehaviour?.until?.then(() => {
        gone.signal.removeEventListener("abort", onGone);
        resolve();
      });
    });

  const startOf = async (): Promise<void> => {
    if (misbehaviour?.kind === "drop") {
      incoming.socket.destroy();
      throw new ConnectionGone();
    }
    if (misbehaviour?.kind === "slow") await pause(misbehaviour.delayMs ?? 50);
    if (misbehaviour?.kind === "hang" && (misbehaviour.afterLines ?? 1) === 0) await hang();
  };

  const send = (status: number, type: string | undefined, body: string): void => {
    if (response.destroyed) return;
    response.writeHead(status, type === undefined ? {} : { "content-type": type });
    response.end(body);
  };

  const json = async (status: number, value: unknown): Promise<void> => {
    await startOf();
    if (misbehaviour?.kind === "hang") await hang();
    if (misbehaviour?.kind === "garbage") return send(200, "application/json; charset=utf-8", '{"models": [');
    if (misbehaviour?.kind === "cut") {
      response.writeHead(200, { "content-type": "application/json; charset=utf-8" });
      response.write('{"mod', () => incoming.socket.destroy());
      throw new ConnectionGone();
    }
    send(status, "application/json; charset=utf-8", JSON.stringify(value));
  };

  const misbehaveBetweenLines = async (sent: number): Promise<void> => {
    if (!misbehaviour || sent < (misbehaviour.afterLines ?? 1)) return;
    if (misbehaviour.kind === "hang") await hang();
    if (misbehaviour.kind === "cut") {
      response.write('{"model":"sm', () => incoming.socket.destroy());
      throw new ConnectionGone();
    }
    if (misbehaviour.kind === "garbage" && sent === (misbehaviour.afterLines ?? 1))
      response.write("<html>502</html>\n");
    if (misbehaviour.kind === "error_line") {
      response.end(`${JSON.stringify({ error: misbehaviour.error ?? "unexpected error" })}\n`);
      throw new ConnectionGone();
    }
    if (misbehaviour.kind === "slow") await pause(misbehaviour.delayMs ?? 50);
  };

  const lines = async (source: AsyncIterable<unknown>): Promise<void> => {
    await startOf();
    let sent = 0;
    for await (const line of source) {
      if (gone.signal.aborted) throw new ConnectionGone();
      if (sent === 0) response.writeHead(200, { "content-type": "application/x-ndjson" });
      await misbehaveBetweenLines(sent);
      response.write(`${JSON.stringify(line)}\n`);
      sent += 1;
    }
    response.end();
  };

  return {
    request,
    incoming,
    signal: gone.signal,
    json,
    error: (status, message) => json(status, { error: message }),
    empty: (status) => send(status, undefined, ""),
    text: (status, text) => send(status, "text/plain", text),
    lines,
    pause,
  };
}
