import type { Socket } from "node:net";
import type { Readable, Writable } from "node:stream";
import { newestClaim, uptimeMs } from "../../ipc/claim-record.ts";
import { type DaemonConnection, DaemonUnreachable, connectDaemon } from "../../ipc/handshake.ts";
import { createLineSplitter, defaultMaxLineBytes, idInEdge } from "../../ipc/lines.ts";
import type { Hello, Purpose, Welcome } from "../../ipc/protocol.ts";
import { isUpgrade } from "../../ipc/version.ts";
import type { ErrorData } from "../../next-steps/error-data.ts";
import type { NextStep } from "../../orchestrator/api/next-step.ts";
import { createRelay } from "./relay.ts";
import type { Rescue, RescueOptions } from "./rescue.ts";

export interface ClientStreams {
  readonly input: Readable;
  readonly output: Writable;
}

export interface FrontOptions extends RescueOptions {
  readonly workingDirectory: string;
  /** Starts daemons; loaded when none is running, or when something failed. */
  loadRescue(): Promise<Rescue>;
  /** Serves this client without a daemon; the streams are untouched. */
  serveStandalone(): Promise<void>;
  openStreams(): ClientStreams;
  /** Ends the process. */
  exit(code: number): void;
}

/** Bounds a daemon's introduction: the daemon may be busy, and a machine that swaps is slow. */
const connectMs = 5_000;
const pollMs = 100;
const maxStarts = 2;
/** A daemon sends messages of any length, up to its longest answer. */
const maxDaemonLineBytes = 64 * 1024 * 1024;
/** Bytes of our own answers that the client hasn't read, above which its requests are not read. */
const maxUnreadBytes = 1024 * 1024;
/** For the last bytes to a client that may not read them. */
const flushMs = 300;

/**
 * A client's stdio server: relays between the client and the daemon of the home, starting a daemon if none is running.
 * Resolves when it relays; the process ends through `exit`.
 */
export async function runFront(options: FrontOptions): Promise<void> {
  let relay: RelayedClient | undefined;
  const begin = (): RelayedClient => (relay ??= relayClient(options, options.openStreams()));
  const first = await firstConnection(options, begin);
  if (first === "standalone") await options.serveStandalone();
  else if (first instanceof Error) await begin().fail(first);
  else begin().adopt(first);
}

interface RelayedClient {
  /** Switches to this daemon. */
  adopt(connection: DaemonConnection): void;
  /** Reports that no daemon is available for now. */
  fail(error: unknown): Promise<void>;
}

