import { createHash, timingSafeEqual } from "node:crypto";
import { statSync } from "node:fs";
import type { IncomingHttpHeaders } from "node:http";
import { httpTokenFile } from "../../ipc/run-folder.ts";
import { readHttpToken } from "../../ipc/token.ts";
import { engineHeader, engineId } from "../../orchestrator/util/ollama-host.ts";
import type { DoorName } from "../doors/door.ts";

/** Who may call: exact lists, in lower case. */
export interface AccessPolicy {
  /** Host headers that are answered. */
  readonly hosts: ReadonlySet<string>;
  readonly origins: ReadonlySet<string>;
  /** SHA-256 of the token; `none` for a listener without one, `unreadable` when no caller can be authenticated. */
  readonly token: Buffer | "none" | "unreadable";
  /** The id of the dashboard's session whose bearer this is; it opens fewer routes than the token. */
  readonly session?: (bearer: string) => string | undefined;
  /** Protocols that are served beside MCP. */
  readonly doors?: readonly DoorName[];
  /** Nothing is served beside them. */
  readonly hasDoorsOnly?: boolean;
  /** Programs on this machine read the metrics without a token. */
  readonly hasOpenMetrics?: boolean;
}

/** The parts of a request that are checked before its body is read. */
interface RequestHead {
  readonly method: string;
  /** As in the request line. */
  readonly target: string;
  readonly headers: IncomingHttpHeaders;
  /** Alternating names and values, as received. */
  readonly rawHeaders: readonly string[];
  /** `host:port` of our own end of the connection. */
  readonly localHost: string;
  /** Address of the other end. */
  readonly remoteAddress?: string | undefined;
}

/** A refused request; `message` goes into a JSON-RPC error. */
interface Refusal {
  readonly kind: "refused";
  readonly status: number;
  readonly message: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** In whose shape it is refused. */
  readonly door?: DoorName | undefined;
}

type RouteName =
  | "door"
  | "metrics"
  | "mcp"
  | "sse"
  | "messages"
  | "health"
  | "dashboard"
  | "session"
  | "events"
  | "texts";

interface Route {
  readonly route: RouteName;
  readonly methods: readonly string[];
  /**
   * What opens it beside the token: a dashboard's session; a program on this machine, if a setting allows it (`metrics`);
   * or that it needs none, as what it answers has no data (`open`). `knock` is open to POST, and to a session otherwise.
   */
  readonly access?: "session" | "metrics" | "open" | "knock";
}

export type Verdict =
  | Refusal
  | { readonly kind: "preflight" }
  /** A health check without a token: answered with nothing but that the server runs. */
  | { readonly kind: "probe" }
  | {
      readonly kind: "route";
      readonly route: RouteName;
      readonly path: string;
      readonly query: URLSearchParams;
      readonly door?: DoorName | undefined;
      /** The caller has shown the token or a session, or this listener asks for none. */
      readonly isApproved: boolean;
      /** The dashboard's session that it has shown. */
      readonly session?: string | undefined;
    };

const routes: ReadonlyMap<string, Route> = new Map<string, Route>([
  ["/mcp", { route: "mcp", methods: ["GET", "POST", "DELETE"], access: "session" }],
  ["/sse", { route: "sse", methods: ["GET"] }],
  ["/messages", { route: "messages", methods: ["POST"] }],
  ["/health", { route: "health", methods: ["GET"] }],
  ["/metrics", { route: "metrics", methods: ["GET"], access: "metrics" }],
  ["/dashboard", { route: "dashboard", methods: ["GET"], access: "open" }],
  ["/dashboard/app.webmanifest", { route: "dashboard", methods: ["GET"], access: "open" }],
  ["/dashboard/session", { route: "session", methods: ["POST", "DELETE"], access: "knock" }],
  ["/dashboard/events", { route: "events", methods: ["GET"], access: "session" }],
  ["/dashboard/texts", { route: "texts", methods: ["GET"], access: "session" }],
]);

/** Where the token stands if the program's own credentials are for another service (`http.upstreams`). */
export const tokenHeader = "ollm-token";

const itself = "ollm itself answers here: the address in providers must be that of another server";

