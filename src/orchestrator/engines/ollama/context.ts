import { GenerationFailed } from "../../api/errors.ts";
import type { Exchange } from "../transport.ts";
import { defined } from "../../util/defined.ts";

/** Timeouts in milliseconds. */
export interface OllamaTimeouts {
  /** Total time of a health check. */
  readonly healthMs: number;
  /** Total time of a lookup or a deletion. */
  readonly controlMs: number;
  /** Time without a byte during a load, prefill or answer. Loading large weights takes minutes. */
  readonly stallMs: number;
  /** Time without progress of a download. */
  readonly pullStallMs: number;
  /** Time from an unload until its memory is free. */
  readonly unloadMs: number;
}

export const defaultTimeouts: OllamaTimeouts = {
  healthMs: 2_000,
  controlMs: 10_000,
  stallMs: 600_000,
  pullStallMs: 60_000,
  unloadMs: 30_000,
};

/** A short call on the control pool with a total timeout. */
export function controlCall(
  timeouts: OllamaTimeouts,
  what: string,
  model?: string,
  otherwise: Exchange["otherwise"] = GenerationFailed,
): Exchange {
  return {
    what,
    ...defined({ model }),
    otherwise,
    pool: "control",
    bound: { kind: "total", ms: timeouts.controlMs },
  };
}

/** A call that may take minutes, on a connection of its own, with stall detection. */
export function longCall(
  timeouts: OllamaTimeouts,
  what: string,
  model: string,
  otherwise: Exchange["otherwise"],
  maxReplyBytes?: number,
): Exchange {
  return {
    what,
    model,
    otherwise,
    pool: "generation",
    bound: { kind: "stall", ms: timeouts.stallMs },
    ...(maxReplyBytes === undefined ? {} : { maxReplyBytes }),
  };
}
