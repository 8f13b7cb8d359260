import type { Decisions } from "../decisions/decisions.ts";
import type { Engine } from "../engines/engine.ts";
import type { Runners } from "../inventory/runners.ts";
import type { Pins } from "./pins.ts";
import type { OwnedModel, OwnedModels } from "./owned-models.ts";

/**
 * What engines are told of how long models stay, in seconds; negative: never unloaded. Names that one process answers for
 * stay together: a pin of one of them holds it, and whichever of them it was loaded by, it is that load that stays.
 */
export interface KeepAlive {
  /** With a load where its request names `asked`. Undefined: the engine decides. */
  forLoad(engine: Engine, name: string, asked: number | undefined): number | undefined;
  /**
   * With an answer where its request names `asked`, 0 being at once; counts as told from here on, since an engine knows
   * it also of an answer that is cancelled. Said again with every answer: an engine that loads the model anew meanwhile
   * would otherwise take its own default. Undefined: as it is.
   */
  forAnswer(engine: Engine, name: string, asked: number | undefined): number | undefined;
  /** An answer that was asked for with `told` has ended well. */
  answered(engine: Engine, name: string, told: number | undefined): void;
  /** A load of what was loaded already has told its engine so. */
  renewed(engine: Engine, name: string, asked: number | undefined, told: number): void;
  /** It would be told something else now. */
  isStale(own: OwnedModel): boolean;
}

export function createKeepAlive(parts: {
  readonly pins: Pick<Pins, "isPinned" | "keepAliveForLoad" | "keepAliveForAnswer">;
  readonly runners: Pick<Runners, "namesOf">;
  readonly owned: Pick<OwnedModels, "of" | "isForeign" | "note" | "forget">;
  readonly decisions: Pick<Decisions, "note">;
  /** Seconds of reloading that losing the model is expected to cost; undefined: not known yet. */
  readonly lossSeconds: (engine: Engine, name: string) => number | undefined;
}): KeepAlive {
  const { pins, runners, owned } = parts;

  const pinnedName = (engine: Engine, name: string): string =>
    runners.namesOf(engine, name).find(pins.isPinned) ?? name;

  function ownOf(engine: Engine, name: string): OwnedModel | undefined {
    const all = runners.namesOf(engine, name).map((each) => owned.of(engine, each));
    return all.find((own) => own !== undefined);
  }

  function forLoad(engine: Engine, name: string, asked: number | undefined): number | undefined {
    const seconds = pins.keepAliveForLoad(pinnedName(engine, name), asked);
    if (seconds === undefined || asked !== undefined || engine.kind !== "ollama") return seconds;
    return withEvictionBias(seconds, parts.lossSeconds(engine, name) ?? 0);
  }

  return {
    forLoad,
    forAnswer(engine, name, asked) {
      const named = pins.keepAliveForAnswer(pinnedName(engine, name), asked);
      const own = ownOf(engine, name);
      // How long another program's model stays is for that program to say.
      if (named === 0 || own === undefined || (named === undefined && owned.isForeign(engine, own.name))) return named;
      const wanted = { ...own, asked: asked ?? own.asked };
      const told = named ?? forLoad(engine, name, wanted.asked);
      if (told !== undefined && (told !== own.told || wanted.asked !== own.asked)) {
        owned.note(engine, { ...wanted, told });
      }
      return told;
    },
    answered(engine, name, told) {
      const own = told === 0 ? ownOf(engine, name) : undefined;
      if (own === undefined) return;
      owned.forget(engine, own.name);
      const steps = ["keep_alive 0: unloaded behind its answer"];
      parts.decisions.note({ kind: "expire", model: own.name, engine: engine.id, steps });
    },
    renewed(engine, name, asked, told) {
      const own = ownOf(engine, name);
      if (own !== undefined) owned.note(engine, { ...own, asked, told });
    },
    isStale({ name, asked, told }) {
      const seconds = pins.keepAliveForLoad(name, asked);
      if (seconds === undefined || told === undefined || seconds <= 0) return seconds !== told;
      return told < seconds || told > seconds * (1 + maxBiasShare);
    },
  };
}

/** At most so much longer than it is set: nobody is to notice. */
const maxBiasShare = 1 / 20;
/** A loss of so many seconds gets half of that. */
const halfBiasLossSeconds = 10;

/**
 * Where Ollama makes room by itself (it holds three models on a machine without a graphics card, however small they
 * are), the one that was told to stay the shortest goes first, whoever was used last. So the keep-alives of our models
 * differ a little, in the order in which they may be lost. To the millisecond, because Ollama takes fractions.
 */
export function withEvictionBias(seconds: number, lossSeconds: number): number {
  if (seconds <= 0) return seconds;
  const share = (maxBiasShare * lossSeconds) / (lossSeconds + halfBiasLossSeconds);
  return Math.round(seconds * (1 + share) * 1_000) / 1_000;
}
