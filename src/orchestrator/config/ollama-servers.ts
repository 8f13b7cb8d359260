import type { OllamaServerOptions } from "../api/types.ts";
import { parseOllamaHost } from "../util/ollama-host.ts";
import type { Sources } from "./paths.ts";
import type { Settings } from "./schema.ts";

/** A configured Ollama server. */
interface OllamaServer {
  /** `ollama`, `ollama-2`, ... */
  readonly id: string;
  /** As written. */
  readonly host: string;
  /** Only of the first server. */
  readonly memoryBytes: number | undefined;
  /** Only of the first server; the others use Ollama's defaults. */
  readonly serverOptions: OllamaServerOptions | undefined;
}

/**
 * The server at `providers.ollama.host`, then those of `hosts` without duplicates. An id is the position in `hosts`, also
 * where duplicates are left out. Throws `InvalidConfig` for an invalid address.
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

/**
 * Whether the settings leave it open that there is an Ollama server: none is named, and the embedded engine serves
 * without one.
 */
export function isOllamaOptional(providers: Settings["providers"], sources: Pick<Sources, "has">): boolean {
  const { ollama, llamaCpp } = providers;
  return llamaCpp.enabled && ollama.hosts.length === 0 && !sources.has("providers.ollama.host");
}

/** Treats the names of this machine as one: the models of a server listed twice would count twice. */
function serverOf(host: string): string {
  return parseOllamaHost(host).baseUrl.replace(/^(https?:\/\/)(localhost|\[::1\])(?=:)/i, "$1127.0.0.1");
}
