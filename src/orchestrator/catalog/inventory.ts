import type { InstalledModel, ModelFacts } from "../api/types.ts";
import { type Engine, type ResidentModel, looksAlike } from "../engines/engine.ts";
import { keyOfName, sameModel, taggedNames } from "../util/model-name.ts";
import { EnginePolls, freshMs } from "./engine-polls.ts";
import type { KnownFacts } from "./known-facts.ts";
import {
  type Awaitable,
  type EngineModels,
  type LocatedModel,
  type ModelReference,
  unknownModel,
  byKey,
  keyOf,
} from "./located-model.ts";

type Listed = InstalledModel | ResidentModel;
/** A model at each engine that has it. */
type Held = [LocatedModel, ...LocatedModel[]];

/** What a pull of this name downloads and needs here; undefined for models that are never suggested. */
interface Downloads {
  download(name: string): Promise<string | undefined>;
}

/** Which models there are, where, and what is known about them. */
export class Inventory extends EnginePolls {
  readonly #facts: KnownFacts;
  readonly #suggestions: Downloads;
  readonly #signal: AbortSignal;
  /** Which of an engine's loaded models serve its listed ones, as both lists are now. */
  readonly #serving = new WeakMap<
    readonly Listed[],
    {
      readonly installed: readonly InstalledModel[];
      readonly of: Map<Listed, { readonly resident: ResidentModel | undefined }>;
    }
  >();
  #unique: { readonly of: readonly EngineModels[]; readonly held: readonly Held[] } | undefined;

  constructor(
    parts: ConstructorParameters<typeof EnginePolls>[0] & {
      readonly facts: KnownFacts;
      /** What a pull of a model downloads and needs, for the error about an unknown one. */
      readonly suggestions: Downloads;
    },
  ) {
    super(parts);
    this.#facts = parts.facts;
    this.#suggestions = parts.suggestions;
    this.#signal = parts.signal;
  }

  /** Drops the cached data of all engines after a pull or a delete: engines may share files. */
  override forgetAll(): void {
    this.#facts.forgetUnreadable();
    super.forgetAll();
  }

  /**
   * Facts of a model, cached by digest; the error of an unreadable file, for a minute. Throws what `Engine.describe`
   * throws.
   */
  facts(where: ModelReference, signal: AbortSignal): Awaitable<ModelFacts> {
    return this.#facts.of(where, signal);
  }

  /** The cached facts of a model, if any. */
  knownFacts(where: ModelReference): ModelFacts | undefined {
    return this.#facts.known(where);
  }

  /**
   * The loaded model that serves the given one, at most `maxAgeMs` old. It may have another name that shares the
   * process (`LoadRules.processOf`); the facts needed to find it are requested once.
   */
  residentOf(located: LocatedModel, maxAgeMs: number): Awaitable<ResidentModel | undefined> {
    return after(this.resident(located.engine, maxAgeMs), (loaded) => this.#among(loaded, located));
  }

  #among(loaded: readonly ResidentModel[], located: LocatedModel): Awaitable<ResidentModel | undefined> {
    if (loaded.length === 0) return undefined;
    const installed = this.lastList(located.engine);
    let serving = this.#serving.get(loaded);
    if (serving?.installed !== installed) this.#serving.set(loaded, (serving = { installed, of: new Map() }));
    const known = serving.of.get(located.model);
    if (known !== undefined) return known.resident;
    const resident = byKey(loaded).get(keyOf(located.model)) ?? this.#sharedResident(located, loaded);
    if (!(resident instanceof Promise)) serving.of.set(located.model, { resident });
    return resident;
  }

  /** Whether `residentOf` finds one. */
  isLoaded(located: LocatedModel, maxAgeMs: number): Awaitable<boolean> {
    return after(this.residentOf(located, maxAgeMs), (resident) => resident !== undefined);
  }