/** Headers that would be ambiguous if repeated. */
const singleHeaders: ReadonlySet<string> = new Set(
  `host origin authorization x-api-key ${tokenHeader} content-length content-type`.split(" "),
);
/** More than browsers and proxies send; Node itself drops headers beyond 2,000. */
const maxHeaders = 200;
/** Query parameters that may hold a token, in lower case. URLs end up in histories and logs. */
const tokenParameters: ReadonlySet<string> = new Set(
  "token access_token auth authorization bearer api_key apikey".split(" "),
);

/**
 * Checks a request by its head, on every route, known or not, in this order: shape, Host, Origin, a browser's preflight,
 * a health check without a token, token, route, method, content type. A browser that was tricked into calling us (DNS
 * rebinding, a foreign page) fails at Host or Origin; any other caller needs the token, except for `GET /health`, the
 * metrics if a setting allows that on this machine, the dashboard's page, which has no data, and its handshake.
 */
export function judge(request: RequestHead, policy: AccessPolicy): Verdict {
  const door = request.target.startsWith("/") ? doorOf(request, policy) : undefined;
  const verdict = judgeRoute(request, policy, door);
  const shape = door ?? (policy.hasDoorsOnly === true ? policy.doors?.[0] : undefined);
  return verdict.kind === "refused" && shape !== undefined ? { ...verdict, door: shape } : verdict;
}

/** Whose programs ask for such a path. Both OpenAI's and Anthropic's list models, and only the latter state a version. */
function doorOf({ target, headers }: RequestHead, { doors = [] }: AccessPolicy): DoorName | undefined {
  if (doors.length === 0) return undefined;
  const [path] = splitTarget(target);
  const isOf: Readonly<Record<DoorName, boolean>> = {
    anthropic: /^\/v1\/messages(\/|$)/.test(path) || (path.startsWith("/v1/") && "anthropic-version" in headers),
    openai: path.startsWith("/v1/"),
    ollama: path.startsWith("/api/") || path === "/",
  };
  return (["anthropic", "openai", "ollama"] as const).find((door) => doors.includes(door) && isOf[door]);
}

function judgeRoute(request: RequestHead, policy: AccessPolicy, door: DoorName | undefined): Verdict {
  const { method, target, headers } = request;
  const headerCount = request.rawHeaders.length / 2;
  if (headerCount > maxHeaders) return refused(431, `${headerCount} headers; at most ${maxHeaders} are read`);
  const twice = repeatedHeader(request.rawHeaders);
  if (twice !== undefined) return refused(400, `more than one ${twice} header`);
  if (!target.startsWith("/")) return refused(400, "the request target must be a path");
  const [path, search] = splitTarget(target);

  const host = headers.host?.toLowerCase();
  const isDialled = host === request.localHost || `${host}:80` === request.localHost;
  if (host === undefined || !(policy.hosts.has(host) || isDialled)) {
    return refused(403, "this Host is not served here; http.allowedHosts lists those that are");
  }
  const { origin } = headers;
  if (origin !== undefined && !policy.origins.has(origin.toLowerCase())) {
    return refused(403, "pages of this Origin may not call; http.allowedOrigins lists those that may");
  }
  // Images, links and frames of a page have no Origin. Without a token they could open streams.
  if (origin === undefined && /^(cross|same)-site$/i.test(headers["sec-fetch-site"] ?? "")) {
    return refused(403, "pages of other sites may not call; http.allowedOrigins lists the Origins that may");
  }
  // Browsers send no token with a preflight, which reads and changes nothing.
  if (method === "OPTIONS" && origin !== undefined && headers["access-control-request-method"] !== undefined) {
    return { kind: "preflight" };
  }

  // Before the token is: an engine has none, and is to learn what it reached.
  const engine = headers[engineHeader];
  if (engine !== undefined && door !== undefined && (door === "ollama" || engine.includes(engineId)))
    return refused(508, itself, { "x-should-retry": "false" });

  const query = new URLSearchParams(search);
  if ([...query.keys()].some((name) => tokenParameters.has(name.toLowerCase()))) return tokenInUrl;
  const isProbe =
    policy.hasDoorsOnly !== true && path === "/health" && method === "GET" && headers.authorization === undefined;
  if (isProbe && policy.token !== "none") return { kind: "probe" };
  if (isGreeting(request, path, policy, door)) return { kind: "probe" };
  const others = policy.hasDoorsOnly === true ? undefined : routes.get(path);
  const known = door === undefined ? others : doorRoute;
  const own =
    door && (headers[tokenHeader] ?? (headers.authorization === undefined ? headers["x-api-key"] : undefined));
  const caller = callerOf(own === undefined ? headers.authorization : `Bearer ${String(own)}`, policy, known);
  if (!caller.isApproved && !isOpen(request, known, policy)) {
    return refused(401, unauthorized(known, headers.accept), { "www-authenticate": 'Bearer realm="ollm"' });
  }

  // Under any name, and as a name. Only a caller with the token can leak it, so it is compared only here.
  const words = [...query].flat();
  if (words.some((word) => isToken(word, policy.token) || policy.session?.(word) !== undefined)) return tokenInUrl;

  if (known === undefined) {
    if (policy.hasDoorsOnly === true) return refused(404, `${path.slice(0, 100)} is not served here`);
    return refused(404, "no such route: /mcp, /sse, /messages, /health, /metrics and /dashboard are served");
  }
  if (!known.methods.includes(method)) {
    const allow = known.methods.join(", ");
    return refused(405, `${path} takes ${allow}`, { allow });
  }
  if (method === "POST") {
    // What Ollama's own documentation shows states none; pages of other origins were refused above.
    const mayLack = door === "ollama" && origin === undefined;
    if (!mayLack && !/^application\/json\s*(;|$)/i.test(headers["content-type"] ?? "")) {
      return refused(415, "the content type must be application/json");
    }
    if (!/^(identity)?$/i.test(headers["content-encoding"] ?? ""))
      return refused(415, "the body must not be compressed");
  }
  return { kind: "route", route: known.route, path, query, door, ...caller };
}

