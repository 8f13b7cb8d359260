import { EngineUnreachable, OrchestratorError, throwIfCancelled } from "../../api/errors.ts";
import { parseJson } from "../../util/parse-json.ts";
import type { EngineHealth, EngineLoad } from "../engine.ts";
import type { ListedModel } from "./dialects.ts";
import type { OpenAiModels } from "./discovery.ts";
import { type OpenAiOptions, type OpenAiServer, fieldsOf, textIn } from "./server.ts";
import { defined } from "../../util/defined.ts";

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
export class OpenAiStatus {
  readonly #server: OpenAiServer;
  readonly #models: OpenAiModels;
  readonly #options: OpenAiOptions;
  #version: string | undefined;
  #load: { readonly atMs: number; readonly known: Promise<EngineLoad | undefined>; hasNone: boolean } | undefined;

  constructor(server: OpenAiServer, models: OpenAiModels, options: OpenAiOptions) {
    this.#server = server;
    this.#models = models;
    this.#options = options;
  }

  /** The list answers: what a router says of its health is not believed, it says the same after its workers died. */
  async health(signal: AbortSignal): Promise<EngineHealth> {
    const { id } = this.#options;
    const timeout = AbortSignal.timeout(healthMs);
    const either = AbortSignal.any([signal, timeout]);
    try {
      const rows = await this.#models.rows(either);
      this.#version ??= await this.#readVersion(rows, either).catch(() => undefined);
      return { isReachable: true, ...defined({ version: this.#version }) };
    } catch (error) {
      const reason = error instanceof OrchestratorError ? error.message : String(error);
      const message = timeout.aborted ? `${id} sent no list of models for ${healthMs / 1_000} s` : reason;
      return { isReachable: false, message };
    }
  }

  /** Requests of all programs; undefined where the server does not tell. Behind a router it is that of one worker. */
  async load(signal: AbortSignal): Promise<EngineLoad | undefined> {
    throwIfCancelled(signal, "asking for the load");
    const atMs = this.#options.now();
    const last = this.#load;
    if (last !== undefined && atMs - last.atMs < (last.hasNone ? noLoadFreshMs : loadFreshMs)) return await last.known;
    const known = this.#readLoad().then(
      (load) => {
        next.hasNone = load === undefined;
        return load;
      },
      () => undefined,
    );
    const next = { atMs, known, hasNone: false };
    this.#load = next;
    return await known;
  }

  async #readLoad(): Promise<EngineLoad | undefined> {
    const bound = { kind: "total", ms: loadMs } as const;
    const attempt = { what: "asking for its load", otherwise: EngineUnreachable, bound, maxReplyBytes: maxPageBytes };
    const page = await this.#server.find("/metrics", attempt, new AbortController().signal, { isOwn: true });
    const running = sumOf(page ?? "", runningLine);
    const waiting = sumOf(page ?? "", waitingLine);
    return running === undefined || waiting === undefined ? undefined : { running, waiting };
  }

  async #readVersion(rows: readonly ListedModel[], signal: AbortSignal): Promise<string | undefined> {
    if (this.#options.serverKind === "cloud") return undefined;
    const isLlama = rows.some(({ ownNames, status }) => ownNames !== undefined || status !== undefined);
    const attempt = { what: "asking for its version", otherwise: EngineUnreachable };
    const text = await this.#server.find(isLlama ? "/props" : "/version", attempt, signal, { isOwn: true });
    const reply = fieldsOf(text === undefined ? undefined : parseJson(text));
    return (textIn(reply["build_info"]) ?? textIn(reply["version"]))?.slice(0, 100);
  }
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
