import type { IncomingMessage, ServerResponse } from "node:http";
import { commandSteps } from "../../next-steps/commands.ts";
import { withSteps } from "../../next-steps/render.ts";
import { OrchestratorError, PromptTooLong, faultOf } from "../../orchestrator/api/errors.ts";
import type { GenerateResult, Orchestrator } from "../../orchestrator/api/facade.ts";
import { type CallerContext, type Progress, isShell } from "../../orchestrator/api/types.ts";
import type { Settings } from "../../orchestrator/config/schema.ts";
import { oneLine } from "../../orchestrator/util/control-characters.ts";
import { isOnThisMachine } from "../../orchestrator/util/ollama-host.ts";
import { defined, stackOf } from "../../orchestrator/util/values.ts";
import { matchesName } from "../../orchestrator/routing/model-overrides.ts";
import type { Timers } from "../../orchestrator/util/timers.ts";
import { failureOf, traceOf } from "../call/call.ts";
import type { Caller } from "../call/caller.ts";
import {
  type Door,
  type DoorCall,
  type DoorChat,
  type DoorFailure,
  type DoorName,
  modelOf,
  routeOf,
} from "../doors/door.ts";
import { tokenHeader } from "./policy.ts";
import { type StreamLimits, answerBody, answerJson, commonHeaders, readBody, watchReader } from "./respond.ts";

/** Conversations with images and files; the services that these protocols are of take as much. */
const bodyLimits = { maxBytes: 32 * 1024 * 1024 };
/** When a stream begins although nothing of its answer is there: clients give up on a silent server. */
const silentMs = 10_000;

const doors: Readonly<Record<DoorName, () => Promise<Door>>> = {
  openai: async () => (await import("../doors/openai.ts")).openai,
  anthropic: async () => (await import("../doors/anthropic.ts")).anthropic,
  ollama: async () => (await import("../doors/ollama.ts")).ollama,
};
/** Even a loaded module takes a while to import. */
const loaded: Partial<Record<DoorName, Door>> = {};

interface DoorWorld {
  readonly parts: Caller;
  readonly settings: () => Settings["http"];
  readonly timers: Timers;
  readonly limits: StreamLimits;
  readonly hasToken: boolean;
}

/** One request to a door. */
interface DoorRequest {
  readonly door: DoorName;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

/** Answers a request that passed `judge`. */
export async function answerDoor(world: DoorWorld, asked: DoorRequest): Promise<void> {
  const [{ request, response, path }, { method = "" }] = [asked, asked.request];
  const door = (loaded[asked.door] ??= await doors[asked.door]());
  const found = routeOf(door, method === "HEAD" ? "GET" : method, path);
  let body: Body | undefined;
  if (method === "POST" || method === "DELETE") {
    const read = await readBody(request, response, world.timers, bodyLimits);
    if (read.kind === "gone") return;
    if (read.kind === "failed") return refuse(door, asked, { ...read, code: "invalid_request" });
    body = read;
  }
  await new Exchange(world, door, asked).answer(found, body);
}

/** Answers a request that did not pass `judge`, in the shape that the door's programs read. */
export async function refuseAtDoor(
  door: DoorName,
  asked: Pick<DoorRequest, "request" | "response">,
  { status, message, headers = {} }: Omit<DoorFailure, "code">,
): Promise<void> {
  const code = status === 401 ? "unauthorized" : status === 403 ? "forbidden" : "invalid_request";
  return refuse(await doors[door](), asked, { status, code, message, headers });
}

function refuse(door: Door, { request, response }: Pick<DoorRequest, "request" | "response">, failure: DoorFailure) {
  const { status, headers } = failure;
  answerBody(request, response, { status, body: JSON.stringify(door.errorBody(failure)), headers });
}

const keysOfBoth = `this model is not served here: send the service's own key, and the token of ollm as ${tokenHeader}`;
const notServed = ({ path, request: { method = "" } }: DoorRequest) => `${method} ${path} is not served here`;

type Found = NonNullable<ReturnType<typeof routeOf>>;
type Body = Extract<Awaited<ReturnType<typeof readBody>>, { kind: "json" }>;

class Exchange {
  readonly #world: DoorWorld;
  readonly #door: Door;
  readonly #asked: DoorRequest;
  readonly #abort = new AbortController();
  readonly #startedAtMs: number;
  #model: string | undefined;

