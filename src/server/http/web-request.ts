import type { IncomingMessage, ServerResponse } from "node:http";
import { commonHeaders } from "./respond.ts";

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
