import { InvalidRequest, PrivacyLocked, UnknownModel, UnloadUnconfirmed } from "../api/errors.ts";
import type { Emit } from "../api/events.ts";
import type { PullRequest, PullResult, UnloadedModel } from "../api/facade.ts";
import { advice } from "../api/next-step.ts";
import type { CallerContext, Operation } from "../api/types.ts";
import type { Engine, EngineLibrary, Report } from "../engines/engine.ts";
import type { OperationContext, Operations } from "../jobs/operations.ts";
import type { LoadedModels } from "../residency/loaded.ts";
import type { Loader } from "../residency/loader.ts";
import type { Slots } from "../residency/slots.ts";
import { parseModelName, sameModel } from "../util/model-name.ts";
import type { Inventory } from "../catalog/inventory.ts";
import { type LocatedModel, modelId } from "../catalog/located-model.ts";

export type Library = ReturnType<typeof createLibrary>;

interface Parts {
  readonly inventory: Inventory;
  readonly loaded: LoadedModels;
  readonly operations: Operations;
  readonly loader: Loader;
  readonly slots: Slots;
  /** Records a pull while it runs; `request.engine` is the engine that was chosen. */
  readonly recordPull: (operation: Operation<PullResult>, client: string, request: PullRequest) => void;
  readonly emit: Emit;
}

/** Pulls, deletes and unloads models on request. */
export function createLibrary(parts: Parts) {
  const { inventory, operations, loader, recordPull, emit } = parts;
  const pulls = new Map<string, { name: string; engine: string; operation: Operation<PullResult> }>();
  /** By the requested name, of the last pull: why it failed; undefined: it did not. */
  const failures = new Map<string, unknown>();

  async function pull(caller: CallerContext, request: PullRequest): Promise<Operation<PullResult>> {
    if (request.model.trim() === "") {
      throw new InvalidRequest("the model's name is empty", { next: { step: "useModelName" } });
    }
    const { engine, library } = await chooseLibrary(inventory, request, caller).catch((error) =>
      noteFailure(failures, request, error),
    );
    // An invalid name is refused before the engine is installed for it; Ollama checks names itself.
    if (engine.isPrivate === true) parseModelName(request.model);
    const operation = startPull(engine, library, request, { client: caller.client });
    recordPull(operation, caller.client, { ...request, engine: engine.id });
    return operation;
  }

  function startPull(
    engine: Engine,
    library: EngineLibrary,
    request: PullRequest,
    origin: { readonly id: string } | { readonly client: string },
  ): Operation<PullResult> {
    const title = request.from === undefined ? `pull ${request.model}` : `import ${request.model}`;
    const key = `pull ${modelId(engine.id, request.model)} ${request.from ?? ""}`;
    const operation = operations.start<PullResult>({ kind: "pull", title, key, ...origin }, (context) =>
      runPull(engine, library, request, context),
    );
    if (!pulls.has(operation.id)) {
      pulls.set(operation.id, { name: request.model, engine: engine.id, operation });
      emit({ kind: "models changed", isListChanged: false });
    }
    return operation;
  }

  async function runPull(
    engine: Engine,
    library: EngineLibrary,
    request: PullRequest,
    context: OperationContext,
  ): Promise<PullResult> {
    const { signal, report } = context;
    const { installation } = engine;
    failures.set(request.model, undefined);
    const install = async (): Promise<void> => {
      if (installation !== undefined && !(await installation.isInstalled())) await installation.install(report, signal);
    };
    try {
      // Models are downloaded only for an engine that runs here; a file is checked before its engine is installed.
      if (request.from === undefined) await install();
      const pulled =
        request.from === undefined
          ? await library.pull(request.model, report, signal)
          : await library.import(request.from, request.model, report, signal);
      if (request.from !== undefined) await install();
      loader.forget(engine, pulled.name);
      return { engine: engine.id, ...pulled };
    } catch (error) {
      return noteFailure(failures, request, error);
    } finally {
      emit({ kind: "models changed", isListChanged: false });
      inventory.forgetAll();
    }
  }

  async function remove(caller: CallerContext, name: string) {
    const [located] = await inventory.locate(name, undefined, true);
    const { engine, model } = located;
    // Elsewhere a name without its tag may mean the only model that has it; what is deleted is named.
    if (!sameModel(model.name, name)) {
      throw new UnknownModel(`no model ${name}`, { next: { step: "didYouMean", names: [model.name] } });
    }
    if (engine.library === undefined) {
      throw new InvalidRequest(`${engine.id} can't delete models`, {
        next: advice(`delete ${model.name} where it is managed`),
      });
    }
    if ((await loader.unload(located, caller.signal, true)) === undefined) {
      throw new InvalidRequest(`${model.name} is in use and was not deleted`, { next: { step: "retryWhenIdle" } });
    }
    try {
      const { freedBytes } = await engine.library.remove(model.name, caller.signal);
      loader.forget(engine, model.name);
      return { name: model.name, engine: engine.id, freedBytes };
    } finally {
      inventory.forgetAll();
    }
  }

  return {
    pull,
    failures: failures as ReadonlyMap<string, unknown>,
    /** Restarts a pull of an earlier daemon under its id; `pull.engine` is the engine that was chosen then. */
    resume({ id, pull: request }: { readonly id: string; readonly pull: PullRequest }): Operation<PullResult> {
      const engine = inventory.engines.find((each) => each.id === request.engine);
      if (engine?.library === undefined) {
        throw new InvalidRequest(`the engine ${request.engine} that pulled ${request.model} is no longer configured`, {
          next: { step: "pullModel", model: request.model },
        });
      }
      return startPull(engine, engine.library, request, { id });
    },
    remove,
    /** Without a name: all models. If one can't be unloaded the others are, before this throws. */
    unload: (caller: CallerContext, name: string | undefined, report: Report): Promise<readonly UnloadedModel[]> =>
      unloadModels(parts, caller.signal, name, report),
    /** Pulls in progress, by the requested name. */
    pulling() {
      for (const [id, { operation }] of pulls) if (operation.state() !== "running") pulls.delete(id);
      return [...pulls.values()];
    },
  };
}

