import type { IncomingMessage, ServerResponse } from "node:http";
import { isTooDeep, maxJsonDepth } from "../../orchestrator/util/parse-json.ts";
import { commonHeaders } from "./respond.ts";

/** The same limit as for a line over stdio. */
const maxBodyBytes = 4 * 1024 * 1024;

type ReadBody =
  | { readonly kind: "json"; readonly value: unknown }
  | { readonly kind: "failed"; readonly status: number; readonly code: number; readonly message: string }
  /** The client went away. */
  | { readonly kind: "gone" };

/** Reads a request's JSON body, holding at most `maxBytes`. The server's `requestTimeout` bounds the time. */
export async function readBody(
  request: IncomingMessage,
  response: ServerResponse,
  maxBytes: number = maxBodyBytes,
): Promise<ReadBody> {
  const tooLarge: ReadBody = {
    kind: "failed",
    status: 413,
    code: -32_600,
    message: `the body exceeds the limit of ${maxBytes / 1024 / 1024} MiB; name files instead`,
  };
  if (Number(request.headers["content-length"] ?? 0) > maxBytes) return tooLarge;
  // Sent only after head and size have passed the checks.
  if (request.headers.expect !== undefined) response.writeContinue();
  const chunks: Buffer[] = [];
  let bytes = 0;
  const isWhole = await new Promise<boolean | undefined>((resolve) => {
    const take = (chunk: Buffer): void => {
      bytes += chunk.length;
      if (bytes <= maxBytes) {
        chunks.push(chunk);
        return;
      }
      // The rest is drained with the answer: left unread, it would cut the answer off.
      request.off("data", take);
      request.pause();
      resolve(false);
    };
    request.on("data", take);
    request.once("end", () => resolve(true));
    request.once("error", () => resolve(undefined));
    request.once("close", () => resolve(undefined));
  });
  if (isWhole === undefined) return { kind: "gone" };
  if (!isWhole) return tooLarge;
  const text = Buffer.concat(chunks).toString("utf8");
  if (isTooDeep(text)) {
    return { kind: "failed", status: 400, code: -32_600, message: `the body nests deeper than ${maxJsonDepth} levels` };
  }
  try {
    return { kind: "json", value: JSON.parse(text) };
  } catch {
    return { kind: "failed", status: 400, code: -32_700, message: "the body is not JSON" };
  }
}

/** The request's head for the SDK, which gets the parsed body separately. The token is left out. */
export function webRequest(request: IncomingMessage, base: string, signal: AbortSignal): Request {
  const headers = new Headers();
  for (const [name, value] of Object.entries(request.headers)) {
    if (value === undefined || hiddenHeaders.has(name)) continue;
    headers.set(name, Array.isArray(value) ? value.join(", ") : value);
  }
  return new Request(new URL(request.url ?? "/", base), { method: request.method ?? "GET", headers, signal });
}

const hiddenHeaders: ReadonlySet<string> = new Set([
  "authorization",
  "cookie",
  "connection",
  "content-length",
  "transfer-encoding",
  "expect",
]);

/** Sets the CORS headers; called only for origins on the list. */
export function allowOrigin(response: ServerResponse, origin: string): void {
  response.setHeader("access-control-allow-origin", origin);
  response.setHeader("access-control-expose-headers", "mcp-session-id, mcp-protocol-version, www-authenticate");
  response.setHeader("vary", "Origin");
}

/** Headers of the answer to a preflight of an approved origin. */
export const preflightHeaders = {
  ...commonHeaders,
  "access-control-allow-methods": "GET, POST, DELETE",
  "access-control-allow-headers":
    "authorization, content-type, accept, last-event-id, mcp-session-id, mcp-protocol-version, mcp-method, mcp-name",
  "access-control-max-age": "600",
} as const;
