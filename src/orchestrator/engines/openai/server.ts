import { type Fields, countIn, fieldsOf, textIn } from "../generation.ts";
import { stat } from "node:fs/promises";
import { EngineUnreachable, UnknownModel, throwIfCancelled, InvalidConfig } from "../../api/errors.ts";
import { advice } from "../../api/next-step.ts";
import type { ConfiguredModel, Prices } from "../../api/cost.ts";
import type { Capability, InstalledModel, ModelFacts, Trust } from "../../api/types.ts";
import { JoinedWorks } from "../../util/joined-work.ts";
import { keyOfName } from "../../util/model-name.ts";
import { defined, fieldsIn, parseJson } from "../../util/values.ts";
import { templateFacts } from "../gguf/header.ts";
import { type ListedModel, contextOf, listedModel, namedModel } from "./dialects.ts";
import type { Log } from "../../api/log.ts";
import { engineHeader, engineId, isOnThisMachine } from "../../util/ollama-host.ts";
import type { AddressGuard } from "../address-guard.ts";
import type { Attempt } from "../failures.ts";
import { type Exchange, type LineTaker, Transport } from "../transport.ts";
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
  readonly allowedHosts: () => readonly string[];
  /** A clock in milliseconds, with any origin. */
  readonly now: () => number;
  readonly log: Log;
}

type TemplateFacts = ReturnType<typeof templateFacts>;

/** How long a list serves descriptions: as long as the inventory keeps it without another. */
const listedMs = 5_000;
const attempt = { what: "listing models", otherwise: EngineUnreachable };

/** The models of one server. */
export class OpenAiModels {
  readonly #server: OpenAiServer;
  readonly #options: OpenAiOptions;
  readonly #isHere: boolean;
  readonly #listings = new JoinedWorks<readonly ListedModel[]>("listing models");
  #newest = { rows: new Map<string, ListedModel>(), atMs: Number.NEGATIVE_INFINITY };
  /** What llama-server's router mode says of a model only while it is loaded. */
  readonly #meta = new Map<string, Fields>();
  /** Sizes of files of a router on this machine, which tells no sizes of models that are not loaded. */
  readonly #fileBytes = new Map<string, number>();
  /** What follows from chat templates, by model and version of it, and by model alone while it is not loaded. */
  readonly #templates = new Map<string, TemplateFacts>();
  #isRouter = false;
  #slots: number | undefined;
  /** Whether it has LM Studio's own list; undefined: not known yet. */
  #hasNativeList: boolean | undefined;

  /** `isHere`: the server is on this machine. */
  constructor(server: OpenAiServer, options: OpenAiOptions, isHere: boolean) {
    this.#server = server;
    this.#options = options;
    this.#isHere = isHere;
  }

  /** The last list was that of llama-server's router mode. */
  get isRouter(): boolean {
    return this.#isRouter;
  }

  /** Answers of a model that llama-server computes at the same time; undefined where the server doesn't tell. */
  get slots(): number | undefined {
    return this.#slots;
  }

  /** Throws `EngineUnreachable`. */
  async list(signal: AbortSignal): Promise<readonly InstalledModel[]> {
    return (await this.rows(signal)).map(({ model }) => model);
  }

  /** Throws `UnknownModel`. */
  async describe(name: string, signal: AbortSignal): Promise<ModelFacts> {
    const { model, embeddingLength, vocabularySize } = await this.row(name, signal, listedMs);
    const { family, capabilities = [], modifiedAt: _, ...facts } = model;
    return {
      ...facts,
      ...defined({ architecture: family, embeddingLength, vocabularySize }),
      capabilities,
    };
  }

