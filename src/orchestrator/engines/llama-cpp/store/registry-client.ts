import * as z from "zod";
import { Cancelled, InvalidRequest, PullFailed, UnknownModel } from "../../../api/errors.ts";
import { advice } from "../../../api/next-step.ts";
import { DEFAULT_HOST, type ModelName, formatModelName } from "../../../util/model-name.ts";
import { parseJson } from "../../../util/parse-json.ts";
import type { HttpGet, HttpResponse } from "../../http.ts";
import { errorCode, errorText } from "./layout.ts";
import { MAX_MANIFEST_BYTES, MEDIA_TYPES } from "./manifest.ts";
import { type StallGuard, createStallGuard } from "./stall-guard.ts";
import { TransientFault } from "./transient.ts";

export interface RegistrySettings {
  /** The host of names in registry.ollama.ai: itself, or a mirror of it. */
  readonly defaultHost: string;
  /** `host:port` entries that are contacted over plain http. */
  readonly insecureHosts: readonly string[];
  /** A transfer without a byte for this long is aborted. */
  readonly stallTimeoutMs: number;
}

/** The registry during one pull: a token is kept for later requests. */
export interface RegistrySession {
  /** The unchanged bytes of the manifest. Throws `UnknownModel`, `PullFailed`, `Cancelled`, `TransientFault`. */
  manifest(signal: AbortSignal): Promise<Buffer>;
  /** A blob from `firstByte` on; `startsAt` is 0 if the server doesn't support ranges. Throws like `manifest`. */
  blob(hex: string, firstByte: number, signal: AbortSignal): Promise<BlobStream>;
}

export interface BlobStream {
  readonly startsAt: number;
  readonly body: AsyncIterable<Uint8Array>;
}

const MAX_REDIRECTS = 5;
const MAX_ERROR_TEXT_BYTES = 4096;
const NETWORK_DOWN = new Set([
  "ENOTFOUND",
  "EAI_AGAIN",
  "ECONNREFUSED",
  "ENETUNREACH",
  "EHOSTUNREACH",
  "UND_ERR_CONNECT_TIMEOUT",
]);
const CERTIFICATE = /CERT|SELF_SIGNED|UNABLE_TO_VERIFY/;

