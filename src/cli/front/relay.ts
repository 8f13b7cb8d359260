import { createPipingWatch } from "../../ipc/lines.ts";
import { type Farewell, controlPrefix } from "../../ipc/protocol.ts";
import {
  type Failure,
  type KeptRequest,
  type Message,
  type MessageId,
  cancelledLine,
  errorLine,
  failureLine,
  idKey,
  interrupted,
  paramsOf,
  isId,
  readMessage,
  readParams,
  repeatable,
  withId,
} from "./messages.ts";
import { fieldsIn } from "../../orchestrator/util/values.ts";

/** The relay's effects. None of them may call the relay before it returns. */
interface RelayEffects {
  /** One line, with its end. */
  toClient(line: Buffer | string): void;
  toDaemon(line: Buffer | string): void;
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

/** A request that was sent to the daemon and is not answered. */
interface OpenRequest extends KeptRequest {
  /** For an open `subscriptions/listen`: its acknowledgement was passed on, so a repeated one is dropped. */
  isAcknowledged?: boolean;
  /** The acknowledgement of the repeated listen is still pending. */
  isSwallowing?: boolean;
}

/** Limits of lines that wait for a daemon (then the client is not read) and of lines that are kept for a repetition. */
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
 * Lines are passed on as they are; only the edges of most are read.
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
export class Relay {
  readonly #effects: RelayEffects;
  #state: "down" | "connecting" | "up" | "leaving" = "connecting";
  #farewell: Farewell["reason"] | undefined;
  /** Requests that the leaving daemon has seen and not answered; undefined when unknown. */
  #seenOpen: ReadonlySet<string> | undefined;
  #isEnding = false;
  /** The client that ended is a script that waits for its answers. */
  #isAwaited = false;
  readonly #piping = createPipingWatch();
  #isOver = false;
  #generation = 0;
  #deaths: readonly number[] = [];

  #initialize: Buffer | undefined;
  #initialized: Buffer | undefined;
  readonly #subscriptions = new Map<string, Buffer>();
  readonly #open = new Map<string, OpenRequest>();
  /** Id that the client sees → id that the daemon gave. */
  readonly #questions = new Map<string, MessageId>();
  #waiting: { readonly line: Buffer; readonly message: Message | undefined }[] = [];
  #waitingBytes = 0;
  #keptBytes = 0;
  #isHeld = false;

  constructor(effects: RelayEffects) {
    this.#effects = effects;
  }

  clientLine(line: Buffer): void {
    if (this.#isOver) return;
    const message = readMessage(line);
    if (message?.kind === "request") this.#piping.requested();
    if (this.#state === "up") return this.#send(line, message);
    if (this.#dropCancelled(line, message)) return;
    if (this.#state === "down") {
      // Only a request justifies starting a daemon; a new one asks for what notifications would report.
      if (isInitialized(message)) this.#initialized = line;
      if (message?.kind !== "request") return;
      this.#connect(0);
    }
    this.#waiting.push({ line, message });
    this.#waitingBytes += line.length;
    this.#hold();
  }

  /** The client sent a line that is refused; its id is known if it is near one of the ends. */
  clientOversized(id: MessageId | undefined, message: string): void {
    if (!this.#isOver && id !== undefined) this.#effects.toClient(errorLine(id, -32600, message));
  }

  /** Rules 1, 3, 4, 5. */
  #send(line: Buffer, message: Message | undefined): void {
    if (message?.kind === "request") this.#note(line, message);
    else if (message?.kind === "notification") {
      if (isInitialized(message)) this.#initialized = line;
      if (message.method === "notifications/cancelled") this.#forget(readParams(line)?.["requestId"]);
    } else if (message?.kind === "answer") {
      const id = typeof message.id === "string" ? this.#questions.get(message.id) : undefined;
      if (id === undefined) return;
      this.#questions.delete(String(message.id));
      return this.#effects.toDaemon(withId(line, id));
    }
    this.#effects.toDaemon(line);
  }

  #note(line: Buffer, { id, method }: Extract<Message, { kind: "request" }>): void {
    if (method === "initialize") this.#initialize = line;
    if (method === "resources/unsubscribe") this.#subscriptions.delete(uriOf(line));
    const isKept = this.#keptBytes + line.length <= maxKeptBytes;
    if (isKept) this.#keptBytes += line.length;
    this.#forget(id);
    const request = { id, method, ...(isKept ? { line } : { params: readParams(line) }) };
    if (!this.#isEnding || paramsOf(request) !== undefined) this.#open.set(idKey(id), request);
  }

  #forget(id: unknown): OpenRequest | undefined {
    const key = isId(id) ? idKey(id) : "";
    const found = this.#open.get(key);
    if (found === undefined) return undefined;
    this.#open.delete(key);
    this.#keptBytes -= found.line?.length ?? 0;
    return found;
  }

  /** Rule 4: a request that no daemon has seen needs no answer. */
  #dropCancelled(line: Buffer, message: Message | undefined): boolean {
    if (message?.kind !== "notification" || message.method !== "notifications/cancelled") return false;
    const id = readParams(line)?.["requestId"];
    const kept = this.#waiting.filter((each) => each.message?.kind !== "request" || each.message.id !== id);
    this.#forget(id);
    if (kept.length !== this.#waiting.length) {
      this.#waiting = kept;
      this.#waitingBytes = kept.reduce((sum, each) => sum + each.line.length, 0);
      this.#hold();
    }
    return true;
  }

  #hold(): void {
    const isFull = this.#waiting.length >= maxWaitingLines || this.#waitingBytes >= maxKeptBytes;
    if (isFull === this.#isHeld) return;
    this.#isHeld = isFull;
    this.#effects.holdClient(isFull);
  }

  #takeWaiting() {
    const lines = this.#waiting;
    this.#waiting = [];
    this.#waitingBytes = 0;
    return lines;
  }