/** Reads the client at once; its messages wait for the first daemon. */
function relayClient(options: FrontOptions, { input, output }: ClientStreams): RelayedClient {
  let isUpgradeAsked = false;
  let isStarting = true;
  let daemon: Socket | undefined;
  const holds = { queue: false, daemon: false, client: false };
  let drainTimer: NodeJS.Timeout | undefined;
  let isEnding = false;
  /** Every request is answered with the failure, but it is written to stderr only once. */
  let lastFailure = "";
  /** The exit code unless a signal arrives. */
  let endCode = 0;
  /** A script has not read all of its answers yet. */
  let isLeftUnread = false;

  const relay = createRelay({
    toClient(text) {
      if (output.write(`${text}\n`)) return;
      // The daemon's answers wait in the daemon. Our own are few, unless the client provokes them.
      daemon?.pause();
      if (output.writableLength > maxUnreadBytes) holdClient("client", true);
    },
    toDaemon(text) {
      if (daemon?.write(`${text}\n`) === false) holdClient("daemon", true);
    },
    connect: (patienceMs) => void connectAgain(patienceMs),
    holdClient: (isHeld) => holdClient("queue", isHeld),
    drain(ms) {
      clearTimeout(drainTimer);
      drainTimer = setTimeout(relay.drained, ms);
    },
    end: (isAwaited) => end(endCode, isAwaited),
  });

  function holdClient(why: keyof typeof holds, isHeld: boolean): void {
    holds[why] = isHeld;
    if (holds.queue || holds.daemon || holds.client) input.pause();
    else input.resume();
  }

  function adopt(connection: DaemonConnection): void {
    if (isEnding) return void connection.socket.destroy();
    const { socket, introduction, welcome } = connection;
    daemon = socket;
    lastFailure = "";
    holdClient("daemon", false);
    // First, so that the daemon works on waiting requests while the rest is set up.
    relay.connected();
    const lines = createLineSplitter({
      maxLineBytes: maxDaemonLineBytes,
      onLine: relay.daemonLine,
      onRefused: ({ why }) => options.say(`an answer of the daemon was dropped: ${why}`),
    });
    let isGone = false;
    const gone = (): void => {
      if (isGone || daemon !== socket) return;
      isGone = true;
      daemon = undefined;
      socket.destroy();
      holdClient("daemon", false);
      relay.daemonGone(uptimeMs());
    };
    socket.on("drain", () => holdClient("daemon", false));
    welcome.then(
      (said) => {
        if (!said.ok) return void refuse(socket, said);
        for (const notice of said.notices ?? []) options.say(notice);
        socket.on("data", lines.push);
        socket.on("end", gone);
        socket.on("close", gone);
        if (socket.destroyed) gone();
        else if (output.writableNeedDrain) socket.pause();
      },
      () => gone(),
    );
    if (!isUpgradeAsked && isUpgrade(options.program.version, introduction.version, isStarting)) {
      isUpgradeAsked = true;
      askForHandover(introduction.version).catch(async (error: unknown) =>
        options.say((await textsOf(errorDataOf(error))).terminal),
      );
    }
    isStarting = false;
  }

  async function refuse(socket: Socket, said: Extract<Welcome, { ok: false }>): Promise<void> {
    daemon = undefined;
    socket.destroy();
    const failure: ErrorData = { message: said.message, next: said.next ?? [] };
    // The relay may end the front before the refusal is shown, if the client has closed its end.
    if (said.isUsage === true) endCode = 2;
    const { terminal, ...texts } = await textsOf(failure);
    if (isEnding) return;
    if (options.isForShell !== true) options.say(terminal);
    relay.failed({ ...failure, texts, isAlwaysData: options.isForShell });
    if (said.isUsage === true) end(endCode);
  }

  /** Asks on a second connection; this one is used until the daemon says farewell. */
  async function askForHandover(theirs: string): Promise<void> {
    options.say(`asking the daemon of version ${theirs} to hand over to version ${options.program.version}`);
    const { socket, welcome } = await connectDaemon(options.home, helloOf(options, "handover"), {
      timeoutMs: connectMs,
    });
    const said = await welcome;
    socket.destroy();
    if (!said.ok) options.say(said.message);
  }

  async function connectAgain(patienceMs: number): Promise<void> {
    try {
      // The front that requested the handover starts the next daemon; the others wait for it.
      adopt(await obtainDaemon(options, isUpgradeAsked ? 0 : patienceMs));
    } catch (error) {
      await fail(error);
    }
  }

  async function fail(error: unknown): Promise<void> {
    const failure = errorDataOf(error);
    const { terminal, ...texts } = await textsOf(failure);
    if (isEnding) return;
    if (options.isForShell !== true && terminal !== lastFailure) options.say(terminal);
    lastFailure = terminal;
    relay.failed({ ...failure, texts, isAlwaysData: options.isForShell });
  }

  /** Without next steps if an upgrade has removed the file that contains their texts. */
  async function textsOf(error: ErrorData): Promise<ReturnType<Rescue["textsOf"]>> {
    try {
      return (await options.loadRescue()).textsOf(error);
    } catch {
      return { terminal: error.message, client: error.message, delegation: error.message };
    }
  }

  function end(code: number, isAwaited = false): void {
    if (isEnding) return;
    isEnding = true;
    clearTimeout(drainTimer);
    input.pause();
    daemon?.destroy();
    if (output.writableLength === 0 || output.destroyed) return options.exit(code);
    isLeftUnread = isAwaited;
    if (!isAwaited) setTimeout(() => options.exit(code), flushMs);
    // `drain` is not emitted for a few bytes.
    output.end(() => options.exit(code));
    output.once("close", () => options.exit(code));
  }

  /** Ends on a signal: waits for nothing that isn't bounded. */
  function stop(code: number): void {
    if (isLeftUnread) options.exit(code);
    else end(code);
  }

  output.on("drain", () => {
    daemon?.resume();
    holdClient("client", false);
  });
  // EPIPE and the like: the client has closed its end.
  output.on("error", () => end(0));
  const lines = createLineSplitter({
    maxLineBytes: defaultMaxLineBytes,
    onLine: relay.clientLine,
    onRefused: ({ why, head, tail }) => relay.clientOversized(idInEdge(head) ?? idInEdge(tail), why),
  });
  input.on("data", lines.push);
  input.on("error", relay.clientEnd);
  input.on("end", relay.clientEnd);
  input.on("close", relay.clientEnd);
  setImmediate(() => {
    process.once("SIGTERM", () => stop(143));
    process.once("SIGINT", () => stop(130));
    process.once("SIGHUP", () => stop(129));
  });
  return { adopt, fail };
}

