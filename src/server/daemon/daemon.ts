import { existsSync } from "node:fs";
import type { Socket } from "node:net";
import { type AcceptedConnection, acceptConnection } from "../../ipc/handshake.ts";
import type { Farewell, Hello, Welcome } from "../../ipc/protocol.ts";
import { dashboardFile } from "../../ipc/run-folder.ts";
import { DaemonUnavailable, InvalidRequest, OrchestratorError } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { parseFlags } from "../../orchestrator/config/flags.ts";
import { type Client, type DaemonParts, callerParts, noticesFor } from "./caller-home.ts";
import type { Listeners } from "./listeners.ts";
import { messageOf, stackOf } from "../../orchestrator/util/values.ts";
import { within } from "../../orchestrator/util/timers.ts";

/** More clients than this mean a defect, such as a client that starts servers in a loop. */
const maxClients = 256;
/** Including connections in their handshake. */
const maxSockets = maxClients + 64;
const handshakeMs = 10_000;
/** A client that doesn't read must not delay the daemon's end. */
const farewellMs = 300;

/** The part of a daemon that handles connections: handshakes, purposes and farewells. */
export class Daemon {
  readonly #parts: DaemonParts;
  readonly #sockets = new Set<Socket>();
  readonly #clients = new Map<string, Client>();
  #listeners: Listeners | undefined;
  #counter = 0;
  #isClosed = false;
  #isPaused = false;

  constructor(parts: DaemonParts) {
    this.#parts = parts;
  }

