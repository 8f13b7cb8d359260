import type { Decisions } from "./decisions.ts";
import type { Engine } from "../engines/engine.ts";
import type { Runners } from "../models/runners.ts";
import type { Pins } from "./pins.ts";
import type { OwnedModel, OwnedModels } from "./owned-models.ts";

/**
 * The keep-alive to send to engines, in seconds; negative: never unloaded. Names served by one process share it:
 * pinning one of them pins the process, whatever name it was loaded by.
 */
export interface KeepAlive {
  /** For a load; `requestedSeconds` is the keep-alive of the request. Undefined: the engine decides. */
  forLoad(engine: Engine, name: string, requestedSeconds: number | undefined): number | undefined;
  /**
   * For an answer; `requestedSeconds` is the keep-alive of the request (0: unload at once). Recorded before the answer,
   * since an engine applies it even if the answer is cancelled. Sent with every answer: an engine that reloads the
   * model meanwhile would use its own default otherwise. Undefined: unchanged.
   */
  forAnswer(engine: Engine, name: string, requestedSeconds: number | undefined): number | undefined;
  /** An answer that was requested with the keep-alive `sentSeconds` has completed. */
  answered(engine: Engine, name: string, sentSeconds: number | undefined): void;
  /** A load request for a loaded model has sent this keep-alive. */
  renewed(engine: Engine, name: string, requestedSeconds: number | undefined, sentSeconds: number): void;
  /** Whether the keep-alive that was sent differs from the one that is configured now. */
  isStale(own: OwnedModel): boolean;
}

export function createKeepAlive(parts: {
  readonly pins: Pick<Pins, "isPinned" | "keepAliveForLoad" | "keepAliveForAnswer">;
  readonly runners: Pick<Runners, "namesOf">;
  readonly owned: Pick<OwnedModels, "of" | "isForeign" | "note" | "forget">;
  readonly decisions: Pick<Decisions, "note">;
  /** Seconds of reloading that losing the model is expected to cost; undefined if not known yet. */
  readonly lossSeconds: (engine: Engine, name: string) => number | undefined;
}): KeepAlive {
  const { pins, runners, owned } = parts;

  const pinnedName = (engine: Engine, name: string): string =>
    runners.namesOf(engine, name).find(pins.isPinned) ?? name;

  function ownOf(engine: Engine, name: string): OwnedModel | undefined {
    const all = runners.namesOf(engine, name).map((each) => owned.of(engine, each));
    return all.find((own) => own !== undefined);
  }

  function forLoad(engine: Engine, name: string, requestedSeconds: number | undefined): number | undefined {
    const seconds = pins.keepAliveForLoad(pinnedName(engine, name), requestedSeconds);
    if (seconds === undefined || requestedSeconds !== undefined) return seconds;
    if (engine.residency?.evictsByKeepAlive !== true) return seconds;
    return withEvictionBias(seconds, parts.lossSeconds(engine, name) ?? 0);
  }

  return {
    forLoad,
    forAnswer(engine, name, requestedSeconds) {
      const named = pins.keepAliveForAnswer(pinnedName(engine, name), requestedSeconds);
      const own = ownOf(engine, name);
      // The keep-alive of another program's model is not ours to change.
      if (named === 0 || own === undefined || (named === undefined && owned.isForeign(engine, own.name))) return named;
      const wanted = { ...own, requestedSeconds: requestedSeconds ?? own.requestedSeconds };
      const sentSeconds = named ?? forLoad(engine, name, wanted.requestedSeconds);
      if (
        sentSeconds !== undefined &&
        (sentSeconds !== own.sentSeconds || wanted.requestedSeconds !== own.requestedSeconds)
      ) {
        owned.note(engine, { ...wanted, sentSeconds });
      }
      return sentSeconds;
    },
    answered(engine, name, sentSeconds) {
      const own = sentSeconds === 0 ? ownOf(engine, name) : undefined;
      if (own === undefined) return;
      owned.forget(engine, own.name);
      const steps = ["unloaded after its answer (keep-alive 0)"];
      parts.decisions.note({ kind: "expire", model: own.name, engine: engine.id, steps });
    },
    renewed(engine, name, requestedSeconds, sentSeconds) {
      const own = ownOf(engine, name);
      if (own !== undefined) owned.note(engine, { ...own, requestedSeconds, sentSeconds });
    },
    isStale({ name, requestedSeconds, sentSeconds }) {
      const seconds = pins.keepAliveForLoad(name, requestedSeconds);
      if (seconds === undefined || sentSeconds === undefined || seconds <= 0) return seconds !== sentSeconds;
      return sentSeconds < seconds || sentSeconds > seconds * (1 + maxBiasShare);
    },
  };
}

/** Largest share by which the configured keep-alive is extended. */
const maxBiasShare = 1 / 20;
/** A model that takes this many seconds to reload gets half of it. */
const halfBiasLossSeconds = 10;

/**
 * When Ollama makes room by itself (without a graphics card it holds at most three models, however small), it evicts
 * the model with the shortest keep-alive first, regardless of last use. So the keep-alives of our models differ
 * slightly, in the order in which they should be evicted. Rounded to milliseconds: Ollama accepts fractions of a
 * second.
 */
export function withEvictionBias(seconds: number, lossSeconds: number): number {
  if (seconds <= 0) return seconds;
  const share = (maxBiasShare * lossSeconds) / (lossSeconds + halfBiasLossSeconds);
  return Math.round(seconds * (1 + share) * 1_000) / 1_000;
}