/** Programs ask whether there is a server before they send a key. The Ollama door has an answer of its own. */
function isGreeting({ method }: RequestHead, path: string, { doors = [] }: AccessPolicy, door?: DoorName): boolean {
  return path === "/" && doors.length > 0 && (method === "HEAD" || (method === "GET" && door !== "ollama"));
}

const doorRoute: Route = { route: "door", methods: ["GET", "HEAD", "POST", "DELETE"] };

function refused(status: number, message: string, headers: Refusal["headers"] = {}): Refusal {
  return { kind: "refused", status, message, headers };
}

const tokenInUrl = refused(
  400,
  "a token in a URL is never accepted: send it as Authorization: Bearer, and replace it with ollm token rotate",
);

function splitTarget(target: string): readonly [path: string, search: string] {
  const at = target.indexOf("?");
  return at === -1 ? [target, ""] : [target.slice(0, at), target.slice(at + 1)];
}

function repeatedHeader(rawHeaders: readonly string[]): string | undefined {
  const seen = new Set<string>();
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]?.toLowerCase() ?? "";
    if (!singleHeaders.has(name)) continue;
    if (seen.has(name)) return name;
    seen.add(name);
  }
  return undefined;
}

function unauthorized(route: Route | undefined, accept = ""): string {
  if (route?.route === "events") {
    return "this session has ended, or there was none: ollm dashboard prints a link that begins one";
  }
  const bearer = "send Authorization: Bearer with the content of the token file that ollm serve names";
  // A browser, at any address of ours.
  return /\btext\/html\b/i.test(accept)
    ? `to open the dashboard, run ollm dashboard in a terminal: it prints a link; programs ${bearer}`
    : bearer;
}

/** Headers by which a proxy says that it passes on the call of another one. */
const proxyHeaders = ["forwarded", "via", "x-forwarded-for", "x-real-ip"];

function mayReadMetrics({ remoteAddress = "", headers }: RequestHead, { hasOpenMetrics = false }: AccessPolicy) {
  return hasOpenMetrics && isLoopback(remoteAddress) && !proxyHeaders.some((name) => name in headers);
}

function isOpen(request: RequestHead, route: Route | undefined, policy: AccessPolicy): boolean {
  if (route?.access === "knock") return request.method === "POST";
  return route?.access === "open" || (route?.access === "metrics" && mayReadMetrics(request, policy));
}

function callerOf(
  authorization: string | undefined,
  { token, session: sessionOf }: Pick<AccessPolicy, "token" | "session">,
  route: Route | undefined,
): { readonly isApproved: boolean; readonly session?: string | undefined } {
  if (token === "none") return { isApproved: true };
  const [, given = ""] = /^bearer +(\S+)$/i.exec(authorization ?? "") ?? [];
  if (isToken(given, token)) return { isApproved: true };
  const session = route?.access === "session" || route?.access === "knock" ? sessionOf?.(given) : undefined;
  return { isApproved: session !== undefined, session };
}