  /** Accepts a connection on the daemon's socket; never throws. */
  accept(socket: Socket): void {
    if (this.#isClosed || this.#sockets.size >= maxSockets) return void socket.destroy();
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    void this.#greet(socket);
  }

  business() {
    const { operations = [], pinned = 0 } = this.#parts.orchestrator.current()?.orchestrator.activity() ?? {};
    const requests = [...this.#clients.values()].reduce((sum, { served }) => sum + served.unanswered().length, 0);
    const pulls = operations.filter(({ kind }) => kind === "pull").length;
    return {
      clients: this.#clients.size + (this.#listeners?.pages ?? 0),
      listeners: this.#listeners?.leased ?? 0,
      /** Without an answer. */
      requests,
      operations: operations.length,
      pulls,
      pinned,
    };
  }

  /** Sends farewells and accepts no more connections. Running calls end as when their client disconnects. */
  async closeClients(reason: Farewell["reason"]): Promise<void> {
    this.#isClosed = true;
    this.#listeners?.sayFarewell({ ollm: "farewell", reason });
    await this.sayFarewell(reason);
    await Promise.all([...this.#clients.values()].map(({ served }) => served.close()));
    await Promise.all([...this.#sockets].map(closeSocket));
  }

  async closeListeners(): Promise<void> {
    await this.#listeners?.close();
  }

  async #greet(socket: Socket): Promise<void> {
    const { home, build } = this.#parts;
    let accepted: AcceptedConnection;
    try {
      accepted = await acceptConnection(socket, {
        home,
        version: build,
        pid: process.pid,
        timeoutMs: handshakeMs,
      });
    } catch (error) {
      this.#parts.log.debug(`a connection ended in its handshake: ${messageOf(error)}`);
      return;
    }
    // A front that sees its connection closed waits for the next daemon.
    if (this.#isClosed) return void socket.destroy();
    try {
      await this.#serve(socket, accepted);
    } catch (error) {
      if (!(error instanceof OrchestratorError)) this.#parts.log.warn(`serving a connection: ${stackOf(error)}`);
      accepted.welcome(refusal(error));
      socket.end();
    }
  }

  async #serve(socket: Socket, { hello, welcome }: AcceptedConnection): Promise<void> {
    switch (hello.purpose) {
      case "mcp":
        return this.#serveMcp(socket, hello, welcome);
      case "http":
        return (await this.#openListeners()).serveHttp(socket, hello, welcome);
      case "dashboard":
        await (await this.#openListeners()).serveDashboard(welcome);
        return void socket.end();
      case "status": {
        const { daemonStatus } = await import("./status.ts");
        welcome({
          ok: true,
          status: await daemonStatus(this.#parts, [...this.#clients.values()], this.#listeners),
        });
        return void socket.end();
      }
      case "stop":
      case "restart":
      case "handover": {
        const { purpose } = hello;
        if (purpose === "handover" && this.#parts.isStandalone) {
          throw new DaemonUnavailable("a standalone server can't hand its client's connection over", {
            next: advice(`close the client that started pid ${process.pid}`),
          });
        }
        this.#parts.log.info(`daemon: ${purpose} requested by version ${hello.version}`);
        welcome({ ok: true });
        return void socket.end(() => this.#parts.onAsked(purpose));
      }
      default:
        throw new DaemonUnavailable(
          `this daemon (version ${this.#parts.build}) does not support the purpose "${String(hello.purpose)}"`,
          { next: { step: "restartDaemon" } },
        );
    }
  }

  async #serveMcp(socket: Socket, hello: Hello, welcome: (message: Welcome) => void): Promise<void> {
    if (this.#clients.size >= maxClients) {
      throw new DaemonUnavailable(`the daemon serves ${maxClients} clients already, which is the limit`, {
        next: [advice("close clients that are not in use"), { step: "listClients" }],
      });
    }
    const { environment, workingDirectory } = hello;
    const flags = parseFlags(hello.arguments);
    const origin = { environment, workingDirectory, flags, userHome: this.#parts.userHome };
    this.#counter += 1;
    const id = `client-${this.#counter}`;
    const caller = callerParts(this.#parts, id, origin);
    const [serveClient, notices] = await Promise.all([
      this.#parts.serveClient(),
      noticesFor(caller, origin, this.#parts.orchestrator),
    ]);
    if (this.#isClosed || socket.destroyed) return void socket.destroy();
    welcome({ ok: true, ...(notices.length > 0 && { notices }) });
    let remove = (): void => undefined;
    const onEnd = (): void => {
      remove();
      // The last writes still get sent.
      socket.end();
      setTimeout(() => socket.destroy(), farewellMs).unref();
    };
    const served = serveClient({ input: socket, output: socket }, caller, onEnd);
    remove = this.addClient(id, { served, connectedAt: new Date().toISOString() });
    // Connected while this daemon is ending: the next one serves it.
    if (this.#isPaused) served.pause();
  }

  /** Loaded with the first listener. */
  async #openListeners(): Promise<Listeners> {
    const { Listeners: Opened } = await import("./listeners.ts");
    if (this.#isClosed) throw new DaemonUnavailable("the daemon is ending");
    return (this.#listeners ??= new Opened(this.#parts));
  }

  /** Listens again where the last daemon served the dashboard, if a page was open. */
  async reopenDashboard(): Promise<void> {
    if (existsSync(dashboardFile(this.#parts.home))) await (await this.#openListeners()).reopen();
  }

  /** Adds a client on streams of its own, in a standalone server; the returned function removes it. */
  addClient(id: string, client: Client): () => void {
    this.#clients.set(id, client);
    return () => void this.#clients.delete(id);
  }

  /** Stops reading from clients. */
  pauseClients(): void {
    this.#isPaused = true;
    for (const { served } of this.#clients.values()) served.pause();
  }

  /**
   * Tells clients that this daemon ends, and which of their requests it has read. Nothing is read from then on; answers
   * are still sent.
   */
  async sayFarewell(reason: Farewell["reason"]): Promise<void> {
    // A request read from here on would be missing from the list of those that were read.
    this.pauseClients();
    await Promise.all(
      [...this.#clients.values()].map(({ served }) =>
        within(
          { ms: farewellMs },
          () => served.say({ ollm: "farewell", reason, unanswered: served.unanswered() }),
          () => undefined,
        ),
      ),
    );
  }
}

function refusal(error: unknown): Welcome {
  if (!(error instanceof OrchestratorError)) return { ok: false, message: `internal error: ${messageOf(error)}` };
  return {
    ok: false,
    message: error.message,
    next: error.next,
    ...(error instanceof InvalidRequest && { isUsage: true }),
  };
}

/**
 * Closes our end and waits for the other. Destroying the socket while a front still writes would discard data that the
 * front has not read yet, such as the farewell. Input is discarded, as the farewell says.
 */
async function closeSocket(socket: Socket): Promise<void> {
  const closed = new Promise<void>((resolve) => {
    socket.once("close", () => resolve());
  });
  socket.resume();
  socket.end();
  if (!socket.destroyed)
    await within(
      { ms: farewellMs },
      () => closed,
      () => undefined,
    );
  socket.destroy();
}

const lookMs = 1_000;
const sleepLookMs = 5_000;
const handoverLookMs = 50;

/** Watches for the end of the idle timeout, for the moment to hand over, and for sleep of the machine. */
export function watchBusiness(parts: {
  readonly business: () => Business;
  /** In seconds; negative means never. Read each time, as the setting may not be loaded yet. */
  readonly idleTimeoutSeconds: () => number;
  /** Monotonic time and wall-clock time in milliseconds. */
  readonly now: () => number;
  readonly wallNow: () => number;
  readonly onIdle: () => void;
  /** Called after the machine has slept, with about how long. */
  readonly onWake: (gapMs: number) => void;
  /** Called when new requests must no longer be read. */
  readonly onDrain: () => void;
  readonly onHandover: () => void;
}) {
  let idleSince: number | undefined;
  let handoverSince: number | undefined;
  let isDraining = false;
  let lastWall = parts.wallNow();
  let handoverTimer: NodeJS.Timeout | undefined;

  const lookForIdle = (): void => {
    const timeoutSeconds = parts.idleTimeoutSeconds();
    const { clients, listeners, operations, pinned } = parts.business();
    if (clients + listeners + operations + pinned > 0) idleSince = undefined;
    else idleSince ??= parts.now();
    const isOver = idleSince !== undefined && parts.now() - idleSince >= timeoutSeconds * 1_000;
    if (timeoutSeconds >= 0 && isOver) parts.onIdle();
  };

  const lookForSleep = (): void => {
    const wall = parts.wallNow();
    const elapsedMs = wall - lastWall;
    lastWall = wall;
    if (elapsedMs - sleepLookMs <= sleepGapMs) return;
    // Clients that slept, too, get time to reconnect.
    idleSince = undefined;
    parts.onWake(elapsedMs);
  };

  const lookForHandover = (): void => {
    if (handoverSince === undefined) return;
    const step = handoverStep(parts.business(), parts.now() - handoverSince);
    if (step === "go") {
      clearInterval(handoverTimer);
      parts.onHandover();
    } else if (step === "drain" && !isDraining) {
      isDraining = true;
      parts.onDrain();
    }
  };

  const timers = [setInterval(lookForIdle, lookMs), setInterval(lookForSleep, sleepLookMs)];
  for (const timer of timers) timer.unref();

  return {
    /** Ends this daemon at the first moment without work; see `handoverStep`. */
    startHandover(): void {
      if (handoverSince !== undefined) return;
      handoverSince = parts.now();
      handoverTimer = setInterval(lookForHandover, handoverLookMs);
      handoverTimer.unref();
    },
    stop(): void {
      for (const timer of [...timers, handoverTimer]) clearInterval(timer);
    },
  };
}

/** The work of a daemon at a moment. */
type Business = ReturnType<Daemon["business"]>;

/** How long a daemon that was asked to hand over continues to work normally. */
const handoverPatienceMs = 10 * 60_000;
/** How long it then waits for running requests, without reading new ones. */
const handoverDrainMs = 60_000;

/**
 * What a daemon does `elapsedMs` after it was asked to hand over:
 *
 * | running requests and work   | elapsed              | step                                    |
 * |-----------------------------|----------------------|-----------------------------------------|
 * | none                        | any                  | `go`                                    |
 * | some                        | up to 10 min         | `work`                                  |
 * | some                        | up to a minute later | `drain`: no new requests are read       |
 * | some                        | later                | `go`: running work is interrupted       |
 *
 * Pulls don't delay it: the next daemon resumes them.
 */
function handoverStep(business: Business, elapsedMs: number): "work" | "drain" | "go" {
  if (business.requests === 0 && business.operations - business.pulls === 0) return "go";
  if (elapsedMs < handoverPatienceMs) return "work";
  return elapsedMs < handoverPatienceMs + handoverDrainMs ? "drain" : "go";
}

/** A timer that fires this much later by wall-clock time means that the machine slept. */
const sleepGapMs = 30_000;
