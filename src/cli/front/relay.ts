import { createPipingWatch } from "../../ipc/lines.ts";
import { type Farewell, controlPrefix } from "../../ipc/protocol.ts";
import {
  type Failure,
  type Message,
  type MessageId,
  type Params,
  failureLine,
  idKey,
  interrupted,
  isId,
  readMessage,
  repeatable,
} from "./messages.ts";

/** The relay's effects. None of them may call the relay before it returns. */
export interface RelayEffects {
  /** One line, without its end. */
  toClient(text: string): void;
  toDaemon(text: string): void;
  /**
   * Find a daemon; for `patienceMs` wait for one that another process starts, then start one. Ends with `connected` or
   * `failed`.
   */
  connect(patienceMs: number): void;
  /** Stop or continue reading from the client. */
  holdClient(isHeld: boolean): void;
  /** Call `drained` after this time; a second call restarts the timer. */
  drain(ms: number): void;
  /** The client has all its answers: close the connection and end; if `isAwaited`, only after everything was read. */
  end(isAwaited: boolean): void;
}

export interface Relay {
  clientLine(text: string): void;
  /** The client sent a line that is too long; its id is known if it is near one of the ends. */
  clientOversized(id: MessageId | undefined, message: string): void;
  /** The client closed its end. */
  clientEnd(): void;
  /** A daemon is authenticated and accepts messages. */
  connected(): void;
  /** No daemon is available, or it refused us. */
  failed(failure: Failure): void;
  daemonLine(text: string): void;
  /** The connection to the daemon has ended. `now` in milliseconds. */
  daemonGone(now: number): void;
  drained(): void;
}

/** A request that was sent to the daemon and is not answered. */
interface OpenRequest {
  readonly id: MessageId;
  readonly method: string;
  readonly params: Params;
  /** The line; absent if there was no room to keep it. */
  readonly text?: string;
  /** For an open `subscriptions/listen`: its acknowledgement was passed on, so a repeated one is dropped. */
  isAcknowledged?: boolean;
  /** The acknowledgement of the repeated listen is still pending. */
  isSwallowing?: boolean;
}

/** Limits of lines that wait for a daemon (then the client is not read) and of copies that are kept for a repetition. */
const maxWaitingLines = 256;
const maxKeptBytes = 8 * 1024 * 1024;
const maxSubscriptions = 1_000;
/** As in the stdio transport after a client closes; the daemon may be starting. Less than the 2 s in which we must end. */
const drainMs = 1_500;
const handoverPatienceMs = 5_000;
/** After so many deaths a daemon is started again only when a request needs it. */
const maxDeathsPerMinute = 3;
/** Prefix of the relay's own request ids, whose answers are not passed on. */
const ownId = "ollm:";

/**
 * Passes messages, one a line, between a client and the daemon, and hides from the client that a daemon is replaced.
 *
 * States of the link: `down` (no daemon, none needed), `connecting`, `up`, `leaving` (the daemon said farewell).
 *
 * | #  | event                            | action                                                                  |
 * | -- | -------------------------------- | ----------------------------------------------------------------------- |
 * | 1  | client: any line, `up`           | passed on; a request is noted as open                                   |
 * | 2  | client: any line, not `up`       | waits, in order; above the limit the client is not read. In `down` a    |
 * |    |                                  | request connects to a daemon; other lines are dropped                   |
 * | 3  | client: handshake, (un)subscribe | like 1 and 2, and kept for the next daemon                              |
 * | 4  | client: cancels a request        | no longer open; a waiting one is dropped together with its cancellation |
 * | 5  | client: answers the daemon       | passed on with the daemon's own id, if this daemon asked                |
 * | 6  | connected                        | sends the kept handshake, subscriptions and listens, the open requests, |
 * |    |                                  | and the waiting lines                                                   |
 * | 7  | daemon: answer                   | passed on, no longer open; dropped if the request was the relay's, or   |
 * |    |                                  | if it ends a listen because the daemon leaves                           |
 * | 8  | daemon: request                  | passed on with an id that includes the daemon: `"<generation>:<id>"`    |
 * | 9  | daemon: notification             | passed on; the acknowledgement of a repeated listen is dropped          |
 * | 10 | daemon: farewell                 | `leaving`: answers still come, the client's lines wait                  |
 * | 11 | daemon gone                      | its questions are cancelled; open calls get a retryable error; reads,   |
 * |    |                                  | and requests that it has not seen, stay open. After a handover: connect |
 * |    |                                  | with patience. After stop or idle: connect if a request waits.          |
 * |    |                                  | Otherwise: connect, unless daemons die repeatedly                       |
 * | 12 | failed                           | every open or waiting request is answered with the failure; `down`      |
 * | 13 | client ends                      | open requests have `drainMs`, then the end; no new daemon. A script     |
 * |    |                                  | waits for its answers, and so does the relay                            |
 */
