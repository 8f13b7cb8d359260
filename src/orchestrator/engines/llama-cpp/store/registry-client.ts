import * as z from "zod";
import { InvalidRequest, PullFailed, UnknownModel } from "../../../api/errors.ts";
import { advice } from "../../../api/next-step.ts";
import { DEFAULT_HOST, type ModelName, formatModelName } from "../../../util/model-name.ts";
import { isOnThisMachine } from "../../../util/ollama-host.ts";
import { jsonIn } from "../../../util/values.ts";
import { type ByteStream, type HttpGet, type HttpResponse, TransientFault, isBusy, openTransfer } from "../../http.ts";
import { MAX_MANIFEST_BYTES, MEDIA_TYPES } from "./manifest.ts";

export interface RegistrySettings {
  /** Takes the place of registry.ollama.ai, in tests. */
  readonly defaultHost?: string | undefined;
  /** A transfer without a byte for this long is aborted, and retried. Default: a minute. */
  readonly stallTimeoutMs?: number;
}

const MAX_ERROR_TEXT_BYTES = 4096;

/** The registry during one pull: a token is kept for later requests. */
export function openRegistry(name: ModelName, settings: RegistrySettings, http: HttpGet, userAgent: string) {
  const host = name.host.toLowerCase() === DEFAULT_HOST ? (settings.defaultHost ?? name.host) : name.host;
  // A registry on this machine is reached over plain HTTP.
  const origin = `${isOnThisMachine(`http://${host}`) ? "http" : "https"}://${host}`;
  if (!URL.canParse(origin)) {
    throw new InvalidRequest(`"${host}" in the model's name is not a valid host`, { next: { step: "useModelName" } });
  }
  const base = `${origin}/v2/${name.namespace}/${name.model}`;
  const shown = formatModelName(name);
  let token: string | undefined;

  const transferFor = (signal: AbortSignal) =>
    openTransfer({
      http,
      what: shown,
      host,
      stallMs: settings.stallTimeoutMs ?? 60_000,
      signal,
      headers: (url) => ({
        "user-agent": userAgent,
        // The token is sent to the registry itself, never to a redirect's target.
        ...(token !== undefined && url.origin === new URL(origin).origin ? { authorization: `Bearer ${token}` } : {}),
      }),
      check(url, from) {
        if (from === undefined || url.protocol === from.protocol || url.protocol === "https:") return;
        throw new PullFailed(
          `${host} redirects the download of ${shown} to an address that is not https (${url.origin})`,
        );
      },
    });

  /** Sends a request, and fetches a token if the registry demands one. Throws the error of any other status than 200, 206. */
  const request = async (
    transfer: ReturnType<typeof transferFor>,
    what: "manifest" | "blob",
    address: string,
    headers: Readonly<Record<string, string>>,
  ): Promise<HttpResponse> => {
    let response = await transfer.get(address, headers);
    const challenge = response.header("www-authenticate");
    if (response.status === 401 && challenge !== undefined) {
      response.discard();
      token = await fetchAnonymousToken(challenge, origin, transfer);
      response = await transfer.get(address, headers);
    }
    if (response.status === 200 || (response.status === 206 && what === "blob")) return response;
    const isDefaultHost = name.host.toLowerCase() === DEFAULT_HOST;
    throw errorOfStatus(response.status, await readText(response), { host, shown, what, isDefaultHost });
  };

  return {
    /** The unchanged bytes of the manifest. Throws `UnknownModel`, `PullFailed`, `Cancelled`, `TransientFault`. */
    async manifest(signal: AbortSignal): Promise<Buffer> {
      const transfer = transferFor(signal);
      try {
        const address = `${base}/manifests/${name.tag}`;
        const response = await request(transfer, "manifest", address, { accept: MEDIA_TYPES.manifest });
        const raw = await transfer.bytes(response, MAX_MANIFEST_BYTES);
        if (raw !== undefined) return raw;
        throw new PullFailed(`${host} answered with a manifest of more than ${MAX_MANIFEST_BYTES} bytes for ${shown}`);
      } finally {
        transfer.close();
      }
    },
    /** A blob from `firstByte` on; `startsAt` is 0 if the server doesn't support ranges. Throws like `manifest`. */
    async blob(hex: string, firstByte: number, signal: AbortSignal): Promise<ByteStream> {
      const transfer = transferFor(signal);
      try {
        const range = firstByte > 0 ? { range: `bytes=${firstByte}-` } : {};
        const response = await request(transfer, "blob", `${base}/blobs/sha256:${hex}`, range);
        return transfer.stream(response, firstByte);
      } catch (error) {
        transfer.close();
        throw error;
      }
    },
  };
}

function errorOfStatus(
  status: number,
  text: string,
  context: {
    readonly host: string;
    readonly shown: string;
    readonly what: "manifest" | "blob";
    readonly isDefaultHost: boolean;
  },
): Error {
  const { host, shown, what } = context;
  const said = text === "" ? "" : `: ${text}`;
  if (isBusy(status)) return new TransientFault("busy", `${host} answered ${status}${said}`);
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
async function fetchAnonymousToken(challenge: string, origin: string, transfer: ReturnType<typeof openTransfer>) {
  const realm = tokenAddress(challenge, origin);
  if (realm === undefined) throw needsAccount(`its challenge is "${challenge.slice(0, 100)}"`);
  const response = await transfer.send(realm, {});
  if (response.status !== 200) {
    response.discard();
    throw needsAccount(`${realm.host} answered ${response.status}`);
  }
  const body = await transfer.bytes(response, MAX_TOKEN_BYTES);
  if (body === undefined) throw needsAccount(`${realm.host} sent a token that is too long`);
  const token = readToken(body.toString("utf8"));
  if (token === undefined) throw needsAccount(`${realm.host} answered without a token`);
  return token;
}

/** The challenge's realm with service and scope; `undefined` for another scheme, or if it is neither https nor the registry itself. */
function tokenAddress(challenge: string, origin: string): URL | undefined {
  const fields = new Map([...challenge.matchAll(/(\w+)="([^"]*)"/g)].map(([, key, value]) => [key, value]));
  const realm = fields.get("realm");
  if (!/^bearer\s/i.test(challenge) || realm === undefined || !URL.canParse(realm)) return undefined;
  const url = new URL(realm);
  if (url.protocol !== "https:" && url.origin !== origin) return undefined;
  for (const key of ["service", "scope"]) {
    const value = fields.get(key);
    if (value !== undefined) url.searchParams.append(key, value);
  }
  return url;
}

function readToken(text: string): string | undefined {
  const { token, access_token: accessToken } = tokenSchema.safeParse(jsonIn(text)).data ?? {};
  const found = token ?? accessToken;
  // A line break would inject another header.
  return found !== undefined && /^[\x21-\x7e]+$/.test(found) ? found : undefined;
}

function needsAccount(why: string): PullFailed {
  return new PullFailed(`the registry requires an account (${why}): the model is gated, private or does not exist`, {
    next: [advice("check the name"), { step: "importModel" }],
  });
}
