/** Settings and sections under their old names. An old name is refused with the new one wherever a setting is given. */
export const renamedSettings: ReadonlyMap<string, string> = new Map([
  ["memory.injectTokens", "recall.injectTokens"],
  ["owner", "daemon"],
  ["owner.idleTimeout", "daemon.idleTimeout"],
]);

const noLonger = (value: string): string => `it is always ${value}; remove it`;

/** Settings that are gone, each with what to do instead. They are refused like old names. `*` is the place in a list. */
export const removedSettings: ReadonlyMap<string, string> = new Map([
  ["registry.defaultHost", "put the host of your mirror into the model's name: HOST/library/NAME:TAG"],
  [
    "registry.insecureHosts",
    "registries on this machine are reached over HTTP, all others over HTTPS; list yours in network.allowedHosts",
  ],
  ["memory.smallModelBytes", noLonger("5 GiB")],
  ["queue.maxOvertakeMs", noLonger("30 seconds")],
  ["conversations.maxCount", noLonger("100")],
  ["jobs.maxBytes", noLonger("256 MiB")],
  ["http.maxSessions", noLonger("128")],
  ["http.maxConnections", noLonger("512")],
  ["http.idleTimeout", noLonger("30 minutes")],
  ["savings.currency", "write your own prices in US dollars and remove it"],
  ["providers.ollama.connectionKeepAlive", noLonger("30 seconds")],
  ["providers.openai.*.connectionKeepAlive", noLonger("30 seconds")],
  ["providers.openai.*.limits.connect", noLonger("10 seconds")],
  ["providers.openai.*.limits.firstToken", `${noLonger("300 seconds")}, or set limits.total`],
  ["providers.openai.*.limits.betweenTokens", `${noLonger("120 seconds")}, or set limits.total`],
]);

/** `memory.injectTokens is now recall.injectTokens`, or that it was removed; undefined for a path that is neither. */
export function renamedText(path: readonly string[]): string | undefined {
  const old = path.join(".");
  const name = renamedSettings.get(old);
  return name === undefined ? removedText(path) : `${old} is now ${name}`;
}

function removedText(path: readonly string[]): string | undefined {
  const instead = removedSettings.get(path.map((key) => (/^\d+$/.test(key) ? "*" : key)).join("."));
  return instead === undefined ? undefined : `${path.join(".").replaceAll(/\.(\d+)/g, "[$1]")} was removed: ${instead}`;
}

/** The old settings at or below a path: those of a section, or the section where it holds none of them. */
export function renamedBelow(
  path: readonly string[],
  isSet: (path: readonly string[]) => boolean,
): readonly (readonly string[])[] {
  const own = path.join(".");
  const below = [...renamedSettings.keys()].filter((old) => old.startsWith(`${own}.`)).map((old) => old.split("."));
  const given = below.filter(isSet);
  return given.length === 0 && renamedText(path) !== undefined ? [path] : given;
}
