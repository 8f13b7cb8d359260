import { mkdtemp, rm } from "node:fs/promises";
import {
  type IncomingHttpHeaders,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  request as httpRequest,
} from "node:http";
import { type Socket, connect } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach } from "vitest";
import { readHttpToken } from "../../../src/ipc/token.ts";
import type { LiveHistory, LiveState } from "../../../src/orchestrator/api/facade-metrics.ts";
import type { Change, Orchestrator } from "../../../src/orchestrator/api/facade.ts";
import { createLog } from "../../../src/orchestrator/api/log.ts";
import { settingsSchema } from "../../../src/orchestrator/config/schema.ts";
import type { Caller } from "../../../src/server/call/caller.ts";
import { Dashboard } from "../../../src/server/http/dashboard.ts";
import { type HttpListener, openHttpListener } from "../../../src/server/http/listener.ts";
import { plainSettings } from "../../support/caller-settings.ts";
import { createFakeOrchestrator } from "../../support/fake-orchestrator.ts";
type Kept = ConstructorParameters<typeof Dashboard>[0]["sessions"];

type HttpListenerOptions = Parameters<typeof openHttpListener>[0];

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

export interface AskOptions {
  readonly method?: string;
  /** Added to the token, Accept and, with a body, the content type; undefined takes one away. */
  readonly headers?: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly body?: unknown;
  /** Instead of `body`, as it is. */
  readonly raw?: string | Buffer;
}

/** An HTTP listener with a fake orchestrator, on a free port, in a home of its own. */
export interface TestListener {
  readonly listener: HttpListener;
  readonly home: string;
  readonly port: number;
  readonly token: string;
  readonly logged: string[];
  /** Ids of the callers for whom a server was made. */
  readonly callers: string[];
  readonly dashboard: Dashboard;
  /** The dashboard's, as the next daemon finds them. */
  sessions(): Kept;
  /** Resolves with the whole answer. */
  ask(target: string, options?: AskOptions): Promise<Answer>;
  close(): Promise<void>;
}

export interface TestListenerSetup extends Partial<
  Pick<
    HttpListenerOptions,
    | "bind"
    | "port"
    | "doors"
    | "isWithoutToken"
    | "timers"
    | "streamLimits"
    | "graceMs"
    | "limits"
    | "lookup"
    | "problems"
  >
> {
  readonly orchestrator?: Orchestrator;
  /** The clock of the dashboard's pages. */
  readonly pageTimers?: HttpListenerOptions["timers"];
  /** The wall clock of the dashboard's sessions. */
  readonly now?: () => number;
  /** What the last daemon left: its home, and its sessions. */
  readonly home?: string;
  readonly sessions?: Kept;
  readonly settings?: Partial<ReturnType<HttpListenerOptions["settings"]>>;
}

export async function startListener({
  orchestrator = createFakeOrchestrator(),
  settings,
  pageTimers,
  now,
  home: given,
  sessions: left,
  ...options
}: TestListenerSetup = {}): Promise<TestListener> {
  const home = given ?? (await mkdtemp(path.join(tmpdir(), "ollm-http-")));
  let sessions = left;
  const logged: string[] = [];
  const callers: string[] = [];
  const log = createLog("debug", (line) => logged.push(line));
  const http = { ...settingsSchema.parse({}).http, ...settings };
  const partsOf = (id: string): Caller => ({
    version: "0.0.0-test",
    log,
    id,
    mayOfferRoots: false,
    homeDirectory: "/nonexistent-home",
    textsOf: async (trace) => ({ prompt: trace }),
    open: async () => ({
      orchestrator,
      callerSettings: plainSettings,
      fileRoots: [],
      warnings: [],
      configFile: path.join(home, "config.yaml"),
    }),
  });
  const dashboard = new Dashboard({
    home,
    log,
    parts: partsOf("dashboard"),
    sessions,
    onSessions: (kept) => (sessions = kept),
    ...(pageTimers && { timers: pageTimers }),
    ...(now && { now }),
  });
  const listener = await openHttpListener({
    bind: "127.0.0.1",
    port: 0,
    home,
    settings: () => http,
    version: "0.0.0-test",
    log,
    dashboard,
    partsFor(id) {
      callers.push(id);
      return partsOf(id);
    },
    ...options,
  });
  const port = Number(new URL(listener.url).port);
  const token = readHttpToken(home) ?? "";
  return {
    listener,
    home,
    port,
    token,
    logged,
    callers,
    dashboard,
    sessions: () => sessions,
    ask: (target, asked = {}) => ask(port, target, token, asked),
    async close() {
      await listener.close();
      await rm(home, { recursive: true, force: true });
    },
  };
}