export function createRelay(effects: RelayEffects): Relay {
  let state: "down" | "connecting" | "up" | "leaving" = "connecting";
  let farewell: Farewell["reason"] | undefined;
  /** Requests that the leaving daemon has seen and not answered; undefined when unknown. */
  let seenOpen: ReadonlySet<string> | undefined;
  let isEnding = false;
  /** The client that ended is a script that waits for its answers. */
  let isAwaited = false;
  const piping = createPipingWatch();
  let isOver = false;
  let generation = 0;
  let deaths: readonly number[] = [];

  let initialize: string | undefined;
  let initialized: string | undefined;
  const subscriptions = new Map<string, string>();
  const open = new Map<string, OpenRequest>();
  /** Id that the client sees → id that the daemon gave. */
  const questions = new Map<string, MessageId>();
  let waiting: { readonly text: string; readonly message: Message | undefined }[] = [];
  let waitingBytes = 0;
  let keptBytes = 0;
  let isHeld = false;

  function clientLine(text: string): void {
    if (isOver) return;
    const message = readMessage(text);
    if (message?.kind === "request") piping.requested();
    if (state === "up") return send(text, message);
    if (dropCancelled(message)) return;
    if (state === "down") {
      // Only a request justifies starting a daemon; a new one asks for what notifications would report.
      if (message?.kind === "notification" && message.method === "notifications/initialized") initialized = text;
      if (message?.kind !== "request") return;
      connect(0);
    }
    waiting.push({ text, message });
    waitingBytes += text.length;
    hold();
  }

  /** Rules 1, 3, 4, 5. */
  function send(text: string, message: Message | undefined): void {
    switch (message?.kind) {
      case "request":
        note(text, message);
        return effects.toDaemon(text);
      case "notification":
        if (message.method === "notifications/initialized") initialized = text;
        if (message.method === "notifications/cancelled") forget(message.params["requestId"]);
        return effects.toDaemon(text);
      case "answer": {
        const id = typeof message.id === "string" ? questions.get(message.id) : undefined;
        if (id === undefined) return;
        questions.delete(String(message.id));
        return effects.toDaemon(JSON.stringify({ ...message.body, id }));
      }
      case "other":
      case undefined:
        return effects.toDaemon(text);
    }
  }

  function note(text: string, { id, method, params }: Extract<Message, { kind: "request" }>): void {
    if (method === "initialize") initialize = text;
    if (method === "resources/unsubscribe") subscriptions.delete(String(params["uri"]));
    const isKept = keptBytes + text.length <= maxKeptBytes;
    if (isKept) keptBytes += text.length;
    forget(id);
    open.set(idKey(id), { id, method, params, ...(isKept && { text }) });
  }

  function forget(id: unknown): OpenRequest | undefined {
    if (!isId(id)) return undefined;
    const found = open.get(idKey(id));
    if (found === undefined) return undefined;
    open.delete(idKey(id));
    keptBytes -= found.text?.length ?? 0;
    return found;
  }

  /** Rule 4: a request that no daemon has seen needs no answer. */
  function dropCancelled(message: Message | undefined): boolean {
    if (message?.kind !== "notification" || message.method !== "notifications/cancelled") return false;
    const id = message.params["requestId"];
    const kept = waiting.filter((line) => line.message?.kind !== "request" || line.message.id !== id);
    forget(id);
    if (kept.length !== waiting.length) {
      waiting = kept;
      waitingBytes = kept.reduce((sum, line) => sum + line.text.length, 0);
      hold();
    }
    return true;
  }

  function hold(): void {
    const isFull = waiting.length >= maxWaitingLines || waitingBytes >= maxKeptBytes;
    if (isFull === isHeld) return;
    isHeld = isFull;
    effects.holdClient(isFull);
  }

  function connect(patienceMs: number): void {
    state = "connecting";
    effects.connect(patienceMs);
  }

  /** Rule 6. */
  function connected(): void {
    if (isOver) return;
    state = "up";
    farewell = undefined;
    seenOpen = undefined;
    generation += 1;
    const again = [...open.values()];
    // An open initialize is repeated unchanged; an answered one becomes the relay's own request.
    if (initialize !== undefined && !again.some(({ method }) => method === "initialize")) {
      effects.toDaemon(withId(initialize, `${ownId}initialize`));
    }
    if (initialized !== undefined) effects.toDaemon(initialized);
    for (const [uri, text] of subscriptions) effects.toDaemon(withId(text, `${ownId}subscribe:${uri}`));
    for (const request of again) {
      if (request.text === undefined) continue;
      if (request.isAcknowledged === true) request.isSwallowing = true;
      effects.toDaemon(request.text);
    }
    const lines = waiting;
    waiting = [];
    waitingBytes = 0;
    for (const { text, message } of lines) send(text, message);
    hold();
    if (isEnding) settle();
  }

  function daemonLine(text: string): void {
    if (isOver) return;
    if (text.startsWith(controlPrefix)) return control(text);
    const message = readMessage(text);
    switch (message?.kind) {
      case "answer":
        return answer(text, message);
      case "request": {
        const id = `${generation}:${idKey(message.id)}`;
        questions.set(id, message.id);
        return effects.toClient(withId(text, id));
      }
      case "notification":
        return notification(text, message);
      case "other":
      case undefined:
        // Only messages may reach a client.
        return;
    }
  }

  /** Rule 7. */
  function answer(text: string, message: Extract<Message, { kind: "answer" }>): void {
    const request = open.get(idKey(message.id));
    if (request === undefined && typeof message.id === "string" && message.id.startsWith(ownId)) return;
    if (request?.method === "subscriptions/listen" && farewell !== undefined && !message.isError) return;
    forget(message.id);
    if (request?.method === "initialize" && message.isError) initialize = undefined;
    if (request?.method === "resources/subscribe" && !message.isError && subscriptions.size < maxSubscriptions) {
      if (request.text !== undefined) subscriptions.set(String(request.params["uri"]), request.text);
    }
    piping.answered();
    effects.toClient(text);
    if (isEnding) settle();
  }

  /** Rules 8 and 9. */
  function notification(text: string, { method, params }: Extract<Message, { kind: "notification" }>): void {
    if (method === "notifications/cancelled" && isId(params["requestId"])) {
      const id = `${generation}:${idKey(params["requestId"])}`;
      if (!questions.delete(id)) return;
      return effects.toClient(cancelled(id, params["reason"]));
    }
    if (method === "notifications/subscriptions/acknowledged") {
      const meta = params["_meta"] as Params | undefined;
      const id = meta?.["io.modelcontextprotocol/subscriptionId"];
      const request = isId(id) ? open.get(idKey(id)) : undefined;
      if (request !== undefined) {
        const isRepeated = request.isSwallowing === true;
        request.isAcknowledged = true;
        request.isSwallowing = false;
        if (isRepeated) return;
      }
    }
    effects.toClient(text);
  }

  /** Rule 10. Unknown control lines are ignored. */
  function control(text: string): void {
    let said: Partial<Farewell>;
    try {
      said = JSON.parse(text) as Partial<Farewell>;
    } catch {
      return;
    }
    if (said.ollm !== "farewell") return;
    farewell = said.reason ?? "stop";
    if (Array.isArray(said.unanswered)) seenOpen = new Set(said.unanswered.filter(isId).map(idKey));
    state = "leaving";
  }

  /** Rule 11. */
  function daemonGone(now: number): void {
    if (isOver) return;
    for (const id of questions.keys()) effects.toClient(cancelled(id, "the ollm daemon was restarted"));
    questions.clear();
    for (const request of open.values()) {
      const isUnseen = seenOpen?.has(idKey(request.id)) === false;
      if (request.text !== undefined && (isUnseen || repeatable.has(request.method))) continue;
      forget(request.id);
      effects.toClient(failureLine(request, interrupted(request)));
    }
    const reason = farewell;
    farewell = undefined;
    seenOpen = undefined;
    state = "down";
    const isNeeded =
      waiting.some(({ message }) => message?.kind === "request") ||
      [...open.values()].some(({ method }) => method !== "subscriptions/listen");
    if (isEnding && !(isAwaited && isNeeded)) return over();
    if (reason === undefined) deaths = [...deaths.filter((at) => now - at < 60_000), now];
    if (reason === "handover") return connect(handoverPatienceMs);
    if (isNeeded || (reason === undefined && deaths.length < maxDeathsPerMinute)) connect(0);
  }

  /** Rule 12. Open listens are kept and repeated when a daemon comes. */
  function failed(failure: Failure): void {
    if (isOver) return;
    state = "down";
    piping.answered();
    for (const request of open.values()) {
      if (request.isAcknowledged === true) continue;
      forget(request.id);
      if (request.method === "initialize") initialize = undefined;
      effects.toClient(failureLine(request, failure));
    }
    const lines = waiting;
    waiting = [];
    waitingBytes = 0;
    for (const line of lines) {
      if (line.message?.kind === "request") effects.toClient(failureLine(line.message, failure));
      // The client won't repeat it.
      else if (line.message?.kind === "notification" && line.message.method === "notifications/initialized") {
        initialized = line.text;
      }
    }
    hold();
    if (isEnding) settle();
  }

  /** Rule 13. */
  function clientEnd(): void {
    if (isEnding || isOver) return;
    isEnding = true;
    isAwaited = piping.ended();
    if (state === "down") return over();
    if (!isAwaited) effects.drain(drainMs);
    settle();
  }

  function settle(): void {
    const isAnswered = [...open.values()].every(({ method }) => method === "subscriptions/listen");
    if (isAnswered && waiting.length === 0) over();
  }

  function over(): void {
    if (isOver) return;
    isOver = true;
    effects.end(isAwaited);
  }

  return {
    clientLine,
    clientOversized(id, message) {
      if (isOver || id === undefined) return;
      effects.toClient(JSON.stringify({ jsonrpc: "2.0", id, error: { code: -32600, message } }));
    },
    clientEnd,
    connected,
    failed,
    daemonLine,
    daemonGone,
    drained: over,
  };
}

function withId(text: string, id: MessageId): string {
  return JSON.stringify({ ...(JSON.parse(text) as object), id });
}

function cancelled(requestId: MessageId, reason: unknown): string {
  const params = { requestId, ...(typeof reason === "string" && { reason }) };
  return JSON.stringify({ jsonrpc: "2.0", method: "notifications/cancelled", params });
}