  #connect(patienceMs: number): void {
    this.#state = "connecting";
    this.#effects.connect(patienceMs);
  }

  /** A daemon is authenticated and accepts messages (rule 6). */
  connected(): void {
    if (this.#isOver) return;
    this.#state = "up";
    this.#farewell = undefined;
    this.#seenOpen = undefined;
    this.#generation += 1;
    const again = [...this.#open.values()];
    const { toDaemon } = this.#effects;
    // An open initialize is repeated unchanged; an answered one becomes the relay's own request.
    if (this.#initialize !== undefined && !again.some(({ method }) => method === "initialize")) {
      toDaemon(withId(this.#initialize, `${ownId}initialize`));
    }
    if (this.#initialized !== undefined) toDaemon(this.#initialized);
    for (const [uri, line] of this.#subscriptions) toDaemon(withId(line, `${ownId}subscribe:${uri}`));
    for (const request of again) {
      if (request.line === undefined) continue;
      if (request.isAcknowledged === true) request.isSwallowing = true;
      toDaemon(request.line);
    }
    for (const { line, message } of this.#takeWaiting()) this.#send(line, message);
    this.#hold();
    if (this.#isEnding) this.#settle();
  }

  daemonLine(line: Buffer): void {
    if (this.#isOver) return;
    if (line.toString("latin1", 0, controlPrefix.length) === controlPrefix) return this.#control(line);
    const message = readMessage(line);
    switch (message?.kind) {
      case "answer":
        return this.#answer(line, message);
      case "request": {
        const id = this.#questionId(message.id);
        this.#questions.set(id, message.id);
        return this.#effects.toClient(withId(line, id));
      }
      case "notification":
        return this.#notification(line, message.method);
      case "other":
      case undefined:
        // Only messages may reach a client.
        return;
    }
  }

  /** Rule 7. */
  #answer(line: Buffer, message: Extract<Message, { kind: "answer" }>): void {
    const request = this.#open.get(idKey(message.id));
    if (request === undefined && typeof message.id === "string" && message.id.startsWith(ownId)) return;
    if (request?.method === "subscriptions/listen" && this.#farewell !== undefined && !message.isError) return;
    this.#forget(message.id);
    if (request?.method === "initialize" && message.isError) this.#initialize = undefined;
    if (request?.method === "resources/subscribe" && !message.isError && this.#subscriptions.size < maxSubscriptions) {
      if (request.line !== undefined) this.#subscriptions.set(uriOf(request.line), request.line);
    }
    this.#piping.answered();
    this.#effects.toClient(line);
    if (this.#isEnding) this.#settle();
  }

  /** Rules 8 and 9. */
  #notification(line: Buffer, method: string): void {
    if (method === "notifications/cancelled") {
      const { requestId, reason } = readParams(line) ?? {};
      if (isId(requestId)) {
        const id = this.#questionId(requestId);
        if (this.#questions.delete(id)) this.#effects.toClient(cancelledLine(id, reason));
        return;
      }
    }
    if (method === "notifications/subscriptions/acknowledged" && this.#isRepeated(readParams(line))) return;
    this.#effects.toClient(line);
  }

  /** Whether a listen that was acknowledged to the client is acknowledged by the next daemon. */
  #isRepeated(params: ReturnType<typeof readParams>): boolean {
    const id = (params?.["_meta"] as typeof params)?.["io.modelcontextprotocol/subscriptionId"];
    const request = isId(id) ? this.#open.get(idKey(id)) : undefined;
    if (request === undefined) return false;
    const isRepeated = request.isSwallowing === true;
    request.isAcknowledged = true;
    request.isSwallowing = false;
    return isRepeated;
  }

  /** Differs for each daemon. */
  #questionId(id: MessageId): string {
    return `${this.#generation}:${idKey(id)}`;
  }

  /** Rule 10. Unknown control lines are ignored. */
  #control(line: Buffer): void {
    const said: Partial<Farewell> = fieldsIn(line.toString("utf8"));
    if (said.ollm !== "farewell") return;
    this.#farewell = said.reason ?? "stop";
    if (Array.isArray(said.unanswered)) this.#seenOpen = new Set(said.unanswered.filter(isId).map(idKey));
    this.#state = "leaving";
  }

  /** The connection to the daemon has ended (rule 11). `now` in milliseconds. */
  daemonGone(now: number): void {
    if (this.#isOver) return;
    for (const id of this.#questions.keys()) this.#effects.toClient(cancelledLine(id, "the ollm daemon was restarted"));
    this.#questions.clear();
    for (const request of this.#open.values()) {
      const isUnseen = this.#seenOpen?.has(idKey(request.id)) === false;
      if (request.line !== undefined && (isUnseen || repeatable.has(request.method))) continue;
      this.#forget(request.id);
      this.#effects.toClient(failureLine(request, interrupted(request)));
    }
    const reason = this.#farewell;
    this.#farewell = undefined;
    this.#seenOpen = undefined;
    this.#state = "down";
    const isNeeded =
      this.#waiting.some(({ message }) => message?.kind === "request") ||
      [...this.#open.values()].some(({ method }) => method !== "subscriptions/listen");
    if (this.#isEnding && !(this.#isAwaited && isNeeded)) return this.#end();
    if (reason === undefined) this.#deaths = [...this.#deaths.filter((at) => now - at < 60_000), now];
    if (reason === "handover") return this.#connect(handoverPatienceMs);
    if (isNeeded || (reason === undefined && this.#deaths.length < maxDeathsPerMinute)) this.#connect(0);
  }

  /** No daemon is available, or it refused us (rule 12). Open listens are kept and repeated when a daemon comes. */
  failed(failure: Failure): void {
    if (this.#isOver) return;
    this.#state = "down";
    this.#piping.answered();
    for (const request of this.#open.values()) {
      if (request.isAcknowledged === true) continue;
      this.#forget(request.id);
      if (request.method === "initialize") this.#initialize = undefined;
      this.#effects.toClient(failureLine(request, failure));
    }
    for (const { line, message } of this.#takeWaiting()) {
      if (message?.kind === "request") this.#effects.toClient(failureLine({ ...message, line }, failure));
      // The client won't repeat it.
      else if (isInitialized(message)) this.#initialized = line;
    }
    this.#hold();
    if (this.#isEnding) this.#settle();
  }

  /** The client closed its end (rule 13). */
  clientEnd(): void {
    if (this.#isEnding || this.#isOver) return;
    this.#isEnding = true;
    this.#isAwaited = this.#piping.ended();
    if (this.#state === "down") return this.#end();
    if (!this.#isAwaited) this.#effects.drain(drainMs);
    for (const request of this.#open.values()) if (paramsOf(request) === undefined) this.#forget(request.id);
    this.#settle();
  }

  drained(): void {
    if (!this.#isOver) this.#end();
  }

  #settle(): void {
    const isAnswered = [...this.#open.values()].every(({ method }) => method === "subscriptions/listen");
    if (isAnswered && this.#waiting.length === 0) this.#end();
  }

  #end(): void {
    this.#isOver = true;
    this.#effects.end(this.#isAwaited);
  }
}

function isInitialized(message: Message | undefined): boolean {
  return message?.kind === "notification" && message.method === "notifications/initialized";
}

function uriOf(line: Buffer): string {
  return String(readParams(line)?.["uri"]);
}
