import { EngineUnreachable, OrchestratorError, PullFailed } from "../../api/errors.ts";
import type { Log } from "../../api/log.ts";
import type { OllamaServerOptions } from "../../api/types.ts";
import { parseOllamaHost } from "../../util/ollama-host.ts";
import { createAddressGuard } from "../address-guard.ts";
import type { PoolOptions } from "../connection-pools.ts";
import type { Engine, EngineHealth } from "../engine.ts";
import type { InspectGguf } from "../gguf/header.ts";
import { type OllamaTimeouts, controlCall, defaultTimeouts, OllamaTransport } from "./transport.ts";
import { type OllamaContext, createModels, versionOf } from "./facts.ts";
import { generate, overlapsOf } from "./generate.ts";
import { OllamaLibrary } from "./library.ts";
import { ollamaLoadRules } from "./load-rules.ts";
import { createEmbedding, createResidency } from "./residency.ts";
import { defined } from "../../util/defined.ts";

interface OllamaEngineOptions {
  /** Default `ollama`; must be unique among several servers. */
  readonly id?: string;
  /** In any shape of `OLLAMA_HOST`: `127.0.0.1:11434`, `:11434`, `http://box.lan`. */
  readonly host: string;
  /** Memory of a server that has its own (another computer, container, virtual machine), even if it answers on loopback. */
  readonly memoryBytes?: number;
  /** From its environment, which it doesn't report; as far as it is known. */
  readonly serverOptions?: Partial<OllamaServerOptions>;
  /** `Engine.isOptional`. */
  readonly isOptional?: () => Promise<boolean>;
  /** A clock in milliseconds, with any origin. */
  readonly now: () => number;
  readonly log: Log;
  readonly timeouts?: Partial<OllamaTimeouts>;
  /** Asked before each request. */
  readonly pool?: () => PoolOptions;
  /** Private addresses (`host` or `host:port`) that the server, and registries that it pulls from, may have. */
  readonly allowedHosts?: readonly string[];
  /** Registries (`host:port`) that the server may pull from over plain HTTP and at private addresses. */
  /** Checks an adapter file before it is uploaded; absent: unchecked. */
  readonly inspect?: InspectGguf;
}

/** The defaults of the settings: enough for concurrent status, listing and unloading; more would queue inside Ollama. */
const defaultPool: PoolOptions = { connections: 10, keepAliveMs: 30_000 };

/**
 * The adapter of one Ollama server. Its trust is `local` on loopback only: a server in the LAN is `remote`, so that
 * `privacy: local_only` keeps text on this machine. Cloud models are `remote` on every server. Opens no connection and
 * loads no HTTP package before the first call. Throws `InvalidConfig` for an invalid address.
 */
export function createOllamaEngine(options: OllamaEngineOptions): Engine & Required<Pick<Engine, "connections">> {
  const host = parseOllamaHost(options.host);
  const timeouts = { ...defaultTimeouts, ...options.timeouts };
  const { allowedHosts = [] } = options;
  const transport = new OllamaTransport(
    host,
    createAddressGuard({
      allowedHosts,
      isLoopbackAllowed: true,
      refuse: (message, next) => new EngineUnreachable(`Ollama at ${message}`, { next }),
    }),
    options.pool ?? (() => defaultPool),
  );
  const registries = createAddressGuard({
    allowedHosts,
    refuse: (message, next) => new PullFailed(message, { next }),
  });
  const trust = host.isLoopback ? "local" : "remote";

  const { now, log, inspect } = options;
  const models = createModels(host, trust, transport, timeouts, now);
  const shared = { transport, timeouts, models, registries, streams: new Map(), now, log };
  const context: OllamaContext = { ...shared, ...(inspect && { inspect }) };
  const residency = { ...createResidency(context), ...ollamaLoadRules(options.serverOptions) };

  const health = async (signal: AbortSignal): Promise<EngineHealth> => {
    const bound = { kind: "total", ms: timeouts.healthMs } as const;
    try {
      const exchange = { ...controlCall(timeouts, "checking its health"), bound };
      const version = await transport.exchange(exchange, signal, async ({ ollama }) =>
        versionOf(await ollama.version()),
      );
      return { isReachable: true, version };
    } catch (error) {
      const message = error instanceof OrchestratorError ? error.message : String(error);
      return { isReachable: false, message };
    }
  };

  return {
    id: options.id ?? "ollama",
    kind: "ollama",
    usesCards: true,
    trust,
    memoryDomain: host.isLoopback && options.memoryBytes === undefined ? "local" : host.label,
    ...defined({ memoryBytes: options.memoryBytes }),
    parallelAnswers: 4,
    answersAtOnce: (model) => options.serverOptions?.parallel ?? overlapsOf(context, model),
    audioFormats: ["wav"],
    address: host.baseUrl,
    ...(options.isOptional && { isOptional: options.isOptional }),
    health,
    list: models.list,
    describe: models.describe,
    generate: (request, sink, signal) => generate(context, request, sink, signal),
    library: new OllamaLibrary(context),
    residency,
    embedding: createEmbedding(context, residency),
    connections: () => transport.usage(),
    close: () => transport.close(),
  };
}
