import { GenerationFailed } from "../../api/errors.ts";
import type { Log } from "../../api/log.ts";
import type { InspectGguf } from "../gguf/header.ts";
import type { AddressGuard } from "../address-guard.ts";
import type { OllamaModels } from "./facts.ts";
import type { Exchange, Transport } from "./transport.ts";

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

/** Dependencies shared by the adapter's groups of operations. */
export interface OllamaContext {
  readonly transport: Transport;
  readonly timeouts: OllamaTimeouts;
  readonly models: OllamaModels;
  /** Checks the registry that Ollama would pull a name from. */
  readonly registries: AddressGuard;
  /** Registries (`host:port`) that Ollama may pull from over plain HTTP. */
  readonly insecureHosts: readonly string[];
  /** Checks an adapter file before it is uploaded. */
  readonly inspect?: InspectGguf;
  readonly now: () => number;
  readonly log: Log;
}

/** A short call on the control pool with a total timeout. */
export function controlCall(
  timeouts: OllamaTimeouts,
  what: string,
  model?: string,
  otherwise: Exchange["otherwise"] = GenerationFailed,
): Exchange {
  return {
    what,
    ...(model === undefined ? {} : { model }),
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
