import type { Decisions } from "../decisions/decisions.ts";
import type { Engine } from "../engines/engine.ts";
import type { Runners } from "../inventory/runners.ts";
import type { Pins } from "./pins.ts";
import type { OwnedModel, OwnedModels } from "./owned-models.ts";

/**
 * The keep-alive to send to engines, in seconds; negative: never unloaded. Names that one process serves share it: a pin
 * of any of them pins the process, under whichever name it was loaded.
 */
export interface KeepAlive {
  /** For a load; `asked` is what its request names. Undefined: the engine decides. */
  forLoad(engine: Engine, name: string, asked: number | undefined): number | undefined;
  /**
   * For an answer; `asked` is what its request names (0: unload at once). Recorded right away, since an engine applies
   * it even if the answer is cancelled. Sent with every answer: an engine that reloads the model meanwhile would
   * otherwise use its own default. Undefined: unchanged.
   */
  forAnswer(engine: Engine, name: string, asked: number | undefined): number | undefined;
  /** An answer requested with the keep-alive `told` has completed. */
  answered(engine: Engine, name: string, told: number | undefined): void;
  /** A load request for a loaded model has sent its engine this keep-alive. */
  renewed(engine: Engine, name: string, asked: number | undefined, told: number): void;
  /** Its keep-alive would be different now. */
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

/** Largest part by which the configured keep-alive is lengthened: too little to be noticed. */
const maxBiasShare = 1 / 20;
/** A reload of this many seconds gets half of that. */
const halfBiasLossSeconds = 10;

/**
 * Where Ollama makes room by itself (it holds three models on a machine without a graphics card, however small they
 * are), it evicts the model with the shortest keep-alive first, whichever was used last. So the keep-alives of our
 * models differ slightly, in the order in which they should be evicted. To the millisecond: Ollama accepts fractions.
 */
export function withEvictionBias(seconds: number, lossSeconds: number): number {
  if (seconds <= 0) return seconds;
  const share = (maxBiasShare * lossSeconds) / (lossSeconds + halfBiasLossSeconds);
  return Math.round(seconds * (1 + share) * 1_000) / 1_000;
}
