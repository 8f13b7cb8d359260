import { randomBytes } from "node:crypto";
import { type IncomingMessage, type ServerResponse, createServer as createHttpServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type Server, createMcpHandler, isLegacyRequest } from "@modelcontextprotocol/server";
import { httpTokenFile } from "../../ipc/run-folder.ts";
import { ensureHttpToken } from "../../ipc/token.ts";
import type { Log } from "../../orchestrator/api/log.ts";
import type { Settings } from "../../orchestrator/config/schema.ts";
import { type Timers, systemTimers } from "../../orchestrator/util/timers.ts";
import type { Caller } from "../call/caller.ts";
import type { DoorName } from "../doors/door.ts";
import { createStatelessSubscriptions } from "../mcp/change-feed.ts";
import { createServer } from "../mcp/create-server.ts";
import { Dashboard } from "./dashboard.ts";
import type { answerDoor } from "./doors.ts";
import { createLegacySseRoute, createSessionSlots, createStreamableRoute } from "./streamable.ts";
import { type ListenOptions, limitConnections, listen } from "./listen.ts";
import { type AccessPolicy, type Verdict, accessLists, createTokenKeeper, hostAndPort, judge } from "./policy.ts";
import {
  type StreamLimits,
  answerError,
  answerJson,
  preflightHeaders,
  readBody,
  sendWebResponse,
  streamLimits,
  webRequest,
} from "./respond.ts";
import { stackOf } from "../../orchestrator/util/values.ts";

const listenerLimits = {
  /** Open sessions over HTTP and SSE. */
  maxSessions: 128,
  maxConnections: 512,
  /** After which a session without traffic is closed. */
  idleMs: 1_800_000,
};

interface HttpListenerOptions extends ListenOptions {
  /** `OLLM_HOME`, whose `run/http-token` callers must present. */
  readonly home: string;
  /** Parts of one caller; a session is a caller, and all requests without a session together are one. */
  partsFor(callerId: string): Caller;
  /** The current settings; all take effect at once. */
  readonly settings: () => Settings["http"];
  readonly version: string;
  /** Current problems, a sentence each: engines that give no tokens, lost pins. */
  readonly problems?: () => readonly string[];
  readonly log: Log;
  /** Pages and links, which all listeners of a daemon share; absent: its own. */
  readonly dashboard?: Dashboard;
  /** Makes the MCP server of one caller; `createServer` when absent. */
  readonly makeServer?: (parts: Caller) => Server;
  readonly timers?: Timers;
  readonly streamLimits?: StreamLimits;
  readonly graceMs?: number;
  readonly limits?: Partial<typeof listenerLimits>;
  /** These alone, and nothing else; absent: those of the settings, beside all other routes. */
  readonly doors?: readonly DoorName[];
}

export type HttpListener = Awaited<ReturnType<typeof openHttpListener>>;

/** Time limits for a request's head, and for a whole request. */
const headersTimeoutMs = 10_000;
const requestTimeoutMs = 60_000;
const maxHeaderBytes = 16 * 1024;
/** Limit of running requests per connection, so that pipelining can't fill memory with answers. */
const maxRequestsAtOnce = 16;
/** Enough for a client to reconnect over a broken network. */
const defaultGraceMs = 30_000;
/** How soon what a session opened is closed after its end. */
const sweepMs = 1_000;
/** Limits of `POST /dashboard/session`, which is read from callers without a token. */
const sessionBody = { maxBytes: 1024, seconds: 5 };
/** Time for the last writes when the listener closes. */
const flushMs = 300;

/**
 * Opens the HTTP listener: Streamable HTTP of both protocol eras at `/mcp`, HTTP+SSE at `/sse` and `/messages`, `/health`,
 * `/metrics`, and the dashboard.
 * Every request passes `judge` before its body is read. Throws `InvalidRequest` when the address can't be used.
 */
