import type { Readable, Writable } from "node:stream";
import {
  type Icon,
  type Implementation,
  type JSONRPCRequest,
  ProtocolError,
  ProtocolErrorCode,
  type Result,
  Server,
  type ServerContext,
  type ServerOptions,
  type StandardSchemaV1,
  type Transport,
} from "@modelcontextprotocol/server";
import { serveStdio } from "@modelcontextprotocol/server/stdio";
import type { Farewell } from "../../ipc/protocol.ts";
import { isRecord, orUndefined, once } from "../../orchestrator/util/values.ts";
import { instructionsFor } from "./instructions.ts";
import { type Caller, createKnownRoots } from "../call/caller.ts";
import { StdioTransport } from "./stdio-transport.ts";
import { type Call, protocolCall, tasksExtension } from "../call/call.ts";
import {
  type ChangeEvent,
  type ChangeFeed,
  createChangeFeed,
  createListenStreams,
  createToolWatch,
} from "./change-feed.ts";

/** Lists change rarely, and subscribed clients are notified; this bounds how long others use a list after an update. */
const listTtlMs = 300_000;

/**
 * An MCP server for one connection, of either protocol era. Clients wait for `initialize`, so only the code for that is
 * imported statically; tools, resources and the orchestrator are loaded by the first request for them.
 * `listenStreams` are the modern streams of a lasting connection; without them a modern server sends no notifications.
 */
export function createServer(givenParts: Caller, listenStreams?: ReturnType<typeof createListenStreams>): Server {
  const hint = { ttlMs: listTtlMs, cacheScope: "private" } as const;
  const server = new CheckedServer(
    { name: "ollm-mcp", title: "ollm: local language models", version: givenParts.version, icons: [serverIcon] },
    {
      instructions: instructionsFor(givenParts.installedModels?.()),
      capabilities: {
        tools: { listChanged: true },
        resources: { subscribe: true, listChanged: true },
        prompts: { listChanged: true },
        completions: {},
        extensions: { [tasksExtension]: {}, "io.modelcontextprotocol/skills": {} },
      },
      cacheHints: { "tools/list": hint, "server/discover": hint, "resources/templates/list": hint },
    },
    givenParts,
  );
  // oxlint-disable-next-line unicorn/prefer-add-event-listener -- the SDK has no other way.
  server.onerror = (error) => givenParts.log.debug(`protocol: ${error.message}`);

  const feed = createChangeFeed(async () => (await givenParts.open()).orchestrator, givenParts.log);
  // Modern clients without a stream, and legacy ones before the end of their handshake, get no notifications.
  let isNotified = listenStreams !== undefined;
  const knownRoots = createKnownRoots((message) => givenParts.log.debug(message), Date.now);
  const parts: Caller = {
    ...givenParts,
    knownRoots,
    askedProjects: new Set(),
    async open() {
      const home = await givenParts.open();
      if (isNotified) feed.attach(home.orchestrator);
      return home;
    },
  };
  const factsOf = (context: ServerContext): Call => protocolCall(server, context);
  // A repeated `import()` is resolved again, at a cost for every call.
  const calls = once(() => import("./handle-tools.ts"));
  const toolWatch = createToolWatch<Call>(
    async (facts) => (await calls()).offeredNames(parts, facts),
    () => server.sendToolListChanged(),
  );
  const tell = (event: ChangeEvent): void => {
    const told = event.kind === "tools_list_changed" ? toolWatch.changed() : notify(server, event);
    told.catch((error: unknown) => parts.log.debug(`protocol: ${String(error)}`));
  };
  feed.subscribe(tell);
  listenStreams?.onOpen((uris) => feed.watch(uris));
  // Only the legacy era has this notification.
  server.oninitialized = () => {
    isNotified = true;
  };
  // oxlint-disable-next-line unicorn/prefer-add-event-listener -- as above.
  server.onclose = () => {
    feed.close();
    givenParts.forget?.();
  };

  server.setRequestHandler("tools/list", async ({ params }, context) =>
    answered(parts, (await calls()).listTools(factsOf(context), parts, params?.cursor, toolWatch.listed)),
  );
  server.setRequestHandler("tools/call", async ({ params }, context) =>
    answered(parts, (await calls()).handleCall(factsOf(context), parts, params)),
  );
  for (const method of ["get", "update", "cancel"] as const) {
    server.setRequestHandler(`tasks/${method}`, { params: anyParams }, async ({ taskId }, context: ServerContext) =>
      (await calls()).handleTask(factsOf(context), parts, method, taskId),
    );
  }
  server.setNotificationHandler("notifications/roots/list_changed", () => {
    knownRoots.forget();
    tell({ kind: "tools_list_changed" });
  });

  offerResources(server, parts, feed);
  offerPrompts(server, parts);
  return server;
}

