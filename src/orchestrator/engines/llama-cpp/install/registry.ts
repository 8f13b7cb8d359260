import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { isAbsolute, join, posix, resolve, win32 } from "node:path";
import { rootCertificates } from "node:tls";
import { InvalidConfig } from "../../../api/errors.ts";
import type { Log } from "../../../api/log.ts";
import { advice } from "../../../api/next-step.ts";
import { createHttpClient } from "../../http.ts";
import type { PlatformFacts } from "./platform.ts";
import { codeOf, defined, isMissing, jsonIn } from "../../../util/values.ts";

/** The registry, proxy and certificates from npm's configuration (`npm help npmrc`, `npm help config`). */
export type RegistrySettings = ReturnType<typeof registrySettings>;

/** npm's default registry. */
export const publicRegistry = "https://registry.npmjs.org/";

/**
 * Reads npm's configuration: `npm_config_*` variables, then the user's and the global npmrc. The npmrc of the working
 * directory is not read, because it belongs to the project that is open in the client.
 */
export async function readRegistrySettings(environment: Environment, facts: PlatformFacts, log: Log) {
  const variables = npmVariables(environment);
  const home = environment["HOME"] ?? environment["USERPROFILE"] ?? homedir();
  const path = facts.platform === "win32" ? win32 : posix;
  const user = await readNpmrc(variables.get("userconfig")?.[0] ?? join(home, ".npmrc"), environment, log);
  const global =
    variables.get("globalconfig")?.[0] ??
    path.join(variables.get("prefix")?.[0] ?? user.get("prefix")?.[0] ?? npmPrefix(environment, facts), "etc", "npmrc");
  return registrySettings([variables, user, await readNpmrc(global, environment, log)], environment, home);
}

/** Returns npm's prefix: two folders above Node; on Windows the user's roaming folder, which npm's own npmrc sets. */
function npmPrefix(environment: Environment, facts: PlatformFacts): string {
  if (environment["PREFIX"] !== undefined) return environment["PREFIX"];
  if (facts.platform !== "win32") return posix.dirname(posix.dirname(facts.node.execPath));
  const roaming = environment["APPDATA"];
  return roaming === undefined ? win32.dirname(facts.node.execPath) : win32.join(roaming, "npm");
}

async function readNpmrc(file: string, environment: Environment, log: Log): Promise<NpmrcValues> {
  try {
    return parseNpmrc(await readFile(file, "utf8"), environment);
  } catch (error) {
    if (!isMissing(error)) log.warn(`engine: npm's configuration ${file} cannot be read (${codeOf(error)})`);
    return new Map();
  }
}