export async function openHttpListener(options: HttpListenerOptions) {
  const { home, log, settings } = options;
  const { warning } = ensureHttpToken(home);
  if (warning !== undefined) log.warn(warning);

  const routes = createRoutes(options);
  /** What is being answered, and the dashboard's session that asked. */
  const open = new Map<ServerResponse, string | undefined>();
  const keeper = options.isWithoutToken
    ? undefined
    : createTokenKeeper(home, () => {
        log.info("http: the token was replaced: connections with the old one are closed");
        for (const response of open.keys()) response.destroy();
        routes.closeSessions().catch((error: unknown) => log.debug(`http: ${String(error)}`));
      });

  const tokenNow = (): AccessPolicy["token"] => keeper?.current() ?? "none";

  const server = createHttpServer({
    maxHeaderSize: maxHeaderBytes,
    headersTimeout: headersTimeoutMs,
    requestTimeout: requestTimeoutMs,
    connectionsCheckingInterval: 1_000,
    // A machine that goes to sleep closes nothing: without this its streams and sessions would stay open forever.
    keepAlive: true,
    keepAliveInitialDelay: 30_000,
  });
  const connections = limitConnections(server, () => options.limits?.maxConnections ?? listenerLimits.maxConnections);
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    serve(request, response).catch((error: unknown) => {
      log.warn(`http: ${stackOf(error)}`);
      if (response.headersSent) response.destroy();
      else answerError(request, response, { status: 500, code: -32_603, message: "internal error" });
    });
  };
  server.on("request", onRequest);
  // Without this, Node would request the body before the request is checked.
  server.on("checkContinue", onRequest);
  try {
    await listen(server, options);
  } catch (error) {
    keeper?.close();
    await routes.close();
    throw error;
  }
  const sweep = setInterval(() => closeEnded(open, (each) => routes.dashboard.isOpen(each, tokenNow())), sweepMs);
  sweep.unref();
  // For example no free descriptors: the listener continues.
  server.on("error", (error) => log.warn(`http: ${error.message}`));
  const { address, port } = server.address() as AddressInfo;
  const url = `http://${hostAndPort(address, port)}`;
  const currentLists = createAccessLists(address, port, settings, log);

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const [{ socket }, token] = [request, tokenNow()];
    const policy: AccessPolicy = {
      ...currentLists(),
      token,
      session: (bearer) => routes.sessionOf(bearer, token),
      hasOpenMetrics: settings().metricsWithoutToken,
      doors: options.doors ?? settings().doors,
      hasDoorsOnly: options.doors !== undefined,
    };
    const verdict = judge(
      {
        method: request.method ?? "",
        target: request.url ?? "",
        headers: request.headers,
        rawHeaders: request.rawHeaders,
        localHost: hostAndPort(socket.localAddress ?? "", socket.localPort ?? 0),
        remoteAddress: socket.remoteAddress,
      },
      policy,
    );
    const { origin } = request.headers;
    if (origin !== undefined && policy.origins.has(origin.toLowerCase())) allowOrigin(response, origin);
    if (verdict.kind === "refused") {
      log.debug(`http: refused with ${verdict.status}: ${verdict.message}`);
      return answerRefusal(request, response, verdict);
    }
    if (verdict.kind === "preflight") return void response.writeHead(204, preflightHeaders).end();
    if (verdict.kind === "probe") return answerJson(response, 200, JSON.stringify({ ok: true }));
    open.set(response, verdict.session);
    const running = connections.begin(socket, { response, isApproved: verdict.isApproved });
    response.once("close", () => open.delete(response));
    if (running > maxRequestsAtOnce) {
      log.debug("http: too many requests at once on one connection");
      const message = `more than ${maxRequestsAtOnce} requests at once on one connection; open others`;
      return answerError(request, response, { status: 429, message, headers: { connection: "close" } });
    }
    await routes.answer(verdict, request, response, url);
  }

  return {
    /** `http://127.0.0.1:7411`; MCP is served at `/mcp`, and at `/sse` for old clients. */
    url,
    tokenFile: httpTokenFile(home),
    /** Closes every session and connection. Running calls end as when their client disconnects. */
    async close() {
      keeper?.close();
      clearInterval(sweep);
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      await routes.close();
      server.closeIdleConnections();
      const timer = setTimeout(() => server.closeAllConnections(), flushMs);
      await closed;
      clearTimeout(timer);
    },
  };
}

async function answerRefusal(
  request: IncomingMessage,
  response: ServerResponse,
  refusal: Extract<Verdict, { kind: "refused" }>,
): Promise<void> {
  if (refusal.door === undefined) return answerError(request, response, refusal);
  const { refuseAtDoor } = await import("./doors.ts");
  return refuseAtDoor(refusal.door, { request, response }, refusal);
}

/** Closes what the dashboard's sessions opened that have ended. */
function closeEnded(open: ReadonlyMap<ServerResponse, string | undefined>, isOpen: (session: string) => boolean): void {
  for (const [response, session] of open) {
    if (session !== undefined && !isOpen(session)) response.destroy();
  }
}

/** The lists for the current settings. */
function createAccessLists(address: string, port: number, settings: () => Settings["http"], log: Log) {
  let known: { readonly of: Settings["http"]; readonly lists: ReturnType<typeof accessLists> } | undefined;
  const current = (): ReturnType<typeof accessLists> => {
    const now = settings();
    if (known?.of === now) return known.lists;
    const made = accessLists(address, port, now);
    for (const origin of made.ignoredOrigins) {
      log.warn(`http.allowedOrigins: ${JSON.stringify(origin)} names no specific page and is ignored`);
    }
    known = { of: now, lists: made };
    return made;
  };
  current();
  return current;
}

