import { InvalidRequest, PrivacyLocked } from "../api/errors.ts";
import type { CreateModelRequest } from "../api/facade-status.ts";
import { type NextStep, advice } from "../api/next-step.ts";
import type { CallerContext } from "../api/types.ts";
import type { Report } from "../engines/engine.ts";
import type { Loader } from "../residency/loader.ts";
import { formatModelName, isCloudName, parseModelName, sameModel } from "../util/model-name.ts";
import { didYouMean } from "../util/nearest.ts";
import type { Inventory } from "../catalog/inventory.ts";
import { type LocatedModel, modelId, takesNoMemory } from "../catalog/located-model.ts";
import { defined } from "../util/values.ts";
import allParameters from "./parameters.json" with { type: "json" };

/**
 * Creates a model in the engine of its base: the first one, in the configured order, that has the base, answers and can
 * create models. Throws `InvalidRequest` (invalid or taken name, unsupported parameters), `UnknownModel`,
 * `PrivacyLocked`, and the engine's errors.
 */
export function createModelCreation(parts: {
  readonly inventory: Inventory;
  readonly loader: Pick<Loader, "unload" | "forget">;
}) {
  const { inventory, loader } = parts;
  const making = new Set<string>();

  return async (caller: CallerContext, request: CreateModelRequest, report: Report) => {
    const name = formatModelName(parseModelName(request.name));
    if (isCloudName(name)) {
      throw new InvalidRequest(`${name} has the name of a model in Ollama's cloud`, {
        next: advice('choose a name that does not end with "cloud"'),
      });
    }
    const held = await inventory.locate(request.base);
    const { engine, model: base } = baseOf(held, held[0], caller);
    const creation = engine.library?.creation;
    if (creation === undefined) throw cannotCreate(request.base, engine.id);
    const parameters = checkedParameters(request.parameters ?? {}, engine.id, creation.parameterNames);
    if (request.template !== undefined && creation.hasTemplates !== true) throw noTemplates(engine.id);

    const id = modelId(engine.id, name);
    // Otherwise both find the name free, and the later one replaces the earlier.
    if (making.has(id)) {
      throw new InvalidRequest(`${name} is already being created`, {
        next: [advice("choose another name"), advice("wait until it is created")],
      });
    }
    making.add(id);
    try {
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
            ...defined({ system: request.system, template: request.template, adapterFile: request.adapter }),
          },
          report,
          caller.signal,
        );
        loader.forget(engine, name);
        return { name, engine: engine.id, sizeBytes };
      } finally {
        inventory.forgetAll();
      }
    } finally {
      making.delete(id);
    }
  };
}

const localBase: NextStep = { step: "chooseModel", argument: "base", that: "on this machine" };

function baseOf(located: readonly LocatedModel[], { engine, model }: LocatedModel, { settings }: CallerContext) {
  const here = located.filter((found) => !takesNoMemory(found));
  if (here.length === 0) {
    throw new InvalidRequest(`${model.name} runs on ${engine.id}'s cloud and can't be a base`, { next: localBase });
  }
  // The request contains a system prompt, which the other machine would store.
  const allowed = here.filter((found) => settings.privacy !== "local_only" || found.engine.trust === "local");
  const [first] = allowed;
  if (first === undefined) {
    throw new PrivacyLocked(`${model.name} is not on this machine, and privacy is local_only: nothing was sent`, {
      next: localBase,
    });
  }
  return allowed.find((found) => found.engine.library?.creation !== undefined) ?? first;
}

function cannotCreate(base: string, engine: string): InvalidRequest {
  return new InvalidRequest(`${engine}, which has ${base}, can't create models`, {
    next: { step: "pullModel", model: base, because: "into Ollama or the embedded engine" },
  });
}

function noTemplates(engine: string): InvalidRequest {
  return new InvalidRequest(`${engine} formats prompts by the template in the GGUF, and runs none in Go's language`, {
    next: [
      advice("leave the template out"),
      advice("write a Jinja template into the GGUF with llama.cpp's gguf_new_metadata.py --chat-template"),
      advice("create the model in Ollama"),
    ],
  });
}

type Kind = "number" | "integer" | "boolean" | "texts";

/**
 * Names and types of Ollama's `api.Options`, v0.33, and least values: Ollama accepts smaller ones silently. Some negative values
 * have a meaning: `num_predict` -1 sets no limit, -2 fills the window; `repeat_last_n` and `num_keep` -1 mean the whole context;
 * a `seed` may be any number.
 */
const known: Readonly<Record<string, { readonly kind: Kind; readonly least?: number }>> = allParameters as never;

/**
 * Returns parameters in the types that engines read; numbers and booleans may be given as text, as shells do.
 * `readable` are the names that the engine supports; all of Ollama's when absent. Throws `InvalidRequest` for another
 * name, with the nearest ones, and for a value of the wrong type or too small.
 */
export function checkedParameters(
  given: Readonly<Record<string, unknown>>,
  engine: string,
  readable: readonly string[] = Object.keys(known),
): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    Object.entries(given).map(([name, value]) => {
      const { kind, least: limit } = (Object.hasOwn(known, name) ? known[name] : undefined) ?? {};
      if (kind === undefined || !readable.includes(name)) throw unreadable(name, kind !== undefined, engine, readable);
      const read = valueOf(kind, value);
      if (read === undefined) {
        throw new InvalidRequest(`parameter "${name}" must be ${kindNames[kind]}, not ${JSON.stringify(value)}`, {
          next: { step: "correctArguments" },
        });
      }
      if (limit !== undefined && typeof read === "number" && read < limit) {
        throw new InvalidRequest(`parameter "${name}" must be at least ${limit}, not ${read}`, {
          next: { step: "correctArguments" },
        });
      }
      return [name, read];
    }),
  );
}

const kindNames: Readonly<Record<Kind, string>> = {
  number: "a number",
  integer: "a whole number",
  boolean: "true or false",
  texts: "a string or a list of strings",
};

function unreadable(name: string, isKnown: boolean, engine: string, readable: readonly string[]): InvalidRequest {
  if (isKnown) {
    return new InvalidRequest(`${engine} does not support the parameter "${name}"`, {
      next: [advice("leave it out"), { step: "chooseOneOf", names: readable }],
    });
  }
  return new InvalidRequest(`unknown parameter "${name}"`, {
    next: didYouMean(name.replaceAll("-", "_"), readable, 2, { step: "chooseOneOf", names: readable }),
  });
}

function valueOf(kind: Kind, value: unknown): unknown {
  if (kind === "texts") {
    const texts = Array.isArray(value) ? (value as readonly unknown[]) : [value];
    return texts.length > 0 && texts.every((text) => typeof text === "string" && text !== "") ? texts : undefined;
  }
  if (kind === "boolean") {
    if (typeof value === "boolean") return value;
    return value === "true" ? true : value === "false" ? false : undefined;
  }
  const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
  if (typeof number !== "number" || !Number.isFinite(number)) return undefined;
  return kind === "integer" && !Number.isSafeInteger(number) ? undefined : number;
}
