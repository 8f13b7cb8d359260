import type { Engine } from "../engines/engine.ts";

/**
 * Identifies an engine across restarts by kind and address: its id may change when `providers.ollama.hosts` does.
 * Undefined without an address.
 */
export function engineKey({ kind, address }: Pick<Engine, "kind" | "address">): string | undefined {
  return address === undefined ? undefined : `${kind} ${address}`;
}
