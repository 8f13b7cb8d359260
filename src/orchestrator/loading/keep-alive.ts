import type { Decisions } from "../decisions/decisions.ts";
import type { Engine } from "../engines/engine.ts";
import type { Runners } from "../inventory/runners.ts";
import type { Keeping } from "./pins.ts";
import type { OwnLoad, OwnLoads } from "./owned-models.ts";

/**
 * What engines are told of how long models stay, in seconds; negative: never unloaded. Names that one process answers for
 * stay together: a pin of one of them holds it, and whichever of them it was loaded by, it is that load that stays.
 */
export interface Telling {
  /** With a load where its request names `asked`. Undefined: the engine decides. */
  ofLoad(engine: Engine, name: string, asked: number | undefined): number | undefined;
  /**
   * With an answer where its request names `asked`, 0 being at once; counts as told from here on, since an engine knows
   * it also of an answer that is cancelled. Said again with every answer: an engine that loads the model anew meanwhile
   * would otherwise take its own default. Undefined: as it is.
   */
  ofAnswer(engine: Engine, name: string, asked: number | undefined): number | undefined;
  /** An answer that was asked for with `told` has ended well. */
  answered(engine: Engine, name: string, told: number | undefined): void;
  /** A load of what was loaded already has told its engine so. */
  toldAgain(engine: Engine, name: string, asked: number | undefined, told: number): void;
  /** It would be told something else now. */
  isStale(own: OwnLoad): boolean;
}

export function createTelling(parts: {
  readonly keeping: Pick<Keeping, "isPinned" | "secondsOfLoad" | "secondsOfAnswer">;
  readonly runners: Pick<Runners, "namesOf">;
  readonly ours: Pick<OwnLoads, "of" | "isForeign" | "note" | "forget">;
  readonly decisions: Pick<Decisions, "note">;
  /** Seconds of reloading that losing the model is expected to cost; undefined: not known yet. */
  readonly lossSeconds: (engine: Engine, name: string) => number | undefined;
}): Telling {
  const { keeping, runners, ours } = parts;

  const keptName = (engine: Engine, name: string): string =>
    runners.namesOf(engine, name).find(keeping.isPinned) ?? name;

  function ownOf(engine: Engine, name: string): OwnLoad | undefined {
    const all = runners.namesOf(engine, name).map((each) => ours.of(engine, each));
    return all.find((own) => own !== undefined);
  }

  function ofLoad(engine: Engine, name: string, asked: number | undefined): number | undefined {
    const seconds = keeping.secondsOfLoad(keptName(engine, name), asked);
    if (seconds === undefined || asked !== undefined || engine.kind !== "ollama") return seconds;
    return withSteering(seconds, parts.lossSeconds(engine, name) ?? 0);
  }

  return {
    ofLoad,
    ofAnswer(engine, name, asked) {
      const named = keeping.secondsOfAnswer(keptName(engine, name), asked);
      const own = ownOf(engine, name);
      // How long another program's model stays is for that program to say.
      if (named === 0 || own === undefined || (named === undefined && ours.isForeign(engine, own.name))) return named;
      const wanted = { ...own, asked: asked ?? own.asked };
      const told = named ?? ofLoad(engine, name, wanted.asked);
      if (told !== undefined && (told !== own.told || wanted.asked !== own.asked)) {
        ours.note(engine, { ...wanted, told });
      }
      return told;
    },
    answered(engine, name, told) {
      const own = told === 0 ? ownOf(engine, name) : undefined;
      if (own === undefined) return;
      ours.forget(engine, own.name);
      const steps = ["keep_alive 0: unloaded behind its answer"];
      parts.decisions.note({ kind: "expire", model: own.name, engine: engine.id, steps });
    },
    toldAgain(engine, name, asked, told) {
      const own = ownOf(engine, name);
      if (own !== undefined) ours.note(engine, { ...own, asked, told });
    },
    isStale({ name, asked, told }) {
      const seconds = keeping.secondsOfLoad(name, asked);
      if (seconds === undefined || told === undefined || seconds <= 0) return seconds !== told;
      return told < seconds || told > seconds * (1 + steeringShare);
    },
  };
}

/** At most so much longer than it is set: nobody is to notice. */
const steeringShare = 1 / 20;
/** A loss of so many seconds gets half of that. */
const middlingLossSeconds = 10;

/**
 * Where Ollama makes room by itself (it holds three models on a machine without a graphics card, however small they
 * are), the one that was told to stay the shortest goes first, whoever was used last. So the keep-alives of our models
 * differ a little, in the order in which they may be lost. To the millisecond, because Ollama takes fractions.
 */
export function withSteering(seconds: number, lossSeconds: number): number {
  if (seconds <= 0) return seconds;
  const share = (steeringShare * lossSeconds) / (lossSeconds + middlingLossSeconds);
  return Math.round(seconds * (1 + share) * 1_000) / 1_000;
}