/** Answers the requests that `judge` lets through, in the protocol era of each. */
function createRoutes(options: HttpListenerOptions) {
  const { log, settings, doors, partsFor, makeServer = createServer, timers = systemTimers } = options;
  const limits = options.streamLimits ?? streamLimits;
  const { maxSessions, idleMs } = { ...listenerLimits, ...options.limits };
  const slots = createSessionSlots({ maxSessions, idleMs, graceMs: options.graceMs ?? defaultGraceMs }, timers);
  const sessionParts = { makeServer: (callerId: string) => makeServer(partsFor(callerId)), slots, log };
  const streamable = createStreamableRoute(sessionParts);
  const sse = createLegacySseRoute(sessionParts, limits);
  const dashboard = options.dashboard ?? new Dashboard({ ...options, parts: partsFor("dashboard") });
  const stateless = partsFor("http");
  const subscriptions = createStatelessSubscriptions(stateless);
  const modern = createMcpHandler(() => makeServer(stateless), {
    legacy: "reject",
    maxSubscriptions: maxSessions,
    onerror: (error) => log.debug(`http: ${error.message}`),
    bus: subscriptions.bus,
  });
  /** What the dashboard's pages are sent is of this listener, and worthless once that has closed. */
  const key = randomBytes(32);
  let answer: typeof answerDoor | undefined;
  /** All programs at the doors share its settings. */
  let door: Caller | undefined;
  const closeSessions = () => Promise.all([streamable.closeAll(), sse.closeAll()]);

  return {
    dashboard,
    /** `url` is the listener's. */
    async answer(
      { route, path, query, session, door: asked }: Extract<Verdict, { kind: "route" }>,
      request: IncomingMessage,
      response: ServerResponse,
      url: string,
    ): Promise<void> {
      if (route === "health") {
        const problems = options.problems?.() ?? [];
        const health = { ok: true, version: options.version, ...(problems.length > 0 && { problems }) };
        return answerJson(response, 200, JSON.stringify(health));
      }
      if (route === "metrics") {
        const { answerMetrics } = await import("./prometheus.ts");
        return answerMetrics(partsFor("metrics"), response);
      }
      if (asked !== undefined) {
        // Once: even a loaded module takes a while to import.
        answer ??= (await import("./doors.ts")).answerDoor;
        const world = {
          parts: (door ??= partsFor("door")),
          // A program that `ollm launch` started is to be answered here alone.
          settings: doors === undefined ? settings : () => ({ ...settings(), upstreams: {} }),
          timers,
          limits,
          hasToken: options.isWithoutToken !== true,
        };
        return answer(world, { door: asked, path, query, request, response });
      }
      if (route === "sse") return sse.open(request, response);
      if (route === "dashboard") return dashboard.answerPage(path, request, response, limits);
      if (route === "events") return dashboard.openStream(response, limits);
      if (route === "texts") return dashboard.answerTexts(request, response, session, query.get("trace"));
      if (route === "session" && request.method === "DELETE") return dashboard.signOut(request, response, session);
      let body: unknown;
      if (request.method === "POST") {
        const read = await readBody(request, response, timers, route === "session" ? sessionBody : undefined);
        if (read.kind === "gone") return;
        if (read.kind === "failed") return answerError(request, response, read);
        body = read.value;
      }
      if (route === "messages") return sse.post(request, response, query.get("sessionId"), body);
      if (route === "session") return dashboard.shake(request, response, body, key);
      const abort = new AbortController();
      response.once("close", () => abort.abort());
      const sent = webRequest(request, url, abort.signal);
      const isLegacy = await isLegacyRequest(sent, body);
      if (!isLegacy) subscriptions.follow(body, response);
      const answered = isLegacy
        ? await streamable.handle(sent, body, response)
        : await modern.fetch(sent, { parsedBody: body });
      await sendWebResponse(answered, response, limits, (why) => log.warn(`http: a stream was cut: ${why}`));
    },
    /** The dashboard's session whose bearer this is, at this listener. */
    sessionOf: (bearer: string, token: AccessPolicy["token"]) => dashboard.sessionOf(bearer, token, key),
    closeSessions,
    async close(): Promise<void> {
      subscriptions.close();
      await Promise.all([closeSessions(), modern.close()]);
    },
  };
}

/** Sets the CORS headers; called only for origins on the list. */
function allowOrigin(response: ServerResponse, origin: string): void {
  response.setHeader("access-control-allow-origin", origin);
  response.setHeader("access-control-expose-headers", "mcp-session-id, mcp-protocol-version, www-authenticate");
  response.setHeader("vary", "Origin");
}