export function openRegistry(
  name: ModelName,
  settings: RegistrySettings,
  http: HttpGet,
  userAgent: string,
): RegistrySession {
  const host = name.host.toLowerCase() === DEFAULT_HOST ? settings.defaultHost : name.host;
  const origin = `${settings.insecureHosts.includes(host) ? "http" : "https"}://${host}`;
  if (!URL.canParse(origin)) {
    throw new InvalidRequest(`"${host}" in the model's name is not a valid host`, { next: { step: "useModelName" } });
  }
  const base = `${origin}/v2/${name.namespace}/${name.model}`;
  const shown = formatModelName(name);
  let token: string | undefined;

  /** Follows redirects. The token is sent to the registry itself, never to a redirect's target. */
  const get = async (
    start: string,
    headers: Readonly<Record<string, string>>,
    guard: StallGuard,
  ): Promise<HttpResponse> => {
    let url = new URL(start);
    for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
      const isRegistry = url.origin === new URL(origin).origin;
      const authorization = isRegistry && token !== undefined ? { authorization: `Bearer ${token}` } : {};
      const response = await http(url, { ...headers, ...authorization, "user-agent": userAgent }, guard.signal);
      const location = response.header("location");
      if (response.status < 300 || response.status >= 400 || location === undefined) return response;
      response.discard();
      const next = new URL(location, url);
      if (next.protocol !== url.protocol && next.protocol !== "https:") {
        throw new PullFailed(
          `${host} redirects the download of ${shown} to an address that is not https (${next.origin})`,
        );
      }
      url = next;
    }
    throw new PullFailed(`${host} redirects the download of ${shown} more than ${MAX_REDIRECTS} times`);
  };

  /** Sends a request, and fetches a token if the registry demands one. Closes `guard` if it fails. */
  const request = async (
    url: string,
    headers: Readonly<Record<string, string>>,
    guard: StallGuard,
    signal: AbortSignal,
  ) => {
    try {
      const response = await get(url, headers, guard);
      const challenge = response.header("www-authenticate");
      if (response.status !== 401 || challenge === undefined) return response;
      response.discard();
      token = await fetchAnonymousToken(challenge, settings.insecureHosts, http, guard.signal);
      guard.touch();
      return await get(url, headers, guard);
    } catch (error) {
      guard.close();
      throw translate(guard.signal.aborted ? guard.signal.reason : error, host, shown, signal);
    }
  };

  const refuse = async (response: HttpResponse, guard: StallGuard, what: "manifest" | "blob"): Promise<never> => {
    try {
      const text = await readText(response);
      throw errorOfStatus(response.status, text, {
        host,
        shown,
        what,
        isDefaultHost: name.host.toLowerCase() === DEFAULT_HOST,
      });
    } finally {
      guard.close();
    }
  };

  return {
    async manifest(signal) {
      const guard = createStallGuard(settings.stallTimeoutMs, host, signal);
      const response = await request(`${base}/manifests/${name.tag}`, { accept: MEDIA_TYPES.manifest }, guard, signal);
      if (response.status !== 200) return refuse(response, guard, "manifest");
      const chunks: Uint8Array[] = [];
      let sizeBytes = 0;
      for await (const chunk of guardBody(response, guard, { host, shown, signal })) {
        sizeBytes += chunk.length;
        if (sizeBytes > MAX_MANIFEST_BYTES)
          throw new PullFailed(
            `${host} answered with a manifest of more than ${MAX_MANIFEST_BYTES} bytes for ${shown}`,
          );
        chunks.push(chunk);
      }
      return Buffer.concat(chunks);
    },
    async blob(hex, firstByte, signal) {
      const guard = createStallGuard(settings.stallTimeoutMs, host, signal);
      const range = firstByte > 0 ? { range: `bytes=${firstByte}-` } : {};
      const response = await request(`${base}/blobs/sha256:${hex}`, range, guard, signal);
      if (response.status === 206) {
        const [, first] = /^bytes (\d+)-/.exec(response.header("content-range") ?? "") ?? [];
        if (first === undefined || Number(first) > firstByte) {
          guard.close();
          response.discard();
          throw new PullFailed(
            `${host} did not send the requested bytes from ${firstByte} on (${response.header("content-range")})`,
          );
        }
        return { startsAt: Number(first), body: guardBody(response, guard, { host, shown, signal }) };
      }
      if (response.status !== 200) return refuse(response, guard, "blob");
      return { startsAt: 0, body: guardBody(response, guard, { host, shown, signal }) };
    },
  };
}

interface Transfer {
  readonly host: string;
  readonly shown: string;
  readonly signal: AbortSignal;
}

/** The body's chunks, each of which restarts the stall timer; time spent by the consumer doesn't count. */
async function* guardBody(response: HttpResponse, guard: StallGuard, transfer: Transfer): AsyncGenerator<Uint8Array> {
  try {
    guard.touch();
    for await (const chunk of response.body) {
      guard.pause();
      yield chunk;
      guard.touch();
    }
  } catch (error) {
    throw translate(guard.signal.aborted ? guard.signal.reason : error, transfer.host, transfer.shown, transfer.signal);
  } finally {
    guard.close();
    response.discard();
  }
}

/** Translates errors of the network and of our own signals. */
function translate(error: unknown, host: string, shown: string, signal: AbortSignal): Error {
  if (signal.aborted) return new Cancelled(`the pull of ${shown} was cancelled`, { cause: signal.reason });
  if (error instanceof PullFailed || error instanceof UnknownModel || error instanceof TransientFault) return error;
  const code = errorCode(error) ?? "";
  if (CERTIFICATE.test(code)) {
    return new PullFailed(`the certificate of ${host} is not trusted: ${errorText(error)}`, {
      next: advice("behind a proxy that inspects traffic, set NODE_EXTRA_CA_CERTS to its certificate file"),
      cause: error,
    });
  }
  // The code is enough if the host is unreachable; "getaddrinfo ENOTFOUND HOST" would only repeat the host.
  if (NETWORK_DOWN.has(code)) return new TransientFault("unreachable", `${host} (${code})`, error);
  const text = errorText(error);
  return new TransientFault("interrupted", `${host}: ${text}${text.includes(code) ? "" : ` (${code})`}`, error);
}

interface StatusContext {
  readonly host: string;
  readonly shown: string;
  readonly what: "manifest" | "blob";
  readonly isDefaultHost: boolean;
}