/** Merges the sources; the first value wins. Throws `InvalidConfig` for an invalid address of a registry or proxy. */
export function registrySettings(sources: readonly NpmrcValues[], environment: Environment, home: string) {
  const all = (key: string): readonly string[] =>
    sources.map((source) => source.get(key)).find((values) => values !== undefined && !isNull(values)) ?? [];
  const one = (key: string): string | undefined => all(key)[0];
  const variable = (name: string): string | undefined =>
    nonEmpty(environment[name]) ?? nonEmpty(environment[name.toUpperCase()]);
  const file = (name: string): string => (name.startsWith("~/") ? join(home, name.slice(2)) : name);

  const httpProxy = one("proxy") ?? one("http-proxy") ?? variable("http_proxy") ?? variable("proxy");
  const httpsProxy = one("https-proxy") ?? one("proxy") ?? variable("https_proxy") ?? httpProxy;
  const noProxy = all("noproxy").join(",") || all("no-proxy").join(",") || variable("no_proxy");
  const certificateFiles = [
    one("cafile"),
    nonEmpty(environment["SSL_CERT_FILE"]),
    nonEmpty(environment["NODE_EXTRA_CA_CERTS"]),
  ].filter((name) => name !== undefined);

  return {
    /** Returns the registry's address for a package, ending in a slash; scopes may have their own. */
    registryFor: (packageName: string) => {
      const scope = packageName.startsWith("@") ? packageName.slice(0, packageName.indexOf("/")) : undefined;
      const configured = (scope === undefined ? undefined : one(`${scope}:registry`)) ?? one("registry");
      return address(configured ?? publicRegistry, "npm's setting registry").replace(/\/*$/, "/");
    },
    /** Returns the `Authorization` header for an address: credentials are sent only to the address that they belong to. */
    authorizationFor: (target: string) => authorization(one, target),
    ...(httpProxy !== undefined && { httpProxy: proxyAddress(httpProxy) }),
    ...(httpsProxy !== undefined && { httpsProxy: proxyAddress(httpsProxy) }),
    /** Comma-separated hosts. */
    ...defined({ noProxy }),
    /** PEM files to trust in addition to the usual authorities. */
    certificateFiles: certificateFiles.map(file).map((name) => (isAbsolute(name) ? name : resolve(home, name))),
    /** PEM texts to trust in addition to the usual authorities; npm's inline certificates have \n for line breaks. */
    certificates: all("ca").map((pem) => pem.replace(/\\n/g, "\n")),
    /** `strict-ssl=false` switches this off; packages are still checked against the lock. */
    isCertificateChecked: one("strict-ssl") !== "false",
  };
}

/** npm represents unset values as null or as empty. */
function isNull(values: readonly string[]): boolean {
  return values.every((value) => value === "" || value === "null" || value === "undefined");
}

function nonEmpty(value: string | undefined): string | undefined {
  return value === "" ? undefined : value;
}

function authorization(one: (key: string) => string | undefined, target: string): string | undefined {
  const { host, pathname } = new URL(target);
  // Credentials are keyed by an address without protocol and apply to everything below it (npm-registry-fetch).
  const folders = pathname.split("/").slice(1, -1);
  for (let depth = folders.length; depth >= 0; depth -= 1) {
    const path = folders
      .slice(0, depth)
      .map((folder) => `${folder}/`)
      .join("");
    for (const key of [`//${host}/${path}`, `//${host}/${path}`.replace(/\/$/, "")]) {
      const token = one(`${key}:_authToken`);
      if (token !== undefined) return `Bearer ${token}`;
      const basic = one(`${key}:_auth`);
      if (basic !== undefined) return `Basic ${basic}`;
      const user = one(`${key}:username`);
      const password = one(`${key}:_password`);
      if (user !== undefined && password !== undefined) {
        const plain = Buffer.from(password, "base64").toString("utf8");
        return `Basic ${Buffer.from(`${user}:${plain}`).toString("base64")}`;
      }
    }
  }
  return undefined;
}

function proxyAddress(text: string): string {
  return address(text.includes("://") ? text : `http://${text}`, "the proxy in npm's settings or the environment");
}

/** The message omits the value, which may contain a password. */
function address(text: string, what: string): string {
  if (!URL.canParse(text) || !/^https?:/i.test(text)) {
    throw new InvalidConfig(`${what} is not an http or https address`, {
      next: advice("correct npm's configuration (npm config list shows it)"),
    });
  }
  return text;
}

/** Environment variables, injected so that an installation does not depend on its caller. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** One source of npm's configuration; a key may have several values (`ca[]`, `noproxy[]`). */
type NpmrcValues = ReadonlyMap<string, readonly string[]>;

/**
 * Parses an `.npmrc` like npm (package `ini`, without sections): comments start with `;` or `#`, also after an unquoted
 * value; values may be quoted; `key[] = value` is a list; a key without a value means true; `${NAME}` is replaced from the
 * environment, `${NAME?}` is empty when unset, and `\${` is not replaced.
 */
export function parseNpmrc(text: string, environment: Environment): NpmrcValues {
  const values = new Map<string, string[]>();
  for (const line of text.split(/[\r\n]+/)) {
    const trimmed = line.trim();
    if (trimmed === "" || /^[;#[]/.test(trimmed)) continue;
    const equals = trimmed.indexOf("=");
    const rawKey = expand(unquote(equals < 0 ? trimmed : trimmed.slice(0, equals)), environment);
    const value = equals < 0 ? "true" : expand(unquote(trimmed.slice(equals + 1)), environment);
    const isList = rawKey.endsWith("[]");
    const key = isList ? rawKey.slice(0, -2) : rawKey;
    values.set(key, isList ? [...(values.get(key) ?? []), value] : [value]);
  }
  return values;
}

/** Returns the `npm_config_*` variables, in any case; addresses (`npm_config_//host/:_authToken`) keep theirs. */
export function npmVariables(environment: Environment): NpmrcValues {
  const values = new Map<string, readonly string[]>();
  for (const [variable, value] of Object.entries(environment)) {
    if (!/^npm_config_/i.test(variable) || value === undefined || value === "") continue;
    const key = variable.slice("npm_config_".length);
    const isAddress = key.startsWith("//") || key.startsWith("@");
    values.set(isAddress ? key : key.replace(/(?!^)_/g, "-").toLowerCase(), value.split("\n\n"));
  }
  return values;
}

function unquote(raw: string): string {
  const text = raw.trim();
  if (/^(".*"|'.*')$/.test(text)) {
    const inner = text.slice(1, -1);
    if (text.startsWith("'")) return inner;
    // Like npm, which keeps an invalid string unchanged.
    const value = jsonIn(text);
    return typeof value === "string" ? value : inner;
  }
  let value = "";
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at] ?? "";
    const next = text[at + 1] ?? "";
    if (character === "\\" && /[\\;#]/.test(next)) {
      value += next;
      at += 1;
    } else if (character === ";" || character === "#") break;
    else value += character;
  }
  return value.trim();
}

function expand(text: string, environment: Environment): string {
  return text.replace(/(\\*)\$\{([^${}?]+)(\?)?\}/g, (match, slashes: string, name: string, isOptional?: string) => {
    if (slashes.length % 2 === 1) return match.slice((slashes.length + 1) / 2);
    const value = environment[name] ?? (isOptional === undefined ? match.slice(slashes.length) : "");
    return slashes.slice(slashes.length / 2) + value;
  });
}

/** HTTP through the configured proxy with the configured certificates. */
export async function createRegistryHttp(settings: RegistrySettings, log: Log) {
  if (!settings.isCertificateChecked)
    log.warn("engine: npm's strict-ssl is off: the registry's certificate is not checked");
  const { httpProxy, httpsProxy, noProxy } = settings;
  const tls = {
    ...(await trustedCertificates(settings, log)),
    ...(settings.isCertificateChecked ? {} : { rejectUnauthorized: false }),
  };
  return createHttpClient({ httpProxy, httpsProxy, noProxy, tls });
}

/** Adds the configured certificates to Node's own list, which they would otherwise replace. */
async function trustedCertificates(settings: RegistrySettings, log: Log): Promise<{ ca?: string[] }> {
  const extra = [...settings.certificates];
  for (const file of settings.certificateFiles) {
    try {
      extra.push(await readFile(file, "utf8"));
    } catch (error) {
      // Like npm and Node: the installation may work without the file.
      log.warn(`engine: certificates ${file} cannot be read (${codeOf(error)})`);
    }
  }
  return extra.length === 0 ? {} : { ca: [...rootCertificates, ...extra] };
}
