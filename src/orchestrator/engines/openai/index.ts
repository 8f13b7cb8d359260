import { EngineUnreachable, GenerationFailed, InvalidConfig } from "../../api/errors.ts";
import { advice } from "../../api/next-step.ts";
import { isOnThisMachine } from "../../util/ollama-host.ts";
import { createAddressGuard } from "../address-guard.ts";
import type { Engine, EngineEmbedding } from "../engine.ts";
import { embeddedTokens } from "../generation.ts";
import { OpenAiChat } from "./chat.ts";
import { OpenAiModels } from "./discovery.ts";
import { createRouterResidency } from "./router-mode.ts";
import { type OpenAiOptions, OpenAiServer, fieldsOf, longCall } from "./server.ts";
import { OpenAiStatus } from "./status.ts";
import { defined } from "../../util/defined.ts";

export type { OpenAiOptions } from "./server.ts";

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
  const chat = new OpenAiChat(server, models, options);
  const status = new OpenAiStatus(server, models, options);
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
    ...(options.serverKind === "cloud" ? {} : { currentLoad: (signal) => status.load(signal) }),
    health: (signal) => status.health(signal),
    list: (signal) => models.list(signal),
    describe: (model, signal) => models.describe(model, signal),
    generate: (request, sink, signal) => chat.generate(request, sink, signal),
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
      const exchange = longCall(`embedding with ${model}`, model, limits.firstTokenMs, maxReplyBytes);
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
