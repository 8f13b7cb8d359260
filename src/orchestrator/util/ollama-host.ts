import { randomUUID } from "node:crypto";
import { isIP } from "node:net";
import { InvalidConfig } from "../api/errors.ts";
import { advice } from "../api/next-step.ts";

/** Where an Ollama server listens. */
export type OllamaHost = ReturnType<typeof parseOllamaHost>;

/**
 * In requests of our engines to servers of this machine, so that our own listener refuses them: they would go in a circle.
 * Its Ollama API (`http.ollamaPort`) refuses those of every ollm, since it is never to be taken for an Ollama.
 */
export const engineHeader = "ollm-engine";
/** Tells this daemon apart from others, which may serve it. */
export const engineId = randomUUID();

const next = advice("use host, host:port or http(s)://host:port, such as http://127.0.0.1:11434");

/**
 * Parses every form that Ollama accepts for `OLLAMA_HOST` (its `envconfig.Host`): `host`, `host:port`, `:port`,
 * `http(s)://host[:port][/path]`, bare or bracketed IPv6, with optional quotes and blanks around it. The default port is
 * 11434 without a scheme, else that of the scheme. A listen address (`0.0.0.0`, `::`) becomes the loopback address.
 * Throws `InvalidConfig`.
 */
export function parseOllamaHost(value: string) {
  const text = value.trim().replace(/^["']|["']$/g, "");
  const [, explicitScheme, rest] = /^(?:([a-z][a-z0-9+.-]*):\/\/)?(.*)$/is.exec(text) ?? [];
  const isCloud = explicitScheme === undefined && rest === "ollama.com";
  const scheme = isCloud ? "https" : (explicitScheme?.toLowerCase() ?? "http");

  const slash = rest?.indexOf("/") ?? -1;
  const authority = slash === -1 ? (rest ?? "") : (rest ?? "").slice(0, slash);
  const path = slash === -1 ? "" : (rest ?? "").slice(slash).replace(/\/+$/, "");
  // Checked in the whole text: a password may contain a slash, and the messages below quote the address.
  if (text.includes("@"))
    throw new InvalidConfig("the Ollama address contains a user name or password, which Ollama does not use", { next });
  if (scheme !== "http" && scheme !== "https")
    throw new InvalidConfig(`the Ollama address ${text} has the scheme ${scheme}; only http and https are allowed`, {
      next,
    });

  const { name, port } = splitPort(authority);
  const defaultPort = isCloud || explicitScheme ? { http: 80, https: 443 }[scheme] : 11_434;
  const usedPort = port === undefined ? defaultPort : Number(port);
  const host = reachable(name);
  if (!/^\d*$/.test(port ?? "") || usedPort > 65_535 || !URL.canParse(`${scheme}://${host}`))
    throw new InvalidConfig(`the Ollama address ${text} is malformed`, { next });

  const label = `${host}:${usedPort}`;
  return {
    /** Scheme, host, port and path prefix, without a slash at the end: `http://127.0.0.1:11434`. */
    baseUrl: `${scheme}://${label}${path}`,
    /** For messages: `127.0.0.1:11434`. */
    label,
    /**
     * The server is on this machine: `localhost`, 127.0.0.0/8 or ::1. Everything else counts as remote, also in the LAN: the
     * text would leave this machine, and a name or private address does not identify the owner of the server.
     */
    isLoopback: isLoopbackHost(host),
  };
}

function splitPort(authority: string): { readonly name: string; readonly port?: string } {
  if (isIP(authority) === 6) return { name: `[${authority}]` };
  const [, name = authority, port] = /^(\[.*\]|[^:]*)(?::(.*))?$/.exec(authority) ?? [];
  return port === undefined || port === "" ? { name } : { name, port };
}

function reachable(name: string): string {
  if (name === "" || name === "0.0.0.0") return "127.0.0.1";
  return name === "[::]" ? "[::1]" : name;
}

/** Whether an address is of this machine. False for a text that is no address. */
export function isOnThisMachine(address: string | URL): boolean {
  return URL.canParse(String(address)) && isLoopbackHost(new URL(address).hostname);
}

function isLoopbackHost(host: string): boolean {
  if (isIP(host) === 4) return host.startsWith("127.");
  return host.toLowerCase() === "localhost" || host === "[::1]";
}

const unitSeconds: Readonly<Record<string, number>> = { ns: 1e-9, us: 1e-6, µs: 1e-6, ms: 1e-3, s: 1, m: 60, h: 3600 };

/**
 * Seconds of a keep-alive as Ollama takes it: a number of seconds, or a Go duration (`10m`, `1h30m`, `-1`).
 * Fractions round up, so that `500ms` is not "unload at once"; anything negative is -1 (never unload).
 * Undefined if the text is not a duration.
 */
export function parseKeepAlive(value: number | string): number | undefined {
  const seconds = typeof value === "number" ? value : durationSeconds(value.trim());
  if (seconds === undefined || !Number.isFinite(seconds)) return undefined;
  return seconds < 0 ? -1 : Math.ceil(seconds);
}

function durationSeconds(text: string): number | undefined {
  if (/^[+-]?\d+(\.\d+)?$/.test(text)) return Number(text);
  const [, sign, parts] = /^([+-]?)((?:\d+(?:\.\d*)?(?:ns|us|µs|ms|s|m|h))+)$/.exec(text) ?? [];
  if (parts === undefined) return undefined;
  let seconds = 0;
  for (const [, amount, unit = ""] of parts.matchAll(/(\d+(?:\.\d*)?)(ns|us|µs|ms|s|m|h)/g))
    seconds += Number(amount) * (unitSeconds[unit] ?? Number.NaN);
  return sign === "-" ? -seconds : seconds;
}
