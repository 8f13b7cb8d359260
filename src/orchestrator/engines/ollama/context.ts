import type { Log } from "../../log.ts";
import type { InspectGguf } from "../../gguf/inspect.ts";
import type { AddressGuard } from "../../store/address-guard.ts";
import type { OllamaModels } from "./models.ts";
import type { Exchange, Transport } from "./transport.ts";
import { GenerationFailed } from "../../errors.ts";

/** Bounds of every wait, in milliseconds. */
export interface OllamaTimeouts {
  /** Of a health check, in all. */
  readonly healthMs: number;
  /** Of a call that only looks something up or deletes, in all. */
  readonly controlMs: number;
  /** Without a byte while a model loads, reads the prompt or answers. Loading big weights takes minutes. */
  readonly stallMs: number;
  /** Without progress of a download. */
  readonly pullStallMs: number;
  /** From an unload to the memory being free. */
  readonly unloadMs: number;
}

export const defaultTimeouts: OllamaTimeouts = {
  healthMs: 2_000,
  controlMs: 10_000,
  stallMs: 600_000,
  pullStallMs: 60_000,
  unloadMs: 30_000,
};

/** What the adapter's groups of operations share. */
export interface OllamaContext {
  readonly transport: Transport;
  readonly timeouts: OllamaTimeouts;
  readonly models: OllamaModels;
  /** Judges where a name would have Ollama pull from. */
  readonly registries: AddressGuard;
  /** Registries (`host:port`) that it may pull from over plain http. */
  readonly insecureHosts: readonly string[];
  /** Looks into an adapter before it is sent. */
  readonly inspect?: InspectGguf;
  readonly now: () => number;
  readonly log: Log;
}

/** A short call on the control pool, bounded in all. */
export function control(
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

/** A call that may take minutes on a connection of its own, with stall detection. */
export function lasting(
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