/**
 * Connects before anything is read from the client, which may still be served without a daemon. A process that accepts
 * the connection is taken for a daemon, so reading begins during its introduction.
 */
async function firstConnection(
  options: FrontOptions,
  begin: () => void,
): Promise<DaemonConnection | "standalone" | Error> {
  let isBegun = false;
  const onKnock = (): void => {
    isBegun = true;
    begin();
  };
  try {
    return await connectDaemon(options.home, helloOf(options, "mcp"), { timeoutMs: connectMs, onKnock });
  } catch (error) {
    // A home that others could have changed: each request is answered with the correction.
    if (!(error instanceof DaemonUnreachable)) return asError(error);
  }
  try {
    const unusable = isBegun ? undefined : await (await options.loadRescue()).whyUnusable(options.home);
    if (unusable !== undefined) {
      options.say(`${unusable}; running standalone`);
      return "standalone";
    }
    // From here on the end of the client must be noticed while a daemon starts.
    begin();
    return await obtainDaemon(options, 0);
  } catch (error) {
    return asError(error);
  }
}

/**
 * Connects to the daemon. For `patienceMs` it waits for one that another process starts; then it starts one itself, and
 * another if that one was killed before it served a client.
 */
async function obtainDaemon(options: FrontOptions, patienceMs: number): Promise<DaemonConnection> {
  const deadline = uptimeMs() + patienceMs;
  let starts = 0;
  for (;;) {
    try {
      return await connectDaemon(options.home, helloOf(options, "mcp"), { timeoutMs: connectMs });
    } catch (error) {
      if (!(error instanceof DaemonUnreachable) || starts === maxStarts) throw error;
    }
    if (uptimeMs() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, pollMs));
      continue;
    }
    starts += 1;
    const before = newestClaim(options.home)?.generation;
    try {
      await (await options.loadRescue()).start(options);
    } catch (error) {
      // A daemon that never appeared won't appear on a second try; one that appeared was killed.
      if (starts === maxStarts || newestClaim(options.home)?.generation === before) throw error;
    }
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

function helloOf(options: FrontOptions, purpose: Purpose): Omit<Hello, "proof"> {
  const environment = Object.entries(options.environment).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && entry[0].startsWith("OLLM_"),
  );
  return {
    version: options.program.version,
    purpose,
    workingDirectory: options.workingDirectory,
    arguments: options.words,
    environment: Object.fromEntries(environment),
  };
}

/** The error as data. An error of ours may come from another bundle, so its class can't be checked. */
function errorDataOf(error: unknown): ErrorData {
  if (!(error instanceof Error)) return { message: String(error), next: [] };
  const next = "next" in error && Array.isArray(error.next) ? (error.next as readonly NextStep[]) : [];
  return { message: error.message, next };
}
