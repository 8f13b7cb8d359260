import {
  EngineUnreachable,
  GenerationFailed,
  InvalidConfig,
  OrchestratorError,
  throwIfCancelled,
  LoadFailed,
  UnloadUnconfirmed,
} from "../../api/errors.ts";
import { advice } from "../../api/next-step.ts";
import { isOnThisMachine } from "../../util/ollama-host.ts";
import { createAddressGuard } from "../address-guard.ts";
import type { Engine, EngineEmbedding, EngineHealth, EngineLoad, EngineResidency, ResidentModel } from "../engine.ts";
import { longCall } from "../transport.ts";
import { embeddedTokens, fieldsOf, textIn } from "../generation.ts";
import { createChat } from "./chat.ts";
import { OpenAiModels, type OpenAiOptions, OpenAiServer } from "./server.ts";
import { defined, parseJson } from "../../util/values.ts";
import type { ListedModel } from "./dialects.ts";
import { setTimeout as delay } from "node:timers/promises";
import { keyOfName } from "../../util/model-name.ts";

/**
 * The adapter of one server with an OpenAI-compatible API: a cloud, a cluster's load balancer, or a server of this machine or
 * network. Opens no connection and loads no HTTP package before the first call. Throws `InvalidConfig` for an invalid
 * address.
 */
export function createOpenAiEngine(options: OpenAiOptions): Engine {
  const url = addressOf(options);
  const { id, trust, prices, monthlyBudget } = options;
  const guard = createAddressGuard({
    allowedHosts: options.allowedHosts,
    isLoopbackAllowed: true,
    refuse: (message, next) => new EngineUnreachable(`${id} at ${message}`, { next }),
  });
  const server = new OpenAiServer(options, url, guard);
  const isHere = isOnThisMachine(url);
  const models = new OpenAiModels(server, options, isHere);
  const status = createStatus(server, models, options);
  const residency = createRouterResidency(server, models, options);
  const pricesByModel = new Map(options.models?.map((model) => [model.name, model.prices]));

  return {
    id,
    kind: "openai",
    trust,
    memoryDomain: isHere ? "local" : url.host,
    /** A cluster's router tells of one server behind it. */
    get parallelAnswers() {
      return options.serverKind === "local" ? (models.slots ?? 4) : options.connections;
    },
    audioFormats: ["wav", "mp3"],
    address: `${url.origin}${url.pathname.replace(/\/+$/, "")}`,
    ...defined({ monthlyBudget }),
    ...(options.serverKind === "cluster" ? { replicas: "cluster" } : {}),
    pricesOf: (model) => pricesByModel.get(model) ?? prices,
    ...(options.serverKind === "cloud" ? {} : { currentLoad: status.load }),
    health: status.health,
    list: (signal) => models.list(signal),
    describe: (model, signal) => models.describe(model, signal),
    generate: createChat(server, models, options),
    /** Known from the list on: only a server in router mode loads and unloads models on request. */
    get residency() {
      return options.serverKind === "local" && models.isRouter ? residency : undefined;
    },
    embedding: createEmbedding(server, models, options),
    connections: () => server.usage(),
    close: () => server.close(),
  };
}

function addressOf({ id, baseUrl }: OpenAiOptions): URL {
  const next = advice("use http(s)://host[:port][/path], such as https://api.openai.com/v1");
  const url = URL.canParse(baseUrl) ? new URL(baseUrl) : undefined;
  // The address is shown in messages: it must not contain a secret.
  if (url !== undefined && (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== ""))
    throw new InvalidConfig(`baseUrl of ${id} contains a user name, a password or a query`, { next });
  if (url === undefined || !["http:", "https:"].includes(url.protocol))
    throw new InvalidConfig(`baseUrl of ${id} is not an http or https address`, { next });
  return url;
}

/** One vector as JSON: 16,384 numbers. */
const maxVectorBytes = 400_000;
const maxFrameBytes = 100_000;

