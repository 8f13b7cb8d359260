import * as z from "zod";
import { PullFailed } from "../../../api/errors.ts";
import { advice } from "../../../api/next-step.ts";
import type { HttpGet } from "./http.ts";
import { parseJson } from "../../../util/parse-json.ts";

const MAX_TOKEN_BYTES = 64 * 1024;
const tokenSchema = z.object({ token: z.string().optional(), access_token: z.string().optional() });

/**
 * Fetches the token that a registry gives to anonymous users (Docker's token scheme): requests the realm of a
 * `WWW-Authenticate: Bearer` challenge without credentials. Throws `PullFailed` if it gives none.
 */
export async function fetchAnonymousToken(
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
