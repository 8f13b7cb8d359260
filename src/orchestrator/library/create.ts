import type { Engine, EngineCreation, Report } from "../engines/engine.ts";
import { InvalidRequest, PrivacyLocked, UnknownModel } from "../errors.ts";
import type { CreatedModel, CreateModelRequest } from "../facade-create.ts";
import { advice, type NextStep } from "../next-step.ts";
import type { Inventory } from "../inventory/inventory.ts";
import { type LocatedModel, takesNoMemory } from "../inventory/located-model.ts";
import { modelId } from "../inventory/model-id.ts";
import type { Loader } from "../loading/loader.ts";
import { formatModelName, isCloudName, parseModelName, sameModel } from "../store/model-name.ts";
import type { CallerContext } from "../types.ts";
import { checkedParameters } from "./parameters.ts";

/**
 * Makes a model where its base lies: the first engine, in the configured order, that holds it, answers and can. Throws
 * `InvalidRequest` (a name that can't be, one that is taken, parameters that no one reads), `UnknownModel`,
 * `PrivacyLocked`, and what the engine throws.
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
      throw new InvalidRequest(`${engine.id} has a model ${taken.name} already`, {
        next: [advice("choose another name"), { step: "setArgument", argument: "confirm", to: true }],
      });
    }
    // What is loaded would go on answering as it was.
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
      throw new InvalidRequest(`${name} reads like a model of Ollama's cloud`, {
        next: advice('choose a name that does not end with "cloud"'),
      });
    }
    const { engine, model: base } = baseOf(await inventory.locate(request.base), request.base, caller);
    const creation = engine.library?.creation;
    if (creation === undefined) throw cannotCreate(request.base, engine.id);
    const parameters = checkedParameters(request.parameters ?? {}, engine.id, creation.parameterNames);

    const id = modelId(engine.id, name);
    // Both would find the name free, and the later one would take it from the other.
    if (making.has(id)) {
      throw new InvalidRequest(`${name} is being made already`, {
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
    throw new InvalidRequest(`${found.model.name} runs on ${found.engine.id}'s cloud: nothing can be made of it here`, {
      next: localBase,
    });
  }
  // A system prompt says much, and another machine would keep it.
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
  return new InvalidRequest(`${engine}, which holds ${base}, can't make models`, {
    next: { step: "pullModel", model: base, because: "into Ollama or the embedded engine" },
  });
}