function noteFailure(failures: Map<string, unknown>, { model, from }: PullRequest, error: unknown): never {
  // A file is not downloaded: its import has nothing to resume.
  if (from === undefined) failures.set(model, error);
  throw error;
}

async function unloadModels(
  parts: Parts,
  signal: AbortSignal,
  name: string | undefined,
  report: Report,
): Promise<readonly UnloadedModel[]> {
  const { loader, slots } = parts;
  const wanted = name === undefined ? await allLoaded(parts) : [await locateLoaded(parts, name)];
  const unloaded: UnloadedModel[] = [];
  const busy: string[] = [];
  let unconfirmed: UnloadUnconfirmed | undefined;
  for (const located of wanted) {
    const { engine, model } = located;
    const wasPinned = slots.at(located).isPinned(model.name);
    // Unloading takes longest if the engine no longer lists the model.
    report({ message: `unloading ${model.name}: waiting until ${engine.id} has unloaded it` });
    const went = await loader.unload(located, signal).catch((error: unknown) => {
      if (name !== undefined || !(error instanceof UnloadUnconfirmed)) throw error;
      unconfirmed ??= error;
      return { bytes: 0, name: model.name };
    });
    if (went === undefined) busy.push(model.name);
    else if (went.bytes > 0) {
      const other = sameModel(went.name, model.name) ? {} : { alsoAnsweredFor: model.name };
      unloaded.push({ name: went.name, engine: engine.id, bytes: went.bytes, wasPinned, ...other });
    }
  }
  const done = name === undefined ? `; unloaded: ${unloaded.map((entry) => entry.name).join(", ") || "nothing"}` : "";
  if (unconfirmed !== undefined) {
    throw new UnloadUnconfirmed(unconfirmed.message + done, { cause: unconfirmed, next: unconfirmed.next });
  }
  if (busy.length > 0) {
    throw new InvalidRequest(`${busy.join(", ")} is in use${done || " and was not unloaded"}`, {
      next: { step: "retryWhenIdle" },
    });
  }
  return unloaded;
}

async function allLoaded({ inventory, loaded }: Pick<Parts, "inventory" | "loaded">): Promise<readonly LocatedModel[]> {
  const lists = await inventory.lists(0);
  const resident = await Promise.all(
    lists.map(async ({ engine }) =>
      (await loaded.of(engine, 0)).map((view): LocatedModel => ({
        engine,
        model: { name: view.name, sizeBytes: view.sizeBytes, trust: "local" },
      })),
    ),
  );
  return resident.flat();
}

/** Also finds a model that was deleted while loaded: no engine lists it, but it still occupies memory. */
async function locateLoaded(parts: Parameters<typeof allLoaded>[0], name: string): Promise<LocatedModel> {
  try {
    return (await parts.inventory.locate(name, undefined, true))[0];
  } catch (error) {
    const held = error instanceof UnknownModel ? await allLoaded(parts) : [];
    const found = held.find(({ model }) => sameModel(model.name, name));
    if (found === undefined) throw error;
    return found;
  }
}

const enableEngine = [
  advice("start Ollama"),
  { step: "changeSetting", setting: "providers.llamaCpp.enabled", to: "true" },
] as const;

/**
 * The engine of a pull: the one in the request; for a file, the embedded one; otherwise the first engine, in the
 * configured order, that answers and has a library. Under `local_only` only engines on this machine are considered.
 */
async function chooseLibrary(inventory: Inventory, request: PullRequest, caller: CallerContext) {
  const isLocked = (engine: Engine) => caller.settings.privacy === "local_only" && engine.trust === "remote";
  const capable = inventory.engines.flatMap((engine) =>
    engine.library === undefined ? [] : [{ engine, library: engine.library }],
  );
  if (request.engine !== undefined) {
    const named = capable.find(({ engine }) => engine.id === request.engine);
    if (named !== undefined && request.from !== undefined && isLocked(named.engine)) {
      throw new PrivacyLocked(
        `${named.engine.id} is not on this machine, and privacy is local_only: the file was not sent`,
        { next: { step: "omitArgument", argument: "engine" } },
      );
    }
    if (named !== undefined) return named;
    throw new InvalidRequest(`there is no engine "${request.engine}" that can pull models`, {
      next:
        capable.length === 0 ? enableEngine : { step: "chooseOneOf", names: capable.map(({ engine }) => engine.id) },
    });
  }
  const ordered =
    request.from === undefined
      ? capable
      : capable.toSorted((a, b) => Number(b.engine.isPrivate === true) - Number(a.engine.isPrivate === true));
  // Under local_only a model on another machine could not be used.
  for (const entry of ordered.filter(({ engine }) => !isLocked(engine))) {
    if (entry.engine.isPrivate === true || (await entry.engine.health(caller.signal)).isReachable) return entry;
  }
  throw new InvalidRequest("no engine can pull models now", { next: enableEngine });
}
