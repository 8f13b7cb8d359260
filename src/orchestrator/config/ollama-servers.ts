import { parseOllamaHost } from "../text/ollama-host.ts";
import type { OllamaServerOptions } from "../types.ts";
import type { Settings } from "./schema.ts";

/** One server that is configured, as an engine. */
export interface OllamaServer {
  /** `ollama`, `ollama-2`, ... */
  readonly id: string;
  /** As it was written. */
  readonly host: string;
  /** `memoryBytes` of the first. */
  readonly memoryBytes: number | undefined;
  /** Of the first; the others load as an Ollama does by itself. */
  readonly serverOptions: OllamaServerOptions | undefined;
}

/**
 * `providers.ollama.host`, then those of `hosts` that are other servers; ids count on, whatever else is left out. Throws
 * `InvalidConfig` for an address that can't be read.
 */
export function ollamaServers(settings: Settings["providers"]["ollama"]): readonly OllamaServer[] {
  const { host, hosts, memoryBytes, parallel, cacheType, flashAttention } = settings;
  const serverOptions = { parallel, cacheType, hasFlashAttention: flashAttention };
  const further = hosts.map((each, index) => ({
    id: `ollama-${index + 2}`,
    host: each,
    memoryBytes: undefined,
    serverOptions: undefined,
  }));
  const all = [{ id: "ollama", host, memoryBytes, serverOptions }, ...further];
  const servers = all.map((server) => serverOf(server.host));
  return all.filter((_, index) => servers.indexOf(servers[index] ?? "") === index);
}

/** Also true of what can't be read: that is told elsewhere. */
export function isOnThisMachine(host: string): boolean {
  try {
    return parseOllamaHost(host).isLoopback;
  } catch {
    return true;
  }
}

/** This machine's names are one: the models of a server that is listed twice would count twice in its memory. */
function serverOf(host: string): string {
  return parseOllamaHost(host).baseUrl.replace(/^(https?:\/\/)(localhost|\[::1\])(?=:)/i, "$1127.0.0.1");
}
