import type { Engine } from "../engines/engine.ts";

/**
 * Names what an engine's models run on, over restarts: by kind and address, because ids are counted anew when a server
 * goes from `providers.ollama.hosts`. Undefined without an address: it isn't found again.
 */
export function engineKey({ kind, address }: Pick<Engine, "kind" | "address">): string | undefined {
  return address === undefined ? undefined : `${kind} ${address}`;
}
