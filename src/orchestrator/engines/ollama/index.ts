import { LoadFailed, OrchestratorError, UnknownModel } from "../../errors.ts";
import type { Log } from "../../log.ts";
import type { InstalledModel, ModelFacts } from "../../types.ts";
import type { Engine, EngineHealth } from "../engine.ts";
import { control, defaultTimeouts, type OllamaContext, type OllamaTimeouts } from "./context.ts";
import { createEmbedding } from "./embedding.ts";
import { installedModel, modelFacts, modelsOf, versionOf } from "./facts.ts";
import { generate } from "./generate.ts";
import { parseOllamaHost } from "./host.ts";
import { createLibrary } from "./library.ts";
import { isCloudName, sameModel } from "../../store/model-name.ts";
import { createResidency } from "./residency.ts";
import { createTransport, type ConnectionUsage } from "./transport.ts";

export interface OllamaEngineOptions {
  /** `ollama` unless given; several hosts need several. */
  readonly id?: string;
  /** In any shape of `OLLAMA_HOST`: `127.0.0.1:11434`, `:11434`, `http://box.lan`. */
  readonly host: string;
  /** For a server that answers on loopback but has a memory of its own (container, virtual machine). */
  readonly memoryDomain?: string;
  /** Milliseconds since any moment. */
  readonly now: () => number;
  readonly log: Log;
  readonly timeouts?: Partial<OllamaTimeouts>;
}

/** The engine, and what status shows of its connections. */
export interface OllamaEngine extends Engine {
  connections(): ConnectionUsage;
}

/**
 * The adapter of one Ollama server. Its trust is `local` on loopback only: a box on the LAN is `remote`, so that
 * `privacy: local_only` keeps text on this machine. Cloud models are `remote` on every host. Opens no connection, and
 * loads no HTTP package, before the first call. Throws `InvalidConfig` for an address that can't be read.
 */
export function createOllamaEngine(options: OllamaEngineOptions): OllamaEngine {
  const host = parseOllamaHost(options.host);
  const timeouts = { ...defaultTimeouts, ...options.timeouts };
  const transport = createTransport(host);
  const trust = host.isLoopback ? "local" : "remote";

  const list = async (signal: AbortSignal): Promise<readonly InstalledModel[]> => {
    const exchange = control(timeouts, "listing models");
    const rows = await transport.exchange(exchange, signal, async ({ ollama }) => modelsOf(await ollama.list()));
    return rows.map((row) => installedModel(row, trust));
  };

  const context: OllamaContext = { host, trust, transport, timeouts, now: options.now, log: options.log, list };
  const residency = createResidency(context);

  const describe = async (model: string, signal: AbortSignal): Promise<ModelFacts> => {
    const show = (): Promise<unknown> =>
      transport.exchange(control(timeouts, `describing ${model}`, model, LoadFailed), signal, ({ ollama }) =>
        ollama.show({ model }),
      );
    // Ollama would ask its cloud about such a name, and nothing must leave for a mere description.
    const [models, shown] = await Promise.all([list(signal), isCloudName(model) ? undefined : show()]);
    const installed = models.find(({ name }) => sameModel(name, model));
    if (!installed && shown === undefined)
      throw new UnknownModel(`Ollama at ${host.label} has no model ${model}`, {
        hint: `pull_model {"model": "${model}"} adds it; list_models shows what is installed.`,
      });
    return modelFacts(model, shown, installed, installed?.trust ?? trust);
  };

  const health = async (signal: AbortSignal): Promise<EngineHealth> => {
    const startedAt = options.now();
    const bound = { kind: "total", ms: timeouts.healthMs } as const;
    try {
      const exchange = { ...control(timeouts, "checking its health"), bound };
      const version = await transport.exchange(exchange, signal, async ({ ollama }) =>
        versionOf(await ollama.version()),
      );
      return { isReachable: true, version, latencyMs: options.now() - startedAt };
    } catch (error) {
      const message =
        error instanceof OrchestratorError ? [error.message, error.hint].filter(Boolean).join(". ") : String(error);
      return { isReachable: false, latencyMs: options.now() - startedAt, message };
    }
  };

  return {
    id: options.id ?? "ollama",
    kind: "ollama",
    trust,
    memoryDomain: options.memoryDomain ?? (host.isLoopback ? "local" : host.label),
    health,
    list,
    describe,
    generate: (request, sink, signal) => generate(context, request, sink, signal),
    library: createLibrary(context),
    residency,
    embedding: createEmbedding(context, residency),
    connections: () => transport.usage(),
    close: () => transport.close(),
  };
}
