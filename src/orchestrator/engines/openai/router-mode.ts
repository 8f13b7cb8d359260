import { setTimeout as delay } from "node:timers/promises";
import { LoadFailed, OrchestratorError, UnloadUnconfirmed, throwIfCancelled } from "../../api/errors.ts";
import { keyOfName } from "../../util/model-name.ts";
import type { EngineResidency, ResidentModel } from "../engine.ts";
import type { ListedModel } from "./dialects.ts";
import type { OpenAiModels } from "./discovery.ts";
import type { OpenAiOptions, OpenAiServer } from "./server.ts";

/** Interval between two polls of the list: a small model loads in 400 ms. */
const pollMs = 50;
/** Loading large weights takes minutes. */
const loadMs = 600_000;
/** A busy model is ended by force 10 s after its unload. */
const unloadMs = 30_000;

/**
 * Loads and unloads models of llama-server's router mode, which holds a model per process. The context is that of the
 * server's own settings; beyond its number of models (`--models-max`) it unloads others by itself.
 */
export function createRouterResidency(
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
      const after = await change("/models/load", row, isLoaded, loadMs, signal);
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