/** Embeddings from any model: whether one embeds is known of few, so the server decides. */
function createEmbedding(
  server: OpenAiServer,
  models: OpenAiModels,
  { id, limits }: Pick<OpenAiOptions, "id" | "limits">,
): EngineEmbedding {
  return {
    async embed(model, inputs, signal) {
      const row = await models.row(model, signal);
      if (inputs.length === 0) return { vectors: [], promptTokens: 0 };
      const maxReplyBytes = maxFrameBytes + inputs.length * maxVectorBytes;
      const exchange = longCall(`embedding with ${model}`, limits.firstTokenMs, model, GenerationFailed, maxReplyBytes);
      const body = { model: row.id, input: inputs, encoding_format: "float" };
      const reply = await server.ask("/embeddings", exchange, signal, { body });
      const data = Array.isArray(reply["data"]) ? reply["data"].map(fieldsOf) : [];
      const vectors: (readonly number[])[] = [];
      for (const [place, { index = place, embedding }] of data.entries())
        if (isVector(embedding)) vectors[Number(index)] = embedding;
      if (vectors.length !== inputs.length || Object.keys(vectors).length !== inputs.length)
        throw new GenerationFailed(`${id} returned ${data.length} vectors for ${inputs.length} texts`, {
          next: { step: "chooseModel", that: "with that capability" },
        });
      return { vectors, promptTokens: embeddedTokens(inputs, fieldsOf(reply["usage"])["prompt_tokens"]) };
    },
  };
}

function isVector(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.length > 0 && value.every((number) => typeof number === "number");
}

/** Total time of a health check, of which the version gets what the list leaves. */
const healthMs = 1_900;
/** Total time of a look at the load, which a choice between engines waits for. */
const loadMs = 1_000;
/** How long a load is good for, and how long a server without one is not asked. */
const loadFreshMs = 1_000;
const noLoadFreshMs = 60_000;
const maxPageBytes = 1_000_000;

/** Lines of `/metrics` of llama-server, vLLM and SGLang. */
const runningLine = /^(?:llamacpp:requests_processing|vllm:num_requests_running|sglang:num_running_reqs)\b/;
const waitingLine = /^(?:llamacpp:requests_deferred|vllm:num_requests_waiting|sglang:num_queue_reqs)\b/;

/** Health and load of a server. */
function createStatus(server: OpenAiServer, models: OpenAiModels, { id, serverKind, now }: OpenAiOptions) {
  let knownVersion: string | undefined;
  let last: { readonly atMs: number; readonly known: Promise<EngineLoad | undefined>; hasNone: boolean } | undefined;

  async function readLoad(): Promise<EngineLoad | undefined> {
    const bound = { kind: "total", ms: loadMs } as const;
    const attempt = { what: "asking for its load", otherwise: EngineUnreachable, bound, maxReplyBytes: maxPageBytes };
    const page = await server.find("/metrics", attempt, new AbortController().signal, { isOwn: true });
    const running = sumOf(page ?? "", runningLine);
    const waiting = sumOf(page ?? "", waitingLine);
    return running === undefined || waiting === undefined ? undefined : { running, waiting };
  }

  async function readVersion(rows: readonly ListedModel[], signal: AbortSignal): Promise<string | undefined> {
    if (serverKind === "cloud") return undefined;
    const isLlama = rows.some(({ ownNames, status }) => ownNames !== undefined || status !== undefined);
    const attempt = { what: "asking for its version", otherwise: EngineUnreachable };
    const text = await server.find(isLlama ? "/props" : "/version", attempt, signal, { isOwn: true });
    const reply = fieldsOf(text === undefined ? undefined : parseJson(text));
    return (textIn(reply["build_info"]) ?? textIn(reply["version"]))?.slice(0, 100);
  }

  return {
    /** The list answers: what a router says of its health is not believed, it says the same after its workers died. */
    async health(signal: AbortSignal): Promise<EngineHealth> {
      const timeout = AbortSignal.timeout(healthMs);
      const either = AbortSignal.any([signal, timeout]);
      try {
        const rows = await models.rows(either);
        knownVersion ??= await readVersion(rows, either).catch(() => undefined);
        return { isReachable: true, ...defined({ version: knownVersion }) };
      } catch (error) {
        const reason = error instanceof OrchestratorError ? error.message : String(error);
        const message = timeout.aborted ? `${id} sent no list of models for ${healthMs / 1_000} s` : reason;
        return { isReachable: false, message };
      }
    },
    /** Requests of all programs; undefined where the server does not tell. Behind a router it is that of one worker. */
    async load(signal: AbortSignal): Promise<EngineLoad | undefined> {
      throwIfCancelled(signal, "asking for the load");
      const atMs = now();
      if (last !== undefined && atMs - last.atMs < (last.hasNone ? noLoadFreshMs : loadFreshMs))
        return await last.known;
      const known = readLoad().then(
        (load) => {
          next.hasNone = load === undefined;
          return load;
        },
        () => undefined,
      );
      const next = { atMs, known, hasNone: false };
      last = next;
      return await known;
    },
  };
}