  /** The listed model of that name. Throws `UnknownModel`: some servers would answer with another model. */
  async row(name: string, signal: AbortSignal, maxAgeMs = Number.POSITIVE_INFINITY): Promise<ListedModel> {
    throwIfCancelled(signal, `looking for ${name}`);
    const key = keyOfName(name);
    const isOld = this.#options.now() - this.#newest.atMs > maxAgeMs;
    if (isOld || !this.#newest.rows.has(key)) await this.#listings.join("", (joined) => this.rows(joined), signal);
    const row = this.#newest.rows.get(key);
    if (row !== undefined) return row;
    throw new UnknownModel(`${this.#options.id} has no model ${name}`, { next: { step: "listModels" } });
  }

  /** The list may have changed: the next request looks its model up again. */
  forget(): void {
    this.#newest = { rows: new Map(), atMs: Number.NEGATIVE_INFINITY };
  }

  async rows(signal: AbortSignal): Promise<readonly ListedModel[]> {
    const atMs = this.#options.now();
    const all = await this.#listed(signal);
    const rows = this.#options.models?.length ? this.#restricted(all, this.#options.models) : (all ?? []);
    if (atMs >= this.#newest.atMs)
      this.#newest = { rows: new Map(rows.map((row) => [keyOfName(row.model.name), row])), atMs };
    return rows;
  }

  /** Undefined where the server has no list and the settings do. */
  async #listed(signal: AbortSignal): Promise<readonly ListedModel[] | undefined> {
    const reply = await this.#server.find("/models", attempt, signal);
    const { data } = reply === undefined ? {} : this.#server.read(reply, attempt);
    if (!Array.isArray(data) && this.#options.models?.length) return undefined;
    if (!Array.isArray(data))
      throw new EngineUnreachable(`${this.#options.id} has no list of models`, {
        next: advice("name its models in the setting providers.openai, and check its baseUrl there"),
      });
    const native = await this.#nativeList(data.map(fieldsOf), signal);
    const rows = data.map(fieldsOf).flatMap((fields) => {
      const id = String(fields["id"]);
      const current = fieldsOf(fields["meta"]);
      if (current["n_ctx"] !== undefined) this.#meta.set(id, current);
      const row = listedModel({ ...fields, ...native.get(id) }, this.#meta.get(id) ?? {}, this.#options.trust);
      return row === undefined ? [] : [row];
    });
    this.#isRouter = rows.some(({ status }) => status !== undefined);
    return await Promise.all(rows.map(async (row) => this.#templated(await this.#sized(row), signal)));
  }

  async #sized(row: ListedModel): Promise<ListedModel> {
    const { file, model } = row;
    if (file === undefined || model.sizeBytes > 0 || !this.#isHere) return row;
    if (!this.#fileBytes.has(file)) {
      const found = await stat(file).catch(() => undefined);
      if (found !== undefined) this.#fileBytes.set(file, found.size);
    }
    return { ...row, model: { ...model, sizeBytes: this.#fileBytes.get(file) ?? 0 } };
  }

  /** llama-server tells its chat template, and with it whether the model thinks. */
  async #templated(row: ListedModel, signal: AbortSignal): Promise<ListedModel> {
    const { id, model, ownNames, status, vocabularySize } = row;
    if (ownNames === undefined && status !== "loaded") return this.#withTemplate(row, this.#templates.get(id));
    const key = JSON.stringify([id, model.sizeBytes, model.parameterSize, vocabularySize]);
    let facts = this.#templates.get(key);
    if (facts === undefined) {
      const query = status === undefined ? "" : `?model=${encodeURIComponent(id)}`;
      const props = await this.#additional(`/props${query}`, signal);
      // It is asked again with the next list.
      if (props === undefined) return this.#withTemplate(row, this.#templates.get(id));
      this.#slots = countIn(props["total_slots"]) || undefined;
      facts = templateFacts(textIn(props["chat_template"]) ?? "");
      this.#templates.set(key, facts).set(id, facts);
    }
    return this.#withTemplate(row, facts);
  }

  #withTemplate(row: ListedModel, facts: TemplateFacts | undefined): ListedModel {
    const { model } = row;
    if (facts === undefined || model.capabilities?.includes("completion") !== true) return row;
    const more: readonly Capability[] = [
      ...(facts.hasTools ? (["tools"] as const) : []),
      ...(facts.hasThinking ? (["thinking"] as const) : []),
    ];
    return { ...row, model: { ...model, capabilities: [...model.capabilities, ...more] } };
  }

  /** LM Studio has a list of its own, which alone has windows and types. */
  async #nativeList(plain: readonly Fields[], signal: AbortSignal): Promise<ReadonlyMap<string, Fields>> {
    const isPlain = plain.length > 0 && plain.every((fields) => contextOf(fields) === undefined && !fields["status"]);
    if (!isPlain || this.#options.serverKind !== "local" || this.#hasNativeList === false) return new Map();
    const reply = await this.#additional("/api/v0/models", signal);
    if (reply === undefined) return new Map();
    const { data } = reply;
    this.#hasNativeList = Array.isArray(data);
    const rows = Array.isArray(data) ? data.map(fieldsOf) : [];
    return new Map(rows.map((fields) => [String(fields["id"]), fields]));
  }

  /** What some servers have beside the API; empty where it is missing or no JSON, undefined if the request failed. */
  async #additional(path: string, signal: AbortSignal): Promise<Fields | undefined> {
    const { id, log } = this.#options;
    try {
      const text = await this.#server.find(path, attempt, signal, { isOwn: true });
      // A page instead of JSON has none: some servers answer every path with one.
      return text === undefined ? {} : fieldsIn(text);
    } catch (error) {
      throwIfCancelled(signal, attempt.what);
      log.debug(`${id}: no reply at ${path}: ${String(error)}`);
      return undefined;
    }
  }

  /** The configured models that the server lists; all of them where it has no list. */
  #restricted(listed: readonly ListedModel[] | undefined, configured: readonly ConfiguredModel[]) {
    const byKey = new Map(listed?.map((row) => [keyOfName(row.id), row]));
    return configured.flatMap(({ name, contextTokens, capabilities }) => {
      const found = byKey.get(keyOfName(name));
      if (found === undefined && listed !== undefined) return [];
      const row = found ?? namedModel(name, this.#options.trust);
      const stated = defined({ name, contextTokens, capabilities });
      return [{ ...row, model: { ...row.model, ...stated } }];
    });
  }
}