/** Compares digests, so that timing reveals neither the token's length nor a matching prefix. */
function isToken(given: string, token: AccessPolicy["token"]): boolean {
  const isDigest = typeof token !== "string";
  return timingSafeEqual(digestOf(given), isDigest ? token : digestOf("")) && isDigest;
}

/** SHA-256 of a token. */
export function digestOf(token: string): Buffer {
  return createHash("sha256").update(token).digest();
}

/** `127.0.0.1:7411`, `[::1]:7411`; an IPv4-mapped IPv6 address is shown as IPv4. */
export function hostAndPort(address: string, port: number): string {
  const plain = address.replace(/^::ffff:(?=\d+\.)/i, "").toLowerCase();
  return `${plain.includes(":") ? `[${plain}]` : plain}:${port}`;
}

/** The Origin of pages without an address of their own (sandboxed, or a file), and values that mean all pages. */
const unspecificOrigins: ReadonlySet<string> = new Set(["null", "*", ""]);

/** The lists for a listener at `address`, with the entries of the settings. */
export function accessLists(
  address: string,
  port: number,
  settings: { readonly allowedHosts: readonly string[]; readonly allowedOrigins: readonly string[] },
): Pick<AccessPolicy, "hosts" | "origins"> & { readonly ignoredOrigins: readonly string[] } {
  const bound = hostAndPort(address, port);
  const own = ["127.0.0.1", "localhost", "[::1]"].map((host) => `${host}:${port}`);
  const named = settings.allowedHosts.map((host) => host.toLowerCase());
  const hosts = [
    ...own,
    bound,
    ...named,
    ...named.filter((host) => !withPort.test(host)).map((host) => `${host}:${port}`),
  ];
  // Clients omit the default port.
  if (port === 80) hosts.push(...[...own, bound].map((host) => host.replace(/:80$/, "")));
  const ownOrigins = [`localhost:${port}`, bound].map(
    (host) => `http://${port === 80 ? host.replace(/:80$/, "") : host}`,
  );
  const origins = settings.allowedOrigins.map((origin) => origin.trim().toLowerCase().replace(/\/$/, ""));
  return {
    hosts: new Set(hosts),
    origins: new Set([...ownOrigins, ...origins.filter((origin) => !unspecificOrigins.has(origin))]),
    ignoredOrigins: origins.filter((origin) => unspecificOrigins.has(origin)),
  };
}

const withPort = /^(\[[^\]]*\]|[^:]*):\d+$/;

/** Whether only programs on this machine can reach an address. */
export function isLoopback(address: string): boolean {
  const plain = address
    .replace(/^\[|\]$/g, "")
    .replace(/^::ffff:(?=\d+\.)/i, "")
    .toLowerCase();
  return plain === "localhost" || plain === "::1" || /^127(\.\d{1,3}){3}$/.test(plain);
}

/** How soon connections with an old token are closed without a request. */
const pollMs = 1_000;

/** Follows the token file of `home`: the digest of its current token, by a stat per request. A watch may miss a change. Calls `onChange` when its token changes or disappears. */
export function createTokenKeeper(home: string, onChange: () => void) {
  const file = httpTokenFile(home);
  let seen: string | undefined;
  let known: AccessPolicy["token"] = "unreadable";

  function current(): AccessPolicy["token"] {
    const stamp = stampOf(file);
    if (stamp === seen) return known;
    const isFirst = seen === undefined;
    const before = known;
    seen = stamp;
    const read = readHttpToken(home);
    known = read === undefined ? "unreadable" : digestOf(read);
    if (!isFirst && !isSame(before, known)) onChange();
    return known;
  }

  current();
  const timer = setInterval(current, pollMs);
  timer.unref();
  return { current, close: () => clearInterval(timer) };
}

function isSame(one: AccessPolicy["token"], other: AccessPolicy["token"]): boolean {
  return one === other || (typeof one !== "string" && typeof other !== "string" && one.equals(other));
}

/** Changes with the file's content: a replacement has another inode, and an edit in place another time. */
function stampOf(file: string): string {
  const status = statSync(file, { bigint: true, throwIfNoEntry: false });
  return status === undefined ? "missing" : [status.ino, status.size, status.mtimeNs, status.ctimeNs].join(" ");
}
