import { once } from "node:events";
import { request as requestHttp, type IncomingMessage, type ServerResponse } from "node:http";
import { request as requestHttps } from "node:https";
import { EngineUnreachable, InvalidConfig } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { matchesName } from "../../orchestrator/routing/model-overrides.ts";
import { codeOf, decoded } from "../../orchestrator/util/values.ts";
import { engineHeader, isOnThisMachine } from "../../orchestrator/util/ollama-host.ts";
import { tokenHeader } from "./policy.ts";

/** Headers of one connection, our own token, and what another ollm says of itself: all others reach the other side as they were sent. */
const ownHeaders: ReadonlySet<string> = new Set(
  (
    `${tokenHeader} ${engineHeader} connection content-length expect host keep-alive proxy-authorization ` +
    "proxy-connection te trailer transfer-encoding upgrade"
  ).split(" "),
);

/** However it is written: what is meant for ollm never passes on. */
const namesOllm = /^\s*ollm\s*(?:\/|$)/i;
const pathOfOllm = /[/=]\s*ollm\//i;

/** Whether a request names a model of ollm, or one that it maps, in its body, a batch or its address. */
export function namesOurs(
  { path, query, request }: { path: string; query: URLSearchParams; request: IncomingMessage },
  body: unknown,
  rest: string | undefined,
  mapped: readonly string[],
): boolean {
  const { session, requests } = (body ?? {}) as { readonly session?: unknown; readonly requests?: unknown };
  const entries = [requests].flat().map((each) => (each as { params?: unknown } | null)?.params);
  const models = [body, session, ...entries].flat().map((each) => (each as { model?: unknown } | null)?.model);
  const names = [...models, rest, query.get("model")].filter((name) => typeof name === "string");
  const address = decoded(request.url ?? "") ?? path.replaceAll(/%2f/gi, "/");
  const isOurs = (name: string) => namesOllm.test(name) || mapped.some((each) => matchesName(each, name));
  return pathOfOllm.test(address) || names.some(isOurs);
}

/** A service may think for minutes before the first byte. */
const silentMs = 600_000;

/**
 * Passes a request on to `upstream` and the answer back, both byte for byte, with the program's own credentials, which are
 * neither kept nor logged. Redirects are the program's to follow. Throws `EngineUnreachable` if nothing of an answer arrived.
 */
export async function passOn(
  upstream: string,
  { request, response, body }: { request: IncomingMessage; response: ServerResponse; body: Buffer | undefined },
): Promise<void> {
  const base = new URL(upstream);
  const url = new URL(`${base.pathname.replace(/\/$/, "")}${request.url ?? "/"}`, base);
  if (isOnThisMachine(base) && Number(base.port) === request.socket.localPort)
    throw new InvalidConfig(`ollm itself answers at ${base.host}, to which http.upstreams passes requests on`, {
      next: advice("set http.upstreams to the address of the service"),
    });
  const send = url.protocol === "https:" ? requestHttps : requestHttp;
  const headers = [...passed(request.rawHeaders), "Host", url.host];
  if (body !== undefined) headers.push("Content-Length", String(body.length));
  const asked = send(url, { method: request.method ?? "GET", headers, timeout: silentMs });
  asked.on("timeout", () => asked.destroy(new Error(`no data for ${silentMs / 1000} s`)));
  // One that comes after the answer has begun shows in the answer.
  asked.on("error", () => undefined);
  const abort = (): void => void asked.destroy();
  response.once("close", abort);
  try {
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      asked.once("response", resolve).once("error", reject).end(body);
    });
    response.writeHead(answer.statusCode ?? 502, answer.statusMessage, passed(answer.rawHeaders, isOfConnection));
    response.flushHeaders();
    answer.pipe(response);
    // A connection that breaks ends the program's, too: half an answer must not look whole.
    await once(answer, "end").catch(() => response.destroy());
  } catch (error) {
    if (response.headersSent) return void response.destroy();
    throw new EngineUnreachable(`${url.host} does not respond (${codeOf(error) ?? "connection failed"})`, {
      next: advice("check http.upstreams and the network"),
      cause: error,
    });
  } finally {
    response.off("close", abort);
  }
}

const isOfConnection = (name: string): boolean => name !== "content-length" && ownHeaders.has(name);

/** Alternating names and values without those of the connection. */
function passed(raw: readonly string[], isLeftOut = (name: string) => ownHeaders.has(name)): string[] {
  return raw.filter((_text, index) => !isLeftOut((raw[index - (index % 2)] ?? "").toLowerCase()));
}