  constructor(world: DoorWorld, door: Door, asked: DoorRequest) {
    this.#world = world;
    this.#door = door;
    this.#asked = asked;
    this.#startedAtMs = world.timers.now();
    asked.response.once("close", () => asked.response.writableFinished || this.#abort.abort("disconnected"));
  }

  async answer(found: Found | undefined, body: Body | undefined): Promise<void> {
    const { parts } = this.#world;
    const { response } = this.#asked;
    let ended: ReturnType<typeof failureOf> = { outcome: "ok" };
    let caller: CallerContext | undefined;
    try {
      const { orchestrator, callerSettings: settings, configured } = await parts.open();
      const { headers } = this.#asked.request;
      const client = clientOf(headers["user-agent"]);
      caller = {
        id: `${parts.id}:${client}`,
        client,
        roots: [],
        settings,
        signal: this.#abort.signal,
        ...defined({ configured, trace: headers["traceparent"] === undefined ? undefined : traceOf(headers) }),
      };
      const { upstreams, modelNames } = this.#world.settings();
      const upstream = this.#asked.door === "ollama" ? undefined : upstreams[this.#asked.door];
      const passing = upstream === undefined ? undefined : await import("./upstream.ts");
      const isOurs = passing?.namesOurs(this.#asked, body?.value, found?.rest, Object.keys(modelNames));
      if (passing !== undefined && upstream !== undefined && isOurs === false) {
        // Without a header of its own the token stands where the service's key belongs: it must not leave.
        if (this.#world.hasToken && this.#asked.request.headers[tokenHeader] === undefined)
          return void (ended = this.#refused({ status: 401, code: "unauthorized", message: keysOfBoth }));
        if (body !== undefined && !isOnThisMachine(upstream)) orchestrator.metrics.notePassedOn(new URL(upstream).host);
        await passing.passOn(upstream, { ...this.#asked, body: body?.bytes });
      } else if (found === undefined)
        ended = this.#refused({ status: 404, code: "not_found", message: notServed(this.#asked) });
      else {
        const { route, rest } = found;
        const wanted = route(body?.value);
        if (typeof wanted !== "function") await this.#chat(orchestrator, caller, wanted);
        else await this.#other({ orchestrator, caller, body: body?.value, rest, version: parts.version }, wanted);
      }
    } catch (error) {
      ended = failureOf(error);
      if (!response.destroyed) this.#fail(error);
    } finally {
      const { door, path } = this.#asked;
      parts.noteCall?.({
        client: caller?.client ?? "unknown",
        tool: `${door}${path.slice(0, 60)}`,
        durationMs: this.#world.timers.now() - this.#startedAtMs,
        ...defined({ model: this.#model, trace: caller?.trace?.id }),
        ...ended,
      });
    }
  }

  async #other(
    given: Pick<DoorCall, "orchestrator" | "caller" | "body" | "rest" | "version">,
    route: Exclude<ReturnType<Found["route"]>, DoorChat>,
  ): Promise<void> {
    const { query, response } = this.#asked;
    this.#failed = (failure) => this.#write(`${JSON.stringify(this.#door.errorBody(failure))}\n`);
    let seen: Parameters<DoorCall["told"]>[0] = {};
    const answer = await route({
      ...given,
      told: (told) => (seen = told),
      query,
      mapped: Object.keys(this.#world.settings().modelNames).filter((name) => !/[*?[\]{}()!+@|]/.test(name)),
      named: (model) => this.#named(given, model),
      write: (line) => this.#write(`${JSON.stringify(line)}\n`),
    });
    this.#model = seen.model;
    if (response.headersSent) response.end();
    else if (typeof answer === "string") answerJson(response, 200, answer, { "content-type": "text/plain" });
    else answerJson(response, 200, answer === undefined ? "" : JSON.stringify(answer), headersOf(seen));
  }

  #named({ orchestrator, caller }: Pick<DoorCall, "orchestrator" | "caller">, name: string) {
    const names = Object.entries(this.#world.settings().modelNames);
    const [, mapped = name] = names.findLast(([pattern]) => matchesName(pattern, name)) ?? [];
    return modelOf(mapped, () => orchestrator.profiles.list(caller).map(({ profile }) => profile.name));
  }

  #refused(failure: DoorFailure): ReturnType<typeof failureOf> {
    refuse(this.#door, this.#asked, failure);
    return { outcome: "error", error: failure.code };
  }

  async #chat(orchestrator: Orchestrator, caller: CallerContext, chat: DoorChat): Promise<void> {
    const [{ response }, { writer, isStream }] = [this.#asked, chat];
    const { movesDates } = this.#world.settings();
    const given = this.#named({ orchestrator, caller }, chat.model);
    const conversation = chat.request.chat && { ...chat.request.chat, movesDates, isStreamed: isStream };
    const request = { ...chat.request, ...given, ...defined({ chat: conversation }) };
    const operation = await orchestrator.generate(caller, request);
    if (!isStream) {
      const result = await operation.follow(caller.signal);
      this.#model = result.model;
      const headers = { ...headersOf({}, result), ...ignoredHeader(chat) };
      return answerJson(response, 200, JSON.stringify(writer.whole(result)), headers);
    }
    const stream = createStream(writer, (bytes, headers) =>
      this.#write(bytes, headers && { ...headers, ...ignoredHeader(chat) }),
    );
    this.#failed = (failure) => this.#write(writer.failed(failure));
    try {
      const result = await operation.follow(caller.signal, (progress) =>
        stream.progress(progress, operation.partial()),
      );
      this.#model = result.model;
      stream.finish(result, chat.model);
      response.addTrailers(headersOf({}, result));
      response.end();
    } finally {
      stream.close();
    }
  }

  /** How a failure is written once the stream has begun. */
  #failed: (failure: DoorFailure) => void = () => this.#asked.response.destroy();

  #fail(error: unknown): void {
    const [failure, { response }] = [doorFailure(error), this.#asked];
    if (!(error instanceof OrchestratorError)) this.#world.parts.log.warn(`door: ${stackOf(error)}`);
    if (!response.headersSent) return refuse(this.#door, this.#asked, failure);
    this.#failed(failure);
    response.end();
  }

  #watcher: ReturnType<typeof watchReader> | undefined;

  #write(bytes: string, headers: Readonly<Record<string, string>> = {}): void {
    const { response } = this.#asked;
    if (!response.headersSent) {
      response.writeHead(200, {
        ...commonHeaders,
        "content-type": this.#door.streamType,
        trailer: trailers.join(", "),
        ...headers,
      });
      this.#watcher = watchReader(response, this.#world.limits, (why) =>
        this.#world.parts.log.warn(`door: a stream was cut: ${why}`),
      );
    }
    if (bytes === "" || this.#watcher?.hasRoom() !== true) return;
    response.write(bytes);
    if (response.writableNeedDrain) this.#watcher.wrote();
  }
}

type Write = (bytes: string, headers?: Readonly<Record<string, string>>) => void;
type Seen = Pick<Progress, "model" | "reason" | "queueMs" | "loadMs"> & Pick<GenerateResult, "cost">;

/** One answer as a stream: begun with the first piece of it, or when it takes long. */
function createStream(writer: DoorChat["writer"], write: Write) {
  let seen: Seen = {};
  const sent = { text: 0, thinking: 0 };
  let hasBegun = false;
  let isQuiet = true;

  function send(make: () => string): void {
    const start = hasBegun ? undefined : writer.begin(seen.model ?? "");
    hasBegun = true;
    const bytes = make();
    isQuiet &&= bytes === "";
    write((start ?? "") + bytes, start === undefined ? undefined : headersOf(seen));
  }

  function piece(part: "text" | "thinking", whole: string): void {
    const from = sent[part];
    if (whole.length <= from) return;
    sent[part] = whole.length;
    send(() => writer.delta(part, whole.slice(from)));
  }

  const timer = setInterval(() => {
    if (isQuiet) send(() => writer.keepAlive);
    isQuiet = true;
  }, silentMs);
  timer.unref();
  return {
    progress(progress: Progress, partial: { readonly text: string; readonly thinking: string } | undefined): void {
      if (!hasBegun) seen = { ...seen, ...progress };
      if (partial === undefined) return;
      piece("thinking", partial.thinking);
      piece("text", partial.text);
    },
    finish(result: GenerateResult, asked: string): void {
      seen = { model: asked, ...seen };
      piece("thinking", result.thinking ?? "");
      piece("text", result.text);
      send(() => writer.end(result));
    },
    close: () => clearInterval(timer),
  };
}

/** `claude-cli/2.1.197 (external, cli)` → `claude-cli`, `OpenAI/Python 1.3` → `openai-python`. */
function clientOf(userAgent: string | undefined): string {
  const [, name = "unknown", version = ""] = /^([\w.-]{1,40})(?:\/([\w.-]{1,40}))?/.exec(userAgent ?? "") ?? [];
  const client = (/^[a-z]/i.test(version) ? `${name}-${version}` : name).toLowerCase();
  // That would be our own shell or page.
  return isShell(client) ? "unknown" : client;
}

function ignoredHeader({ ignored = [] }: DoorChat): Readonly<Record<string, string>> {
  return ignored.length === 0 ? {} : { "ollm-ignored": headerText(ignored.join(", ").slice(0, 500)) };
}

const trailers = ["ollm-cached-tokens", "ollm-cost"];

/** `ollm-model`, `ollm-reason` and the others that are known. */
function headersOf(seen: Seen, result?: GenerateResult): Readonly<Record<string, string>> {
  const { cachedPromptTokens, cost = seen.cost } = result ?? {};
  const known: Readonly<Record<string, string | number | undefined>> = {
    "ollm-model": result?.model ?? seen.model,
    "ollm-reason": result?.reason ?? seen.reason,
    "ollm-queue-ms": result?.timing.queueMs ?? seen.queueMs,
    "ollm-load-ms": result?.timing.loadMs ?? seen.loadMs,
    "ollm-cached-tokens": cachedPromptTokens,
    "ollm-cost": cost && `${cost.amount} ${cost.currency}`,
  };
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(known))
    if (value !== undefined) headers[name] = headerText(String(typeof value === "number" ? Math.round(value) : value));
  return headers;
}

/** Headers are ASCII. */
const headerText = (text: string): string => oneLine(text).replaceAll(/[^\x20-\x7e]/g, "?");

/** Statuses that the official clients act on; they ask again after 408, 409, 429 and from 500. */
const statuses: Readonly<Record<string, number>> = {
  unknown_model: 404,
  queue_full: 429,
  budget_exceeded: 402,
  privacy_locked: 403,
  cancelled: 499,
  engine_unreachable: 503,
  connection_lost: 502,
  engine_not_installed: 503,
  model_does_not_fit: 503,
  out_of_memory: 503,
  daemon_unavailable: 503,
};

/** What lasts until the user changes something, and an answer that was asked for again here already. */
const notAgain: ReadonlySet<string> = new Set(["engine_not_installed", "model_does_not_fit", "check_failed"]);
/** Without a server's own word for it. */
const queueRetrySeconds = 5;

function doorFailure(error: unknown): DoorFailure {
  const { code, blames } = faultOf(error);
  if (!(error instanceof OrchestratorError))
    return { status: 500, code, message: "internal error; the log of the daemon has it" };
  const status = statuses[code] ?? (blames === "request" ? 400 : 500);
  const retrySeconds = error.retryAfterMs === undefined ? undefined : Math.ceil(error.retryAfterMs / 1_000);
  const after = retrySeconds ?? (status === 429 ? queueRetrySeconds : undefined);
  return {
    status,
    code,
    message: withSteps(error, commandSteps, ". "),
    ...(error instanceof PromptTooLong && { tokens: { prompt: error.promptTokens, window: error.contextTokens } }),
    headers: {
      ...(after !== undefined && { "retry-after": String(after) }),
      ...(notAgain.has(code) && { "x-should-retry": "false" }),
    },
  };
}
