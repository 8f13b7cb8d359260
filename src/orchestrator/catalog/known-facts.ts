import { LRUCache } from "lru-cache";
import { JoinedWorks } from "../util/joined-work.ts";
import { LoadFailed, throwIfCancelled } from "../api/errors.ts";
import type { Log } from "../api/log.ts";
import type { InstalledModel, ModelFacts } from "../api/types.ts";
import type { Engine } from "../engines/engine.ts";
import { type DescribedModel, describeFromDatabase, statedParameters } from "../routing/database.ts";
import { activeBytesOf } from "../routing/first-models.ts";
import type { Awaitable, LocatedModel, ModelReference } from "./located-model.ts";
import { defined, messageOf } from "../util/values.ts";

/** A cache of model facts; see `Inventory.facts`. */
export type KnownFacts = ReturnType<typeof createKnownFacts>;

/** How long the error of an unreadable file is cached: every choice of a model requests the facts of all. */
const unreadableMs = 60_000;

/**
 * Maximum size of all cached facts as JSON: those of a model have about 2,000 characters, but a hostile engine may send
 * any amount. Dropped facts are requested again.
 */
const maxCharacters = 8 * 1024 ** 2;

/** `slots` is told all facts: names of the same weights share a slot. */
export function createKnownFacts(
  slots: { note(engine: Engine, name: string, facts: ModelFacts): void },
  now: () => number,
) {
  const facts = new LRUCache<string, ModelFacts>({
    maxSize: maxCharacters,
    sizeCalculation: (each, key) => key.length + JSON.stringify(each).length,
  });
  /** Made once for a listed model: every choice of a model looks all of them up. */
  const keys = new WeakMap<object, { readonly engineId: string; readonly key: string }>();
  const unreadable = new Map<string, { readonly error: LoadFailed; readonly atMs: number }>();

  /** Requests that come at once need the facts of the same models: the engine is asked once. */
  const describing = new JoinedWorks<ModelFacts>("describing a model");

  async function describe(key: string, { engine, model }: ModelReference, signal: AbortSignal): Promise<ModelFacts> {
    try {
      const described = await engine.describe(model.name, signal);
      facts.set(key, described);
      slots.note(engine, model.name, described);
      return described;
    } catch (error) {
      if (error instanceof LoadFailed) unreadable.set(key, { error, atMs: now() });
      throw error;
    }
  }

  function keyOf({ engine, model }: ModelReference): string {
    const known = keys.get(model);
    if (known?.engineId === engine.id) return known.key;
    // The embedded engine's digest covers only the weights: a model recreated from the same weights has another time.
    const { digest, modifiedAt = "", contextTokens, capabilities } = model;
    // Without a digest, what the list says is all that tells a changed model, such as after a restart of its server.
    const version = digest ?? JSON.stringify([contextTokens, capabilities]);
    const key = `${engine.id}/${model.name}/${version}/${modifiedAt}`;
    keys.set(model, { engineId: engine.id, key });
    return key;
  }

  return {
    of(where: ModelReference, signal: AbortSignal): Awaitable<ModelFacts> {
      const key = keyOf(where);
      // No order of use is kept: every choice of a model uses all.
      const known = facts.peek(key);
      if (known === undefined) {
        const failure = unreadable.get(key);
        if (failure !== undefined && Math.abs(now() - failure.atMs) < unreadableMs)
          return Promise.reject(failure.error);
        return describing.join(key, (joined) => describe(key, where, joined), signal);
      }
      // The name may have been forgotten by the slots since.
      slots.note(where.engine, where.model.name, known);
      return known;
    },
    /** Cached facts only. */
    known: (where: ModelReference): ModelFacts | undefined => facts.peek(keyOf(where)),
    /** Drops cached errors: the files may be readable now. */
    forgetUnreadable: () => unreadable.clear(),
  };
}

interface Described extends DescribedModel {
  readonly facts: Partial<ModelFacts>;
  readonly parameterCount: number | undefined;
  readonly activeBytes: number | undefined;
}

/** By listed model, from its latest facts: every choice of a model describes all. */
const described = new WeakMap<InstalledModel, Described>();

export function describedBy(model: InstalledModel, facts: Partial<ModelFacts>): Described {
  const known = described.get(model);
  if (known?.facts === facts) return known;
  const merged: Described = {
    ...describeFromDatabase(model.name, { ...facts, ...model.stated }),
    facts,
    parameterCount:
      parseParameterSize(model.parameterSize ?? facts.parameterSize) ??
      // A server elsewhere tells no more than the name.
      (model.sizeBytes === 0 ? statedParameters(model.name) : undefined),
    activeBytes: activeBytesOf(model),
  };
  described.set(model, merged);
  return merged;
}

/** Facts from the list if it has enough of them, else from the engine; only listed ones if its file can't be read. */
export function factsOf(
  source: { readonly inventory: { facts: KnownFacts["of"] }; readonly log: Log },
  located: LocatedModel,
  signal: AbortSignal,
): Awaitable<Partial<ModelFacts>> {
  const { model } = located;
  const known = described.get(model)?.facts;
  if (known?.capabilities !== undefined && known.contextTokens !== undefined) return known;
  if (model.capabilities !== undefined && model.contextTokens !== undefined) return listedFacts(model);
  const facts = source.inventory.facts(located, signal);
  if (!(facts instanceof Promise)) return facts;
  return facts.catch((error: unknown) => {
    throwIfCancelled(signal, `reading ${model.name}`);
    source.log.info(`no facts of ${model.name}: ${messageOf(error)}`);
    return listedFacts(model);
  });
}

function listedFacts(model: InstalledModel): Partial<ModelFacts> {
  const { capabilities } = model;
  return {
    name: model.name,
    sizeBytes: model.sizeBytes,
    trust: model.trust,
    ...defined({
      contextTokens: model.contextTokens,
      capabilities,
      parameterSize: model.parameterSize,
      architecture: model.family,
    }),
  };
}

/** `7.6B` → 7.6e9, `134.52M` → 134.52e6. */
function parseParameterSize(text: string | undefined): number | undefined {
  const match = /^\s*([\d.]+)\s*([KMBT])/i.exec(text ?? "");
  if (match === null) return undefined;
  const factor = { K: 1e3, M: 1e6, B: 1e9, T: 1e12 }[(match[2] ?? "").toUpperCase()];
  const value = Number(match[1]);
  return factor === undefined || Number.isNaN(value) ? undefined : value * factor;
}