/** One request on a connection of its own. */
export function ask(port: number, target: string, token: string, options: AskOptions): Promise<Answer> {
  const content = options.raw ?? (options.body === undefined ? undefined : JSON.stringify(options.body));
  const headers: Record<string, string | readonly string[] | undefined> = {
    authorization: `Bearer ${token}`,
    accept: "application/json, text/event-stream",
    ...(content !== undefined && {
      "content-type": "application/json",
      "content-length": `${Buffer.byteLength(content)}`,
    }),
    ...options.headers,
  };
  const given = Object.fromEntries(
    Object.entries(headers).filter(([, value]) => value !== undefined),
  ) as OutgoingHttpHeaders;
  return new Promise((resolve, reject) => {
    const method = options.method ?? (content === undefined ? "GET" : "POST");
    const request = httpRequest(
      { host: "127.0.0.1", port, path: target, method, headers: given, agent: false },
      (response) => {
        let text = "";
        response.setEncoding("utf8");
        response.on("data", (chunk: string) => (text += chunk));
        response.once("end", () => resolve({ status: response.statusCode ?? 0, headers: response.headers, text }));
        response.once("error", reject);
      },
    );
    request.once("error", reject);
    request.end(content);
  });
}

/** The messages of an event stream. */
export function eventsOf(text: string): { readonly id?: string; readonly message: Record<string, unknown> }[] {
  return text.split("\n\n").flatMap((block) => {
    const fields = new Map(
      block.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()]),
    );
    const data = fields.get("data");
    if (data === undefined || data === "") return [];
    const id = fields.get("id");
    return [{ ...(id !== undefined && { id }), message: JSON.parse(data) as Record<string, unknown> }];
  });
}

export const initializeMessage = {
  jsonrpc: "2.0",
  id: 0,
  method: "initialize",
  params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "raw", version: "1" } },
} as const;

/** Begins a legacy session and answers its id. */
export async function beginSession(listener: TestListener): Promise<string> {
  const { headers } = await listener.ask("/mcp", { body: initializeMessage });
  return String(headers["mcp-session-id"]);
}

/** What `openStream` and `idleConnection` opened. */
export const sockets: Socket[] = [];

function destroySockets(): void {
  for (const socket of sockets.splice(0)) socket.destroy();
}

export interface OpenStream {
  readonly response: IncomingMessage;
  readonly firstEventId: Promise<string>;
  /** Of `/sse`. */
  readonly endpoint: Promise<string>;
}

/** A request whose answer is read while it comes. Its connection ends with `destroySockets`. */
export function openStream(
  listener: TestListener,
  headers: Readonly<Record<string, string>>,
  body?: unknown,
  target = "/mcp",
): Promise<OpenStream> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      {
        host: "127.0.0.1",
        port: listener.port,
        path: target,
        method: body === undefined ? "GET" : "POST",
        agent: false,
        headers: {
          authorization: `Bearer ${listener.token}`,
          accept: "application/json, text/event-stream",
          ...(body !== undefined && { "content-type": "application/json" }),
          ...headers,
        },
      },
      (response) => {
        sockets.push(response.socket);
        response.on("error", () => undefined);
        let text = "";
        const found = (pattern: RegExp) =>
          new Promise<string>((done) => {
            const look = (): void => {
              const [, match] = pattern.exec(text) ?? [];
              if (match !== undefined) done(match);
            };
            response.on("data", look);
          });
        response.on("data", (chunk: Buffer) => (text += chunk.toString()));
        resolve({
          response,
          firstEventId: found(/^id: (.+)$/m),
          endpoint: found(/^data: (\/messages.+)$/m),
        });
      },
    );
    request.once("error", reject);
    request.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

