import type { ConfiguredModel, Prices } from "../../api/cost.ts";
import { GenerationFailed, InvalidConfig } from "../../api/errors.ts";
import type { Log } from "../../api/log.ts";
import { advice } from "../../api/next-step.ts";
import type { Trust } from "../../api/types.ts";
import { engineHeader, engineId, isOnThisMachine } from "../../util/ollama-host.ts";
import { parseJson } from "../../util/parse-json.ts";
import type { AddressGuard } from "../address-guard.ts";
import { type Fields, fieldsOf } from "../generation.ts";
import { type Attempt, type Exchange, type LineTaker, Transport } from "../transport.ts";
import { OpenAiErrors } from "./errors.ts";

interface More {
  readonly body?: object;
  readonly isOwn?: boolean;
}

/** Total time of a lookup. */
const controlMs = 10_000;
/** Statuses of a path that a server doesn't have, or has switched off. */
const missing = [404, 405, 501];

/** One server: its addresses, its key and its errors. */
export class OpenAiServer extends Transport<OpenAiErrors> {
  /** Path of the API (`/v1`), and of what llama-server, vLLM and LM Studio have beside it. */
  readonly #api: string;
  readonly #root: string;
  readonly #apiKey: OpenAiOptions["apiKey"];
  readonly #own: Readonly<Record<string, string>>;
  /** Sent so far: none of them may appear in an error. */
  readonly #keys: Set<string>;

  constructor(options: OpenAiOptions, url: URL, guard: AddressGuard) {
    const { connections, connectionKeepAliveMs, limits } = options;
    const pool = { connections, keepAliveMs: connectionKeepAliveMs, connectMs: limits.connectMs };
    const keys = new Set<string>();
    super(url, guard, () => pool, new OpenAiErrors(options.id, url.host, keys));
    this.#keys = keys;
    this.#api = apiPath(url);
    this.#root = this.#api.replace(/\/v\d[^/]*$/, "");
    this.#apiKey = options.apiKey;
    this.#own = isOnThisMachine(url) ? { [engineHeader]: engineId } : {};
  }

  /** POST with JSON, or GET without; below the API's path, or with `isOwn` of what some servers have beside it. */
  async ask(path: string, attempt: Attempt & Partial<Exchange>, signal: AbortSignal, more: More = {}): Promise<Fields> {
    return this.read((await this.#send(path, attempt, signal, more, [200])) ?? "", attempt);
  }

  /** A reply as JSON; a page to sign in becomes the error of an invalid reply. */
  read(text: string, attempt: Attempt): Fields {
    try {
      return fieldsOf(parseJson(text));
    } catch (error) {
      throw this.errors.ofFailure(error, attempt);
    }
  }

  /** GET of a text that not every server has; undefined where it is missing. */
  find(path: string, attempt: Attempt & Partial<Exchange>, signal: AbortSignal, more: More = {}) {
    return this.#send(path, attempt, signal, more, [200, ...missing]);
  }

  async lines(
    exchange: Exchange,
    path: string,
    body: object,
    taker: LineTaker,
    signal: AbortSignal,
    onStart: (fail: (error: Error) => void) => void,
  ): Promise<void> {
    const headers = await this.#headers(exchange);
    await this.stream(exchange, { path: this.#api + path, body, headers }, taker, signal, onStart);
  }

  async #send(
    path: string,
    attempt: Attempt & Partial<Exchange>,
    signal: AbortSignal,
    { body, isOwn = false }: More,
    expected: readonly number[],
  ): Promise<string | undefined> {
    const exchange: Exchange = { pool: "control", bound: { kind: "total", ms: controlMs }, ...attempt };
    return await this.exchange(exchange, signal, async (send) => {
      const headers = await this.#headers(exchange);
      const reply = await send({
        method: body === undefined ? "GET" : "POST",
        path: (isOwn ? this.#root : this.#api) + path,
        headers: body === undefined ? headers : { ...headers, "content-type": "application/json" },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        expected,
      });
      // A server may repeat the key in its list of models, which is shown.
      const text = this.errors.redacted(await reply.text());
      return reply.status === 200 ? text : undefined;
    });
  }

  /** Read for each request: the user may have replaced the key. */
  async #headers(attempt: Attempt): Promise<Readonly<Record<string, string>>> {
    try {
      const key = (await this.#apiKey())?.trim();
      if (key === undefined || key === "") return this.#own;
      if (!/^[\x21-\x7e]+$/.test(key))
        throw new InvalidConfig("its API key contains characters that no key has", {
          next: advice("write nothing but the key into its file or variable"),
        });
      this.#keys.add(key);
      return { ...this.#own, authorization: `Bearer ${key}` };
    } catch (error) {
      throw this.errors.ofKey(error, attempt);
    }
  }
}

/** An exchange of the pool for long calls that may be silent for `ms`. */
export function longCall(what: string, model: string, ms: number, maxReplyBytes: number): Exchange {
  return {
    what,
    model,
    otherwise: GenerationFailed,
    pool: "generation",
    bound: { kind: "stall", ms },
    maxReplyBytes,
  };
}

/** Addresses are given with and without `/v1`; another version, wherever it stands, is left as it is. */
function apiPath({ pathname }: URL): string {
  const path = pathname.replace(/\/+$/, "");
  return path.split("/").some((segment) => /^v\d/.test(segment)) ? path : `${path}/v1`;
}

export interface OpenAiOptions {
  readonly id: string;
  readonly serverKind: "cloud" | "cluster" | "local";
  /** As configured; with `/v1` at its end or without. */
  readonly baseUrl: string;
  /** Decided by the settings. */
  readonly trust: Trust;
  /** Read when it is used. Throws `InvalidConfig` with what to do. */
  readonly apiKey: () => Promise<string | undefined>;
  /** Absent or empty: all models that the server lists. */
  readonly models?: readonly ConfiguredModel[];
  /** For models without prices of their own. */
  readonly prices?: Prices;
  readonly monthlyBudget?: number;
  readonly limits: {
    readonly connectMs: number;
    readonly firstTokenMs: number;
    readonly betweenTokensMs: number;
    readonly totalMs: number;
  };
  readonly connections: number;
  readonly connectionKeepAliveMs: number;
  /** Private addresses (`host` or `host:port`) that the server may have. */
  readonly allowedHosts: readonly string[];
  /** A clock in milliseconds, with any origin. */
  readonly now: () => number;
  readonly log: Log;
}