function errorOfStatus(status: number, text: string, context: StatusContext): Error {
  const { host, shown, what } = context;
  const said = text === "" ? "" : `: ${text}`;
  if (status === 408 || status === 425 || status === 429 || status >= 500) {
    return new TransientFault("busy", `${host} answered ${status}${said}`);
  }
  // hf.co answers 400 for a quantization that a repository doesn't have, and lists those it has.
  if (what === "manifest" && (status === 404 || status === 400)) {
    return new UnknownModel(`${host} has no model ${shown}${status === 404 ? "" : said}`, {
      next: context.isDefaultHost
        ? [
            advice("check the name and its tags at https://ollama.com/library"),
            advice("name a GGUF repository: hf.co/ORG/REPO:QUANT"),
          ]
        : advice(`check the repository and the tag at https://${host}`),
    });
  }
  if (status === 401 || status === 403) {
    return new PullFailed(`${host} refused ${shown} (${status}): it is gated, private or does not exist${said}`, {
      next: [advice("check the name"), { step: "importModel" }],
    });
  }
  return new PullFailed(`${host} answered ${status} for the ${what} of ${shown}${said}`);
}

/** The server's message, shortened to one line of printable ASCII, because it is untrusted. */
async function readText(response: HttpResponse): Promise<string> {
  let text = "";
  try {
    for await (const chunk of response.body) {
      text += Buffer.from(chunk).toString("utf8");
      if (text.length > MAX_ERROR_TEXT_BYTES) break;
    }
  } catch {
    // The status is enough without the rest of the body.
  }
  response.discard();
  const [, message] = /"(?:error|message)"\s*:\s*"([^"]*)"/.exec(text) ?? [];
  const shown = message ?? (text.includes("<") ? "" : text);
  return shown
    .replaceAll(/[^\x20-\x7e]+/g, " ")
    .trim()
    .slice(0, 200);
}

const MAX_TOKEN_BYTES = 64 * 1024;
const tokenSchema = z.object({ token: z.string().optional(), access_token: z.string().optional() });

/**
 * Fetches the token that a registry gives to anonymous users (Docker's token scheme): requests the realm of a
 * `WWW-Authenticate: Bearer` challenge without credentials. Throws `PullFailed` if it gives none.
 */
async function fetchAnonymousToken(
  challenge: string,
  insecureHosts: readonly string[],
  http: HttpGet,
  signal: AbortSignal,
): Promise<string> {
  const realm = tokenAddress(challenge, insecureHosts);
  if (realm === undefined) throw needsAccount(`its challenge is "${challenge.slice(0, 100)}"`);
  const response = await http(realm, {}, signal);
  if (response.status !== 200) {
    response.discard();
    throw needsAccount(`${realm.host} answered ${response.status}`);
  }
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of response.body) {
    sizeBytes += chunk.length;
    if (sizeBytes > MAX_TOKEN_BYTES) throw needsAccount(`${realm.host} sent a token that is too long`);
    chunks.push(chunk);
  }
  const token = readToken(Buffer.concat(chunks).toString("utf8"));
  if (token === undefined) throw needsAccount(`${realm.host} answered without a token`);
  return token;
}

/** The challenge's realm with service and scope; `undefined` for another scheme, or if it is not https. */
function tokenAddress(challenge: string, insecureHosts: readonly string[]): URL | undefined {
  const fields = new Map([...challenge.matchAll(/(\w+)="([^"]*)"/g)].map(([, key, value]) => [key, value]));
  const realm = fields.get("realm");
  if (!/^bearer\s/i.test(challenge) || realm === undefined || !URL.canParse(realm)) return undefined;
  const url = new URL(realm);
  if (url.protocol !== "https:" && !insecureHosts.includes(url.host)) return undefined;
  for (const key of ["service", "scope"]) {
    const value = fields.get(key);
    if (value !== undefined) url.searchParams.append(key, value);
  }
  return url;
}

function readToken(text: string): string | undefined {
  try {
    const { token, access_token: accessToken } = tokenSchema.parse(parseJson(text));
    // A line break would inject another header.
    const found = token ?? accessToken;
    return found !== undefined && /^[\x21-\x7e]+$/.test(found) ? found : undefined;
  } catch {
    return undefined;
  }
}

function needsAccount(why: string): PullFailed {
  return new PullFailed(`the registry requires an account (${why}): the model is gated, private or does not exist`, {
    next: [advice("check the name"), { step: "importModel" }],
  });
}
