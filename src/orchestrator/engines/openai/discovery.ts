import { type Fields, countIn, fieldsOf, textIn } from "../generation.ts";
import { stat } from "node:fs/promises";
import { EngineUnreachable, UnknownModel, throwIfCancelled } from "../../api/errors.ts";
import { advice } from "../../api/next-step.ts";
import type { ConfiguredModel } from "../../api/cost.ts";
import type { Capability, InstalledModel, ModelFacts } from "../../api/types.ts";
import { JoinedWorks } from "../../util/joined-work.ts";
import { keyOfName } from "../../util/model-name.ts";
import { fieldsIn } from "../../util/parse-json.ts";
import { templateFacts } from "../gguf/header.ts";
import { type ListedModel, contextOf, listedModel, namedModel } from "./dialects.ts";
import type { OpenAiOptions, OpenAiServer } from "./server.ts";
import { defined } from "../../util/defined.ts";

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
  #restricted(
    listed: readonly ListedModel[] | undefined,
    configured: readonly ConfiguredModel[],
  ): readonly ListedModel[] {
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