  /** Every model once: at the engine where it is loaded, else at the first one that holds it and responds. */
  async uniqueModels(all: readonly EngineModels[]): Promise<readonly LocatedModel[]> {
    const found: LocatedModel[] = [];
    for (const held of this.#heldBy(all)) {
      const [first] = held;
      found.push(held.length === 1 ? first : (await this.#inOrderOfUse(held))[0]);
    }
    return found;
  }

  /** The models of these lists by their names; kept while the lists are the same. */
  #heldBy(all: readonly EngineModels[]): readonly Held[] {
    const isSame = ({ engine, models }: EngineModels, at: number) =>
      this.#unique?.of[at]?.engine === engine && this.#unique.of[at]?.models === models;
    if (this.#unique?.of.length === all.length && all.every(isSame)) return this.#unique.held;
    const byName = new Map<string, Held>();
    for (const { engine, models } of all) {
      for (const model of models) {
        const key = keyOf(model);
        const held = byName.get(key);
        if (held === undefined) byName.set(key, [{ engine, model }]);
        else held.push({ engine, model });
      }
    }
    const held = [...byName.values()];
    this.#unique = { of: all, held };
    return held;
  }

  /**
   * The model at every engine that holds it, in the configured order of the engines; engines where it is loaded come
   * first, unresponsive ones last. A name without its tag also means the only model that has it with another tag. Throws
   * `UnknownModel` with the nearest names, and a pull unless the request `manages` it.
   */
  async locate(name: string, engineId?: string, manages = false): Promise<Readonly<Held>> {
    let found = this.#find(await this.recentLists(), name, engineId);
    // A single one has no order.
    if (found.length === 1) return found as Readonly<Held>;
    // If it isn't in the cached lists, another program may have pulled it since.
    if (found.length === 0) found = this.#find(await this.lists(0), name, engineId);
    if (found.length === 0) found = this.#findTagged(await this.recentLists(), name, engineId);
    if (found.length === 0) {
      const download = manages ? undefined : await this.#suggestions.download(name);
      throw unknownModel(name, await this.recentLists(), engineId, { download, manages });
    }
    return this.#inOrderOfUse(found as Readonly<Held>);
  }

  #find(all: readonly EngineModels[], name: string, engineId: string | undefined): readonly LocatedModel[] {
    const key = keyOfName(name);
    const found: LocatedModel[] = [];
    for (const { engine, models } of all) {
      const model = engineId === undefined || engine.id === engineId ? byKey(models).get(key) : undefined;
      if (model !== undefined) found.push({ engine, model });
    }
    return found;
  }

  /** The only model that a name without its tag can mean. */
  #findTagged(all: readonly EngineModels[], name: string, engineId: string | undefined): readonly LocatedModel[] {
    const searched = all.filter(({ engine }) => engineId === undefined || engine.id === engineId);
    const names = searched.flatMap(({ models }) => models.map((model) => model.name));
    const [tagged, ...others] = taggedNames(name, names);
    if (tagged === undefined || others.some((other) => !sameModel(other, tagged))) return [];
    return this.#find(all, tagged, engineId);
  }

  /**
   * The model of `loaded` that serves the given one under another name. Describes only models that look alike, and
   * compares those that are described already.
   */
  #sharedResident(
    { engine, model }: LocatedModel,
    loaded: readonly ResidentModel[],
  ): Awaitable<ResidentModel | undefined> {
    if (model.digest === undefined) return undefined;
    const installed = byKey(this.lastList(engine));
    const hasFacts = this.#facts.known({ engine, model }) !== undefined;
    const alike = loaded.flatMap((resident) => {
      const row = installed.get(keyOf(resident));
      // The digest must match: the name may refer to other weights by now.
      if (row === undefined || row.digest !== resident.digest) return [];
      // The embedded engine's digest covers only the weights, not the labels of a manifest. Labels of the
      // same weights differ by where a model comes from: they only spare a request.
      const isKnown = hasFacts && this.#facts.known({ engine, model: row }) !== undefined;
      return isKnown || row.digest === model.digest || looksAlike(row, model) ? [{ resident, row }] : [];
    });
    if (alike.length === 0) return undefined;
    return after(this.#runnerOf({ engine, model }), (wanted) => this.#firstOfRunner(wanted, engine, alike));
  }

  #firstOfRunner(
    wanted: string | undefined,
    engine: Engine,
    [first, ...others]: readonly { readonly resident: ResidentModel; readonly row: InstalledModel }[],
  ): Awaitable<ResidentModel | undefined> {
    if (wanted === undefined || first === undefined) return undefined;
    return after(this.#runnerOf({ engine, model: first.row }), (runner) =>
      runner === wanted ? first.resident : this.#firstOfRunner(wanted, engine, others),
    );
  }

  #runnerOf({ engine, model }: LocatedModel): Awaitable<string | undefined> {
    const runnerOf = (facts: ModelFacts) => engine.residency?.processOf(facts)?.runner;
    const facts = this.#facts.of({ engine, model }, this.#signal);
    return facts instanceof Promise ? facts.then(runnerOf, () => undefined) : runnerOf(facts);
  }

  /** Loaded first, unresponsive engines last, otherwise in the configured order. */
  async #inOrderOfUse(held: Readonly<Held>): Promise<Readonly<Held>> {
    const ranked = await Promise.all(
      held.map(async (located) => ({
        located,
        order: this.isDown(located.engine) ? 2 : (await this.isLoaded(located, freshMs)) ? 0 : 1,
      })),
    );
    return ranked.toSorted((a, b) => a.order - b.order).map(({ located }) => located) as [LocatedModel];
  }
}

/** Without a promise where the value is there: every choice of a model asks about all. */
function after<Value, Result>(value: Awaitable<Value>, use: (value: Value) => Awaitable<Result>): Awaitable<Result> {
  return value instanceof Promise ? value.then(use) : use(value);
}
