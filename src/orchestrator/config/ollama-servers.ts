import { defined } from "../util/values.ts";
import { parseOllamaHost } from "../util/ollama-host.ts";
import type { Sources } from "./paths.ts";
import type { Settings } from "./schema.ts";

/**
 * The server at `providers.ollama.host`, then those of `hosts` without duplicates; `host` as written. An id (`ollama`,
 * `ollama-2`, ...) is the position in `hosts`, also where duplicates are left out. `serverOptions` has `parallel` only where
 * the settings state it. Throws `InvalidConfig` for an invalid address.
 */
export function ollamaServers(settings: Settings["providers"]["ollama"]) {
  const further = settings.hosts.map((each) => (typeof each === "string" ? { host: each } : each));
  const all = [settings, ...further].map((server: Partial<typeof settings> & { readonly host: string }, index) => {
    const { host, memoryBytes, parallel, cacheType, flashAttention: hasFlashAttention } = server;
    const id = index === 0 ? "ollama" : `ollama-${index + 1}`;
    return { id, host, memoryBytes, serverOptions: defined({ parallel, cacheType, hasFlashAttention }) };
  });
  // The names of this machine are one: the models of a server listed twice would count twice.
  const servers = all.map(({ host }) =>
    parseOllamaHost(host).baseUrl.replace(/^(https?:\/\/)(localhost|\[::1\])(?=:)/i, "$1127.0.0.1"),
  );
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
