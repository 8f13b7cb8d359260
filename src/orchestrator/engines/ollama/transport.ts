import type { Ollama } from "ollama/browser";
import { type OllamaHost, engineHeader } from "../../util/ollama-host.ts";
import { defined, parseJson } from "../../util/values.ts";
import type { AddressGuard } from "../address-guard.ts";
import type { PoolOptions } from "../connection-pools.ts";
import { CutOff } from "../failures.ts";
import { Transport, type Exchange, type LineTaker } from "../transport.ts";
import { OllamaErrors } from "./errors.ts";
import { GenerationFailed } from "../../api/errors.ts";

declare global {
  /** The `ollama` package's declarations expect the browser's types. */
  type HeadersInit = ConstructorParameters<typeof Headers>[0];
}

/** One exchange's client: everything sent through it ends with the exchange. */
interface Client {
  readonly ollama: Ollama;
  /** For requests that the package lacks (blobs). Returns the status; throws for one that is not `expected`. */
  send(
    method: "HEAD" | "POST",
    path: string,
    expected: readonly number[],
    body?: { readonly stream: AsyncIterable<Uint8Array>; readonly bytes: number },
  ): Promise<number>;
}

/** One line of a streamed reply, unchecked. */
export type Line = Readonly<Record<string, unknown>>;

const ownHeaders = { [engineHeader]: "ollama" };
const importOllama = () => import("ollama/browser");

/**
 * The `ollama` package for calls with one reply; streams are parsed here, which takes a third of the time. Error responses
 * never reach the package: it prints them to stdout, which is reserved for the protocol.
 */
export class OllamaTransport extends Transport<OllamaErrors> {
  readonly #baseUrl: string;
  readonly #basePath: string;
  #ollama: Awaited<ReturnType<typeof importOllama>> | undefined;

  constructor(host: OllamaHost, guard: AddressGuard, poolOptions: () => PoolOptions) {
    const url = new URL(host.baseUrl);
    super(url, guard, poolOptions, new OllamaErrors(host.label));
    this.#baseUrl = host.baseUrl;
    this.#basePath = url.pathname.replace(/\/$/, "");
  }

  /**
   * Posts `body` and passes each line of the streamed reply to `take`, at most `bound.ms` after the one before; the last
   * one (`done`, `success`) when the response has ended, so that the connection is free. Throws as `exchange` does, also
   * for an error line, a line that isn't JSON or too long, and a stream that ends before its last line.
   */
  async lines(
    exchange: Exchange,
    { path, body }: { readonly path: string; readonly body: object },
    take: (line: Line) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const { errors } = this;
    let last: Line | undefined;
    const taker: LineTaker = {
      line(text) {
        const value = parseJson(text) as Line;
        if ("error" in value) throw errors.ofReply({ status: 200, text }, exchange);
        if (value["done"] === true || value["status"] === "success") last = value;
        else take(value);
      },
      end(rest) {
        if (rest.trim() !== "" || last === undefined) throw new CutOff("the stream ended before its last line");
        take(last);
      },
    };
    await this.stream(exchange, { path: this.#basePath + path, headers: ownHeaders, body }, taker, signal);
  }

  /** `exchange` with a client. */
  ask<Result>(exchange: Exchange, signal: AbortSignal, talk: (client: Client) => Promise<Result>): Promise<Result> {
    return this.exchange(exchange, signal, async (send) => {
      const { Ollama } = (this.#ollama ??= await importOllama());
      const fetch = async (url: unknown, init: RequestInit = {}): Promise<Response> => {
        const { body } = init;
        const reply = await send({
          method: (init.method ?? "GET") as "GET" | "POST" | "DELETE",
          path: new URL(String(url)).pathname,
          headers: { ...(init.headers as Record<string, string>), ...ownHeaders },
          ...(typeof body === "string" ? { body } : {}),
        });
        // All that the package reads: a real `Response` over a web stream costs a tenth of a millisecond.
        return { ok: true, status: 200, json: async () => parseJson(await reply.text()) } as unknown as Response;
      };
      return await talk({
        ollama: new Ollama({ host: this.#baseUrl, fetch }),
        send: async (method, path, expected, body) => {
          const headers = { ...ownHeaders, ...(body && { "content-length": String(body.bytes) }) };
          const content = body ? { body: body.stream } : {};
          const reply = await send({ method, path: this.#basePath + path, expected, headers, ...content });
          await reply.text();
          return reply.status;
        },
      });
    });
  }
}

/** Timeouts in milliseconds. */
export const defaultTimeouts = {
  /** Total time of a health check. */
  healthMs: 2_000,
  /** Total time of a lookup or a deletion. */
  controlMs: 10_000,
  /** Time without a byte during a load, prefill or answer. Loading large weights takes minutes. */
  stallMs: 600_000,
  /** Time without progress of a download. */
  pullStallMs: 60_000,
  /** Time from an unload until its memory is free. */
  unloadMs: 30_000,
};
export type OllamaTimeouts = Readonly<typeof defaultTimeouts>;

/** A short call on the control pool with a total timeout. */
export function controlCall(
  timeouts: OllamaTimeouts,
  what: string,
  model?: string,
  otherwise: Exchange["otherwise"] = GenerationFailed,
): Exchange {
  return {
    what,
    ...defined({ model }),
    otherwise,
    pool: "control",
    bound: { kind: "total", ms: timeouts.controlMs },
  };
}