/** Parameters of methods that the SDK does not know; by hand, because zod would have to be loaded before `initialize`. */
const anyParams: StandardSchemaV1<unknown, Readonly<Record<string, unknown>>> = {
  "~standard": { version: 1, vendor: "ollm", validate: (value) => ({ value: isRecord(value) ? value : {} }) },
};

function offerResources(server: Server, parts: Caller, feed: ChangeFeed): void {
  const reads = once(() => import("./handle-resources.ts"));
  server.setRequestHandler("resources/list", async ({ params }, context) =>
    answered(parts, (await reads()).listResources(protocolCall(server, context), parts, params?.cursor)),
  );
  server.setRequestHandler("resources/templates/list", async ({ params }) =>
    (await reads()).listTemplates(params?.cursor),
  );
  server.setRequestHandler("resources/read", async ({ params }, context) =>
    answered(parts, (await reads()).readResource(protocolCall(server, context), parts, params.uri)),
  );

  for (const method of ["list", "get"] as const) {
    server.setRequestHandler(`skills/${method}`, { params: anyParams }, async ({ uri }, context: ServerContext) =>
      (await reads()).readSkills(protocolCall(server, context), method, uri),
    );
  }

  const subscriptions = once(async () => (await reads()).createSubscriptions(feed));
  server.setRequestHandler("resources/subscribe", async ({ params }, context) =>
    (await subscriptions()).subscribe(protocolCall(server, context), parts, params.uri),
  );
  server.setRequestHandler("resources/unsubscribe", async ({ params }) =>
    (await subscriptions()).unsubscribe(params.uri),
  );
}

function offerPrompts(server: Server, parts: Caller): void {
  const prompts = once(() => import("./handle-prompts.ts"));
  server.setRequestHandler("prompts/list", async ({ params }, context) =>
    answered(parts, (await prompts()).listPrompts(protocolCall(server, context), parts, params?.cursor)),
  );
  server.setRequestHandler("prompts/get", async ({ params }, context) =>
    answered(parts, (await prompts()).getPrompt(protocolCall(server, context), parts, params)),
  );

  server.setRequestHandler("completion/complete", async ({ params }, context) =>
    answered(parts, (await prompts()).complete(protocolCall(server, context), parts, params)),
  );
}

/** Reports an answer. Not used for what a front repeats to each new daemon (subscriptions), nor for the SDK's own answers. */
async function answered<Answer>(parts: Caller, answer: Promise<Answer>): Promise<Answer> {
  try {
    return await answer;
  } finally {
    // Before it is sent: its reader may kill this process at once.
    parts.noteAnswered?.();
  }
}

function notify(server: Server, event: Exclude<ChangeEvent, { kind: "tools_list_changed" }>): Promise<void> {
  if (event.kind === "resource_updated") return server.sendResourceUpdated({ uri: event.uri });
  return event.kind === "resources_list_changed" ? server.sendResourceListChanged() : server.sendPromptListChanged();
}

/** The server's icon: a chip. */
const serverIcon = icon("M7 7h10v10H7zM9 3v4M15 3v4M9 17v4M15 17v4M3 9h4M3 15h4M17 9h4M17 15h4");

/** An icon of a single path, which is short because some clients pass them to their model. */
export function icon(path: string): Icon {
  const svg = `<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24' fill='none' stroke='gray' stroke-width='2'><path d='${path}'/></svg>`;
  // Only characters that a URI can't contain are escaped, to keep it short.
  const src = `data:image/svg+xml,${svg.replaceAll(/[<> #%"]/g, encodeURIComponent)}`;
  return { src, mimeType: "image/svg+xml" };
}

type Handler = (request: JSONRPCRequest, context: ServerContext) => Promise<Result>;

/**
 * The SDK's server with readable errors. Parameters that don't match the protocol's schema, which the SDK answers with
 * -32603 (internal error) and the schema's issues as JSON, get -32602 (invalid parameters). Any other error of a handler
 * that is not a `ProtocolError` becomes text as in a tool call.
 */
class CheckedServer extends Server {
  readonly #parts: Caller;

  constructor(info: Implementation, options: ServerOptions, parts: Caller) {
    super(info, options);
    this.#parts = parts;
  }

