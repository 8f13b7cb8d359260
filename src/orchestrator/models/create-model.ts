import type { Engine, EngineCreation, Report } from "../engines/engine.ts";
import { InvalidRequest, PrivacyLocked, UnknownModel } from "../api/errors.ts";
import type { CreatedModel, CreateModelRequest } from "../api/facade-create.ts";
import { advice, type NextStep } from "../api/next-step.ts";
import type { Inventory } from "./inventory.ts";
import { type LocatedModel, takesNoMemory } from "./located-model.ts";
import { modelId } from "./model-id.ts";
import type { Loader } from "../residency/loader.ts";
import { formatModelName, isCloudName, parseModelName, sameModel } from "../util/model-name.ts";
import type { CallerContext } from "../api/types.ts";
import { checkedParameters } from "./parameters.ts";

/**
 * Creates a model in the engine of its base: the first one, in the configured order, that has the base, answers and can
 * create models. Throws `InvalidRequest` (invalid or taken name, unsupported parameters), `UnknownModel`,
 * `PrivacyLocked`, and the engine's errors.
 */
export type CreateModel = (caller: CallerContext, request: CreateModelRequest, report: Report) => Promise<CreatedModel>;

export function createModelCreation(parts: {
  readonly inventory: Inventory;
  readonly loader: Pick<Loader, "unload" | "forget">;
}): CreateModel {
  const { inventory, loader } = parts;
  const making = new Set<string>();

  async function make(
    caller: CallerContext,
    request: CreateModelRequest,
    { engine, base, creation, name, parameters }: Checked,
    report: Report,
  ): Promise<CreatedModel> {
    const list = (await inventory.lists(0)).find((each) => each.engine === engine);
    const taken = list?.models.find((model) => sameModel(model.name, name));
    if (taken !== undefined && request.mayReplace !== true) {
      throw new InvalidRequest(`${engine.id} already has a model ${taken.name}`, {
        next: [advice("choose another name"), { step: "setArgument", argument: "confirm", to: true }],
      });
    }
    // A loaded instance would continue to answer unchanged.
    if (taken !== undefined && (await loader.unload({ engine, model: taken }, caller.signal, true)) === undefined) {
      throw new InvalidRequest(`${taken.name} is in use and was not replaced`, {
        next: { step: "retryWhenIdle" },
      });
    }
    try {
      const { sizeBytes } = await creation.create(
        {
          name,
          base: base.name,
          parameters,
          ...(request.system === undefined ? {} : { system: request.system }),
          ...(request.adapter === undefined ? {} : { adapterFile: request.adapter }),
        },
        report,
        caller.signal,
      );
      loader.forget(modelId(engine.id, name));
      return { name, engine: engine.id, sizeBytes };
    } finally {
      inventory.forgetAll();
    }
  }

  return async (caller, request, report) => {
    const name = formatModelName(parseModelName(request.name));
    if (isCloudName(name)) {
      throw new InvalidRequest(`${name} has the name of a model in Ollama's cloud`, {
        next: advice('choose a name that does not end with "cloud"'),
      });
    }
    const { engine, model: base } = baseOf(await inventory.locate(request.base), request.base, caller);
    const creation = engine.library?.creation;
    if (creation === undefined) throw cannotCreate(request.base, engine.id);
    const parameters = checkedParameters(request.parameters ?? {}, engine.id, creation.parameterNames);

    const id = modelId(engine.id, name);
    // Otherwise both find the name free, and the later one replaces the earlier.
    if (making.has(id)) {
      throw new InvalidRequest(`${name} is already being created`, {
        next: [advice("choose another name"), advice("wait until it is created")],
      });
    }
    making.add(id);
    try {
      return await make(caller, request, { engine, base, creation, name, parameters }, report);
    } finally {
      making.delete(id);
    }
  };
}

interface Checked {
  readonly engine: Engine;
  readonly base: LocatedModel["model"];
  readonly creation: EngineCreation;
  readonly name: string;
  readonly parameters: Readonly<Record<string, unknown>>;
}

const localBase: NextStep = { step: "chooseModel", argument: "base", that: "on this machine" };

function baseOf(located: readonly LocatedModel[], base: string, { settings }: CallerContext): LocatedModel {
  const here = located.filter((found) => !takesNoMemory(found));
  if (here.length === 0) {
    const [found] = located;
    if (found === undefined) throw new UnknownModel(`no model ${base}`, { next: { step: "listModels" } });
    throw new InvalidRequest(`${found.model.name} runs on ${found.engine.id}'s cloud and can't be a base`, {
      next: localBase,
    });
  }
  // The request contains a system prompt, which the other machine would store.
  const allowed = here.filter(({ engine }) => settings.privacy !== "local_only" || engine.trust === "local");
  const [first] = allowed;
  if (first === undefined) {
    throw new PrivacyLocked(`${base} is not on this machine, and privacy is local_only: nothing was sent`, {
      next: localBase,
    });
  }
  return allowed.find(({ engine }) => engine.library?.creation !== undefined) ?? first;
}

function cannotCreate(base: string, engine: string): InvalidRequest {
  return new InvalidRequest(`${engine}, which has ${base}, can't create models`, {
    next: { step: "pullModel", model: base, because: "into Ollama or the embedded engine" },
  });
}