/** The sum over all labels, such as those of a server's engines; undefined without such a line. */
function sumOf(page: string, line: RegExp): number | undefined {
  const values = page
    .split("\n")
    .filter((text) => line.test(text))
    .map((text) => Number(text.trim().split(/\s+/).at(-1)));
  if (values.length === 0 || values.some((value) => !Number.isFinite(value))) return undefined;
  return values.reduce((sum, value) => sum + value, 0);
}

/** Interval between two polls of the list: a small model loads in 400 ms. */
const pollMs = 50;
/** Loading large weights takes minutes. */
const modelLoadMs = 600_000;
/** A busy model is ended by force 10 s after its unload. */
const unloadMs = 30_000;

/**
 * Loads and unloads models of llama-server's router mode, which holds a model per process. The context is that of the
 * server's own settings; beyond its number of models (`--models-max`) it unloads others by itself.
 */
function createRouterResidency(
  server: OpenAiServer,
  models: OpenAiModels,
  { id, now }: Pick<OpenAiOptions, "id" | "now">,
): EngineResidency {
  const find = async (name: string, signal: AbortSignal): Promise<ListedModel | undefined> =>
    (await models.rows(signal)).find(({ model }) => keyOfName(model.name) === keyOfName(name));

  /** Asks for a change, unless it is done already, and polls the list until it has happened. */
  async function change(
    path: "/models/load" | "/models/unload",
    row: ListedModel,
    isDone: (row: ListedModel | undefined) => boolean,
    limitMs: number,
    signal: AbortSignal,
  ): Promise<ListedModel | undefined> {
    const { model } = row;
    const verb = path === "/models/load" ? "loading" : "unloading";
    const attempt = { what: `${verb} ${model.name}`, model: model.name, otherwise: LoadFailed };
    let hasBegun = row.status === "loading";
    try {
      if (!hasBegun) await server.ask(path, attempt, signal, { body: { model: row.id }, isOwn: true });
    } catch (error) {
      throwIfCancelled(signal, attempt.what);
      // Another program may have asked for the same: then the server refuses.
      const after = await find(model.name, signal);
      if (!(error instanceof OrchestratorError) || (!isDone(after) && after?.status !== "loading")) throw error;
    }
    const deadline = now() + limitMs;
    for (;;) {
      const after = await find(model.name, signal);
      // Right after the request the list may still say what it said before.
      const isOver = hasBegun && path === "/models/load" && after?.status !== "loading";
      if (isDone(after) || isOver || now() >= deadline) return after;
      hasBegun ||= after?.status === "loading" || after?.hasFailed === true;
      // Ends early when aborted; the next list then rejects with `Cancelled`.
      await delay(pollMs, undefined, { signal }).catch(() => undefined);
    }
  }

  return {
    async loaded(signal) {
      return (await models.rows(signal)).filter(isLoaded).map(residentOf);
    },

    async load(name, _options, report, signal) {
      const row = await models.row(name, signal, 0);
      if (isLoaded(row)) return residentOf(row);
      report({ message: `loading ${name}` });
      const startedAt = now();
      const after = await change("/models/load", row, isLoaded, modelLoadMs, signal);
      if (!isLoaded(after))
        throw new LoadFailed(`${id} could not load ${name}`, {
          next: [{ step: "retry" }, { step: "chooseModel" }],
        });
      return { ...residentOf(after), loadMs: now() - startedAt };
    },

    async unload(name, signal) {
      const row = await find(name, signal);
      if (!isLoaded(row)) return;
      const after = await change("/models/unload", row, (found) => !isLoaded(found), unloadMs, signal);
      if (isLoaded(after))
        throw new UnloadUnconfirmed(`${name} is still in memory ${unloadMs / 1_000} s after it was unloaded`, {
          next: { step: "retry" },
        });
    },

    loadShape: ({ contextTokens: window }, contextTokens) => ({
      contextTokens: Math.min(contextTokens, window ?? contextTokens),
      parallel: 1,
      batchTokens: 512,
      cacheType: "f16",
      hasFlashAttention: true,
    }),
    processOf: () => undefined,
  };
}

function isLoaded(row: ListedModel | undefined): row is ListedModel {
  return row?.status === "loaded";
}

/**
 * Its size is that of the weights: the server tells no other. Without its context, which a load can't change: a model
 * would be loaded again for each request that needs more. Such a request is sent, and the server's refusal has the numbers.
 */
function residentOf({ model: { name, sizeBytes } }: ListedModel): ResidentModel {
  return { name, sizeBytes, vramBytes: 0 };
}