  /** Called for every handler as it is registered, by the constructor of `Server` too. */
  protected override _wrapHandler(method: string, handler: Handler): Handler {
    // What the SDK does for `tools/call` is what it does for prompts, and validates request and result with a schema each:
    // the request was validated as that of every method, and a tool's own result is well formed.
    const wrapped = super._wrapHandler(method === "tools/call" ? "prompts/get" : method, handler);
    return async (request, context) => {
      try {
        return await wrapped(request, context);
      } catch (error) {
        if (error instanceof ProtocolError) throw error;
        const problems = schemaProblems(error);
        if (problems !== undefined) throw new ProtocolError(ProtocolErrorCode.InvalidParams, `${method}: ${problems}`);
        const { errorText, protocolData, textFor } = await import("../call/error-text.ts");
        const shown = textFor(this.#parts, undefined, request.params);
        const text = shown(errorText(error, method, this.#parts.log));
        throw new ProtocolError(
          ProtocolErrorCode.InternalError,
          text,
          protocolData(error, protocolCall(this, context), shown),
        );
      }
    };
  }
}

const maxShownProblems = 3;

/** The problems in an SDK error whose message is a list of zod issues, its only sign; undefined for any other error. */
function schemaProblems(error: unknown): string | undefined {
  if (!(error instanceof Error) || !error.message.startsWith("[")) return undefined;
  return orUndefined(() =>
    (JSON.parse(error.message) as readonly { readonly path: readonly string[]; readonly message: string }[])
      .slice(0, maxShownProblems)
      .map(({ path, message }) => `${path.join(".")}: ${message.replace("Invalid input: ", "")}`)
      .join("; "),
  );
}

/** Entries per page. */
const pageSize = 100;

/**
 * The page of `list` at `cursor`, with the cursor of the next one; the first page without one. A cursor encodes its list's name and the start of the page.
 * It is untrusted: anything that `pageOf` would not have written for a list of this length is rejected with -32602.
 */
export function pageOf<Entry>(name: string, list: readonly Entry[], cursor: string | undefined) {
  const start = cursor === undefined ? 0 : startOf(name, cursor);
  if (start === undefined || (start > 0 && start >= list.length)) {
    throw new ProtocolError(
      ProtocolErrorCode.InvalidParams,
      `cursor is not a cursor of ${name}; start again without one`,
    );
  }
  const end = start + pageSize;
  return {
    entries: list.slice(start, end),
    ...(end < list.length && { nextCursor: cursorAt(name, end) }),
  };
}

function cursorAt(name: string, start: number): string {
  return Buffer.from(`${name} ${start}`).toString("base64url");
}

function startOf(name: string, cursor: string): number | undefined {
  const text = Buffer.from(cursor, "base64url").toString("utf8");
  const start = Number(text.slice(name.length + 1));
  const isOurs = Number.isSafeInteger(start) && start > 0 && start % pageSize === 0 && cursorAt(name, start) === cursor;
  return isOurs ? start : undefined;
}

/**
 * One MCP client on a pair of streams: serves MCP until either side ends; `onEnd` is called once. `areScriptsAnswered` is that of the stdio transport; a front
 * keeps its connection as long as its client waits.
 */
export function serveClient(
  streams: { readonly input: Readable; readonly output: Writable },
  parts: Caller,
  onEnd: () => void,
  { areScriptsAnswered = false } = {},
) {
  const { input, output } = streams;
  const transport = new StdioTransport(input, output, {
    areScriptsAnswered,
    onEnd,
    onLost: (message) => parts.log.warn(message),
  });
  const connection = serveConnection(parts, transport);
  return {
    /** As it introduced itself; undefined before that. */
    name: () => transport.clientName(),
    /** Ids of requests without an answer; open listen streams don't count. */
    unanswered: () => transport.unanswered(),
    /** Stops reading for good: input stays with its sender. */
    pause: () => transport.stopReading(),
    /** Writes a farewell between messages, for fronts. Resolves when it is written, or can't be. */
    say: (farewell: Farewell) =>
      new Promise<void>((resolve) => {
        if (output.destroyed || output.writableEnded) return resolve();
        output.write(`${JSON.stringify(farewell)}\n`, () => resolve());
      }),
    /** Ends running calls as when their client disconnects. */
    close: () => connection.close(),
  };
}

/** Serves one lasting connection (stdio, the daemon's socket) in the protocol era of its client. */
export function serveConnection(parts: Caller, transport: Transport): { close(): Promise<void> } {
  const listenStreams = createListenStreams();
  return serveStdio(() => createServer(parts, listenStreams), {
    transport: listenStreams.tap(transport),
    onerror: (error) => parts.log.debug(`protocol: ${error.message}`),
  });
}
