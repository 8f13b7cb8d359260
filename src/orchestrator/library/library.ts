import type { Engine, EngineLibrary } from "../engines/engine.ts";
import { InvalidRequest, UnknownModel } from "../errors.ts";
import type { Inventory, LocatedModel } from "../inventory/inventory.ts";
import { modelId } from "../inventory/model-id.ts";
import type { Loader } from "../loading/loader.ts";
import { formatBytes } from "../text/format-bytes.ts";
import type { OperationContext, Operations } from "../operations/operations.ts";
import type { PullRequest, PullResult } from "../facade.ts";
import type { CallerContext, Operation } from "../types.ts";

export interface Library {
  pull(request: PullRequest, signal: AbortSignal): Promise<Operation<PullResult>>;
  remove(
    caller: CallerContext,
    name: string,
  ): Promise<{ readonly name: string; readonly engine: string; readonly freedBytes: number }>;
  unload(
    caller: CallerContext,
    name: string | undefined,
  ): Promise<readonly { readonly name: string; readonly engine: string; readonly bytes: number }[]>;
  /** Models being pulled now, by name as asked for. */
  pulling(): readonly { readonly name: string; readonly engine: string; readonly operation: Operation<PullResult> }[];
}

/** What changes the set of models, and what is in memory, at somebody's word. */
export function createLibrary(parts: {
  readonly inventory: Inventory;
  readonly operations: Operations;
  readonly loader: Loader;
}): Library {
  const { inventory, operations, loader } = parts;
  const pulls = new Map<string, { name: string; engine: string; operation: Operation<PullResult> }>();

  async function pull(request: PullRequest, signal: AbortSignal): Promise<Operation<PullResult>> {
    if (request.model.trim() === "") {
      throw new InvalidRequest("model is empty", { hint: "name a model, for example smollm2:135m or hf.co/org/repo:Q4_K_M" });
    }
    const { engine, library } = await chooseLibrary(inventory, request, signal);
    const id = modelId(engine.id, request.model);
    const title = request.from === undefined ? `pull ${request.model}` : `import ${request.model}`;
    const operation = operations.start<PullResult>({ kind: "pull", title, key: `pull ${id} ${request.from ?? ""}` }, (context) =>
      runPull(engine, library, request, context),
    );
    if (!pulls.has(operation.id)) pulls.set(operation.id, { name: request.model, engine: engine.id, operation });
    return operation;
  }

  async function runPull(
    engine: Engine,
    library: EngineLibrary,
    request: PullRequest,
    context: OperationContext,
  ): Promise<PullResult> {
    const { signal, report } = context;
    if (engine.installation !== undefined && !(await engine.installation.isInstalled())) {
      report({ message: `installing the embedded engine (${formatBytes(engine.installation.downloadBytes)} to download)` });
      await engine.installation.install(report, signal);
    }
    try {
      const pulled =
        request.from === undefined
          ? await library.pull(request.model, report, signal)
          : await library.import(request.from, request.model, report, signal);
      return { engine: engine.id, ...pulled };
    } finally {
      inventory.forget(engine);
    }
  }

  async function remove(caller: CallerContext, name: string) {
    const located = await locateOne(name);
    const { engine, model } = located;
    if (engine.library === undefined) {
      throw new InvalidRequest(`${engine.id} can't delete models`, { hint: `delete ${model.name} where it is managed` });
    }
    refuseBusy(located, "deleted");
    await loader.unload(located, caller.signal);
    try {
      const { freedBytes } = await engine.library.remove(model.name, caller.signal);
      return { name: model.name, engine: engine.id, freedBytes };
    } finally {
      inventory.forget(engine);
    }
  }

  async function unload(caller: CallerContext, name: string | undefined) {
    const wanted = name === undefined ? await allResident() : [await locateOne(name)];
    const busy = wanted.filter(({ engine, model }) => loader.isBusy(modelId(engine.id, model.name)));
    const [single] = wanted;
    if (name !== undefined && single !== undefined) refuseBusy(single, "unloaded");
    const unloaded: { name: string; engine: string; bytes: number }[] = [];
    for (const located of wanted.filter((entry) => !busy.includes(entry))) {
      const { bytes } = await loader.unload(located, caller.signal);
      if (bytes > 0) unloaded.push({ name: located.model.name, engine: located.engine.id, bytes });
    }
    if (busy.length > 0) {
      const names = busy.map(({ model }) => model.name).join(", ");
      const done = unloaded.map((entry) => entry.name).join(", ") || "nothing";
      throw new InvalidRequest(`${names} is in use; unloaded: ${done}`, { hint: "cancel what it works on, or call this again when it is done" });
    }
    return unloaded;
  }

  async function allResident(): Promise<readonly LocatedModel[]> {
    const lists = await inventory.lists(0);
    const resident = await Promise.all(
      lists.map(async ({ engine }) =>
        (await inventory.resident(engine, 0)).map((loaded): LocatedModel => ({
          engine,
          model: { name: loaded.name, sizeBytes: loaded.sizeBytes, trust: "local" },
        })),
      ),
    );
    return resident.flat();
  }

  async function locateOne(name: string): Promise<LocatedModel> {
    const [located] = await inventory.locate(name);
    if (located === undefined) throw new UnknownModel(`no model ${name}`, { hint: "call list_models" });
    return located;
  }

  function refuseBusy(located: LocatedModel, what: string): void {
    const { engine, model } = located;
    if (!loader.isBusy(modelId(engine.id, model.name))) return;
    throw new InvalidRequest(`${model.name} is in use and was not ${what}`, {
      hint: "cancel what it works on, or call this again when it is done",
    });
  }

  return {
    pull,
    remove,
    unload,
    pulling() {
      for (const [id, { operation }] of pulls) if (operation.state() !== "running") pulls.delete(id);
      return [...pulls.values()];
    },
  };
}

/**
 * Where a pull goes: the engine that was named; a file goes into our own store; else the first engine that answers
 * and has a library, in the configured order.
 */
async function chooseLibrary(
  inventory: Inventory,
  request: PullRequest,
  signal: AbortSignal,
): Promise<{ engine: Engine; library: EngineLibrary }> {
  const capable = inventory.engines.flatMap((engine) => (engine.library === undefined ? [] : [{ engine, library: engine.library }]));
  if (request.engine !== undefined) {
    const named = capable.find(({ engine }) => engine.id === request.engine);
    if (named !== undefined) return named;
    throw new InvalidRequest(`no engine ${request.engine} that can pull`, {
      hint: `engines that can: ${capable.map(({ engine }) => engine.id).join(", ") || "none; enable one in config.yaml"}`,
    });
  }
  const ordered = request.from === undefined ? capable : capable.toSorted((a, b) => Number(isEmbedded(b.engine)) - Number(isEmbedded(a.engine)));
  for (const entry of ordered) {
    if (isEmbedded(entry.engine) || (await entry.engine.health(signal)).isReachable) return entry;
  }
  throw new InvalidRequest("no engine can pull models now", {
    hint: "start Ollama, or enable the embedded engine (providers.llamaCpp.enabled)",
  });
}

function isEmbedded(engine: Engine): boolean {
  return engine.kind === "llama-cpp";
}