/** A connection that says nothing. It ends with `destroySockets`. */
export function idleConnection(port: number): Promise<Socket> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => resolve(socket));
    socket.on("error", () => resolve(socket));
    // Without reading nobody learns that the other side has closed.
    socket.resume();
    sockets.push(socket);
  });
}

/** `startListener`, which closes its listeners and connections after each test of the file. */
export function startListeners(): typeof startListener {
  let opened: TestListener[] = [];
  afterEach(async () => {
    destroySockets();
    await Promise.all(opened.map((listener) => listener.close()));
    opened = [];
  });
  return async (setup) => {
    const listener = await startListener(setup);
    opened.push(listener);
    return listener;
  };
}

/** What a page is shown of an orchestrator that does nothing. */
export const state: LiveState = {
  at: "2026-11-23T05:30:00.000Z",
  memory: { totalBytes: 8_000_000, availableBytes: 6_000_000, models: [], otherBytes: 2_000_000, gpus: [] },
  operations: [],
  tokens: 0,
  queue: [],
  today: { saved: 0, currency: "USD", from: "2026-11-23T00:00:00.000Z" },
  lastHour: { requests: [], failed: 0 },
  alerts: [],
};
export const noHistory: LiveHistory = {
  endsAt: state.at,
  modelBytes: [1],
  otherBytes: [2],
  availableBytes: [3],
  tokensPerSecond: [null],
  running: [0],
  waiting: [0],
};

/** An orchestrator whose state the test sets; `looks` counts how often it was read. */
export function shownOrchestrator() {
  const shown = {
    state,
    /** No state can be read. */
    fails: false,
    looks: 0,
    watches: 0,
    publish: (_change: Change): void => undefined,
    changed: (): void => undefined,
  };
  const orchestrator = createFakeOrchestrator({
    live: {
      state: async () => {
        shown.looks += 1;
        if (shown.fails) throw new Error("no state");
        return shown.state;
      },
      onChange(listener) {
        shown.changed = listener;
        return () => (shown.changed = () => undefined);
      },
      history: () => noHistory,
      sample: async () => undefined,
    },
    onChange(listener) {
      shown.publish = listener;
      return () => (shown.publish = () => undefined);
    },
    watch() {
      shown.watches += 1;
      return () => (shown.watches -= 1);
    },
  });
  return { shown, orchestrator };
}

export interface Events {
  readonly status: number;
  /** The events so far: name and data. */
  readonly seen: [name: string, data: unknown][];
  readonly response: IncomingMessage;
  /** Resolves when the connection is closed. */
  readonly closed: Promise<void>;
  close(): void;
}

/** `GET /dashboard/events`, read while it comes. */
export function openEvents({ port }: TestListener, token: string | undefined): Promise<Events> {
  return new Promise((resolve, reject) => {
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const asked = httpRequest(
      { host: "127.0.0.1", port, path: "/dashboard/events", headers, agent: false },
      (response) => {
        const seen: Events["seen"] = [];
        let text = "";
        response.setEncoding("utf8");
        response.on("data", (chunk: string) => {
          text += chunk;
          const blocks = text.split("\n\n");
          text = blocks.pop() ?? "";
          for (const block of blocks) {
            const [, name, data] = /^event: (\w+)\ndata: (.+)$/.exec(block) ?? [];
            if (name !== undefined && data !== undefined) seen.push([name, JSON.parse(data)]);
          }
        });
        response.on("error", () => undefined);
        const closed = new Promise<void>((done) => response.once("close", () => done()));
        sockets.push(response.socket);
        resolve({ status: response.statusCode ?? 0, seen, response, closed, close: () => response.destroy() });
      },
    );
    asked.once("error", reject);
    asked.end();
  });
}
