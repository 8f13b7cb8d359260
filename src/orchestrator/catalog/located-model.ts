import { PrivacyLocked, UnknownModel } from "../api/errors.ts";
import type { NextStep } from "../api/next-step.ts";
import type { InstalledModel } from "../api/types.ts";
import type { Engine } from "../engines/engine.ts";
import { keyOfName, sameModel } from "../util/model-name.ts";
import { nearestNames } from "../util/nearest.ts";
import { defined, getOrInsert } from "../util/values.ts";

/** Lets requests go to engines that are not local. */
export const allowRemote: NextStep = { step: "changeSetting", setting: "privacy", to: "allow_remote" };

/** In loops over models: known already, or to be asked for. Mostly it is cached, and a promise for each of 1,000 models isn't. */
export type Awaitable<Value> = Value | Promise<Value>;

/** The known models of one engine. */
export interface EngineModels {
  readonly engine: Engine;
  readonly models: readonly InstalledModel[];
  /**
   * ISO 8601; set while the engine does not respond and `models` is the last known list (or empty if there is none).
   */
  readonly staleSince?: string;
  /** Why it does not respond, or, without `staleSince`, why it is considered stuck. */
  readonly message?: string;
  /** It does not respond and is not expected to (`ExpectedEngines`): there is no `message`, so that nothing mentions it. */
  readonly isUnmentioned?: true;
  /** It must not be contacted (`RemoteLock`), as `message` says: there are no `models`. */
  readonly isLocked?: true;
}

/** A model on the engine that serves it. */
export interface LocatedModel {
  readonly engine: Engine;
  readonly model: InstalledModel;
}

/**
 * Whether the model is never loaded by us: its server manages its own memory (a cloud, a cluster), or its engine only
 * forwards to a cloud. Models of an Ollama on another machine do use memory that is planned for.
 */
export function takesNoMemory({ engine, model }: LocatedModel): boolean {
  if (engine.residency === undefined) return true;
  return model.trust === "remote" && (engine.trust === "local" || model.sizeBytes === 0);
}

/** Whether both names stand for the same weights: by digest, or on replicas of one cluster, which have the same prices. */
export function isCopy(one: LocatedModel, other: LocatedModel): boolean {
  if (!sameModel(one.model.name, other.model.name)) return false;
  const { replicas } = one.engine;
  if (one.model.digest !== other.model.digest) return false;
  if (one.model.digest !== undefined) return true;
  return replicas !== undefined && replicas === other.engine.replicas && priceOf(one) === priceOf(other);
}

function priceOf({ engine, model }: LocatedModel): string | undefined {
  return JSON.stringify(engine.pricesOf?.(model.name));
}

/** Identifies a model of an engine and its version. */
export interface ModelReference {
  readonly engine: Engine;
  readonly model: Pick<InstalledModel, "name" | "digest" | "modifiedAt" | "contextTokens" | "capabilities">;
}

/**
 * Identifies a model of an engine in queues, reservations and observations; spellings of the same name give the same
 * id.
 */
export function modelId(engineId: string, name: string): string {
  return `${engineId} ${keyOfName(name)}`;
}

type Listed = Pick<InstalledModel, "name">;

/** Kept by listed model: every choice of a model asks for all of them, and parsing a hundred names takes a millisecond. */
const keys = new WeakMap<Listed, string>();
const ids = new WeakMap<Listed, { readonly engineId: string; readonly id: string }>();
const indexes = new WeakMap<readonly Listed[], ReadonlyMap<string, Listed>>();

/** `keyOfName` of a listed model. */
export function keyOf(model: Listed): string {
  return getOrInsert(keys, model, () => keyOfName(model.name));
}

/** `modelId` of a listed model. */
export function idOf({ engine, model }: { readonly engine: Pick<Engine, "id">; readonly model: Listed }): string {
  const known = ids.get(model);
  if (known?.engineId === engine.id) return known.id;
  const id = `${engine.id} ${keyOf(model)}`;
  ids.set(model, { engineId: engine.id, id });
  return id;
}

/** The models of a polled list by the key of their name; the first one where several have it. */
export function byKey<Model extends Listed>(models: readonly Model[]): ReadonlyMap<string, Model> {
  const known = indexes.get(models);
  if (known !== undefined) return known as ReadonlyMap<string, Model>;
  const index = new Map(models.toReversed().map((model) => [keyOf(model), model]));
  indexes.set(models, index);
  return index;
}

/** Names of models that only their maker's cloud runs. `gpt-oss` and `gpt4all` have weights to pull. */
const hostedName =
  /^(?:(?:openai|anthropic|google)\/)?(?:gpt-[3-9]|chatgpt-|claude-|gemini-|o[134](?:$|-(?:mini|pro|preview)))/i;

/**
 * The error for a name that no engine lists: engines that did not respond, and as next step the nearest names.
 * `download` describes a pull of it; it is no next step of a request that `manages` models, since what is not there can't
 * be unloaded or deleted. `PrivacyLocked`, if it is like no name here and some engines must not be contacted.
 */
export function unknownModel(
  name: string,
  all: readonly EngineModels[],
  engineId: string | undefined,
  { download, manages = false }: { readonly download?: string | undefined; readonly manages?: boolean } = {},
): UnknownModel | PrivacyLocked {
  const searched = all.filter(({ engine }) => engineId === undefined || engine.id === engineId);
  const names = [...new Set(searched.flatMap(({ models }) => models.map((model) => model.name)))];
  const nearest = nearestNames(name, names, 3);
  const down = searched
    .filter(({ message }) => message !== undefined)
    .map(({ engine, message = "" }) => (message.startsWith(engine.id) ? message : `${engine.id}: ${message}`));
  const where = engineId === undefined ? "" : ` on ${engineId}`;
  const isHosted = hostedName.test(name.trim());
  // Engines that must not be contacted may have it.
  const isNowhere = isHosted && !searched.some((each) => each.isLocked);
  const what = isNowhere ? `${name} is a cloud model, and no configured server lists it` : `no model ${name}${where}`;
  const message = [what, ...down].join("; ");
  const isLocked = nearest.length === 0 && searched.some((each) => each.isLocked);
  const listModels = { step: "listModels" } as const;
  if (manages) {
    const near = nearest.length > 0 ? [{ step: "didYouMean", names: nearest } as const, listModels] : listModels;
    return isLocked
      ? new PrivacyLocked(message, { next: [listModels, allowRemote] })
      : new UnknownModel(message, { next: near });
  }
  const pull = { step: "pullModel", model: name, ...defined({ because: download }) } as const;
  // It is probably one of theirs, and may not exist as a file: no pull is advised unless one is known to be there.
  if (isLocked) {
    const first = isHosted || download === undefined ? listModels : pull;
    return new PrivacyLocked(message, { next: [first, allowRemote] });
  }
  // Nor here: it may be one of an engine that was not contacted.
  const isElsewhere = download === undefined && searched.some((each) => each.isLocked);
  const others = isHosted ? [] : [isElsewhere ? allowRemote : pull];
  return new UnknownModel(message, {
    next: nearest.length > 0 ? [{ step: "didYouMean", names: nearest }, ...others] : [...others, listModels],
  });
}
