import type { Socket } from "node:net";
import type { Readable, Writable } from "node:stream";
import { newestClaim, uptimeMs } from "../../ipc/claim-record.ts";
import {
  type DaemonConnection,
  DaemonUnreachable,
  askDaemon,
  connectDaemon,
  introductionMs,
} from "../../ipc/handshake.ts";
import { createByteSplitter, defaultMaxLineBytes, idInEdge } from "../../ipc/lines.ts";
import type { Hello, Welcome } from "../../ipc/protocol.ts";
import { isUpgrade } from "../../ipc/version.ts";
import type { ErrorData } from "../../next-steps/render.ts";
import type { NextStep } from "../../orchestrator/api/next-step.ts";
import { Relay } from "./relay.ts";
import type { Rescue, RescueOptions } from "./rescue.ts";

export interface FrontOptions extends RescueOptions {
  readonly workingDirectory: string;
  /** Starts daemons; loaded when none is running, or when something failed. */
  loadRescue(): Promise<Rescue>;
  /** Serves this client without a daemon; the streams are untouched. */
  serveStandalone(): Promise<void>;
  openStreams(): { readonly input: Readable; readonly output: Writable };
  /** Ends the process. */
  exit(code: number): void;
}

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
  const begin = (): RelayedClient => (relay ??= new RelayedClient(options, options.openStreams()));
  const first = await firstConnection(options, begin);
  if (first === "standalone") await options.serveStandalone();
  else if (first instanceof Error) await begin().fail(first);
  else begin().adopt(first);
}

/** Relays between one client and the daemons that follow each other. Reads the client at once. */
class RelayedClient {
  readonly #options: FrontOptions;
  readonly #input: Readable;
  readonly #output: Writable;
  readonly #relay: Relay;
  #isUpgradeAsked = false;
  #isStarting = true;
  #daemon: Socket | undefined;
  readonly #holds = { queue: false, daemon: false, client: false };
  #drainTimer: NodeJS.Timeout | undefined;
  #isEnding = false;
  /** Every request is answered with the failure, but it is written to stderr only once. */
  #lastFailure = "";
  /** The exit code unless a signal arrives. */
  #endCode = 0;
  /** A script has not read all of its answers yet. */
  #isLeftUnread = false;

  constructor(options: FrontOptions, { input, output }: ReturnType<FrontOptions["openStreams"]>) {
    this.#options = options;
    this.#input = input;
    this.#output = output;
    const relay = new Relay({
      toClient: (line) => this.#toClient(line),
      toDaemon: (line) => {
        if (this.#daemon?.write(line) === false) this.#hold("daemon", true);
      },
      connect: (patienceMs) => void this.#connectAgain(patienceMs),
      holdClient: (isHeld) => this.#hold("queue", isHeld),
      drain: (ms) => {
        clearTimeout(this.#drainTimer);
        this.#drainTimer = setTimeout(() => relay.drained(), ms);
      },
      end: (isAwaited) => this.#end(this.#endCode, isAwaited),
    });
    this.#relay = relay;
    output.on("drain", () => {
      this.#daemon?.resume();
      this.#hold("client", false);
    });
    // EPIPE and the like: the client has closed its end.
    output.on("error", () => this.#end(0));
    const lines = createByteSplitter({
      maxLineBytes: defaultMaxLineBytes,
      onLine: (line) => relay.clientLine(line),
      onRefused: ({ why, head, tail }) => relay.clientOversized(idInEdge(head) ?? idInEdge(tail), why),
    });
    input.on("data", lines.push);
    for (const event of ["error", "end", "close"]) input.on(event, () => relay.clientEnd());
    // The shell handles its signals itself, and gives up a daemon that accepted it and says nothing.
    if (options.isForShell === true) {
      options.signal?.addEventListener("abort", () => this.#end(130), { once: true });
      return;
    }
    setImmediate(() => {
      process.once("SIGTERM", () => this.#stop(143));
      process.once("SIGINT", () => this.#stop(130));
      process.once("SIGHUP", () => this.#stop(129));
    });
  }

  #toClient(line: Buffer | string): void {
    if (this.#output.write(line)) return;
    // The daemon's answers wait in the daemon. Our own are few, unless the client provokes them.
    this.#daemon?.pause();
    if (this.#output.writableLength > maxUnreadBytes) this.#hold("client", true);
  }

  #hold(why: "queue" | "daemon" | "client", isHeld: boolean): void {
    this.#holds[why] = isHeld;
    if (this.#holds.queue || this.#holds.daemon || this.#holds.client) this.#input.pause();
    else this.#input.resume();
  }

  /** Switches to this daemon. */
  adopt(connection: DaemonConnection): void {
    if (this.#isEnding) return void connection.socket.destroy();
    const { socket, introduction } = connection;
    this.#daemon = socket;
    this.#lastFailure = "";
    this.#hold("daemon", false);
    // First, so that the daemon works on waiting requests while the rest is set up.
    this.#relay.connected();
    this.#listen(connection);
    const { program, say } = this.#options;
    if (!this.#isUpgradeAsked && isUpgrade(program.version, introduction.version, this.#isStarting)) {
      this.#isUpgradeAsked = true;
      this.#askForHandover(introduction.version).catch(async (error: unknown) =>
        say((await this.#textsOf(errorDataOf(error))).terminal),
      );
    }
    this.#isStarting = false;
  }

  #listen({ socket, welcome }: DaemonConnection): void {
    const { say } = this.#options;
    const lines = createByteSplitter({
      maxLineBytes: maxDaemonLineBytes,
      onLine: (line) => this.#relay.daemonLine(line),
      onRefused: ({ why }) => say(`an answer of the daemon was dropped: ${why}`),
    });
    const gone = (): void => {
      if (this.#daemon !== socket) return;
      this.#daemon = undefined;
      socket.destroy();
      this.#hold("daemon", false);
      this.#relay.daemonGone(uptimeMs());
    };
    socket.on("drain", () => this.#hold("daemon", false));
    welcome.then(
      (said) => {
        if (!said.ok) return void this.#refuse(socket, said);
        for (const notice of said.notices ?? []) say(notice);
        socket.on("data", lines.push);
        socket.on("end", gone);
        socket.on("close", gone);
        if (socket.destroyed) gone();
        else if (this.#output.writableNeedDrain) socket.pause();
      },
      () => gone(),
    );
  }

  async #refuse(socket: Socket, said: Extract<Welcome, { ok: false }>): Promise<void> {
    this.#daemon = undefined;
    socket.destroy();
    const failure: ErrorData = { message: said.message, next: said.next ?? [] };
    // The relay may end the front before the refusal is shown, if the client has closed its end.
    if (said.isUsage === true) this.#endCode = 2;
    await this.#report(failure, "");
    if (said.isUsage === true) this.#end(this.#endCode);
  }

  /** Asks on a second connection; this one is used until the daemon says farewell. */
  async #askForHandover(theirs: string): Promise<void> {
    const { home, program, say } = this.#options;
    say(`asking the daemon of version ${theirs} to hand over to version ${program.version}`);
    const limits = { timeoutMs: introductionMs };
    const { welcome } = await askDaemon(home, callerOf(this.#options, "handover"), limits);
    if (!welcome.ok) say(welcome.message);
  }

  async #connectAgain(patienceMs: number): Promise<void> {
    try {
      // The front that requested the handover starts the next daemon; the others wait for it.
      this.adopt(await obtainDaemon(this.#options, this.#isUpgradeAsked ? 0 : patienceMs));
    } catch (error) {
      await this.fail(error);
    }
  }

  /** Reports that no daemon is available for now. */
  async fail(error: unknown): Promise<void> {
    this.#lastFailure = await this.#report(errorDataOf(error), this.#lastFailure);
  }

  /** Answers every request with the failure. Prints it unless it is `printed` already; returns what a terminal shows. */
  async #report(failure: ErrorData, printed: string): Promise<string> {
    const { isForShell, say } = this.#options;
    const { terminal, ...texts } = await this.#textsOf(failure);
    if (this.#isEnding) return terminal;
    if (isForShell !== true && terminal !== printed) say(terminal);
    this.#relay.failed({ ...failure, texts, isAlwaysData: isForShell });
    return terminal;
  }

  /** Without next steps if an upgrade has removed the file that contains their texts. */
  async #textsOf(error: ErrorData): Promise<ReturnType<Rescue["textsOf"]>> {
    try {
      return (await this.#options.loadRescue()).textsOf(error);
    } catch {
      return { terminal: error.message, client: error.message, delegation: error.message };
    }
  }

  #end(code: number, isAwaited = false): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    clearTimeout(this.#drainTimer);
    this.#input.pause();
    this.#daemon?.destroy();
    const { exit } = this.#options;
    if (this.#output.writableLength === 0 || this.#output.destroyed) return exit(code);
    this.#isLeftUnread = isAwaited;
    if (!isAwaited) setTimeout(() => exit(code), flushMs);
    // `drain` is not emitted for a few bytes.
    this.#output.end(() => exit(code));
    this.#output.once("close", () => exit(code));
  }

  /** Ends on a signal: waits for nothing that isn't bounded. */
  #stop(code: number): void {
    if (this.#isLeftUnread) this.#options.exit(code);
    else this.#end(code);
  }
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
    return await connectDaemon(options.home, callerOf(options, "mcp"), { timeoutMs: introductionMs, onKnock });
  } catch (error) {
    // A home that others could have changed, or a daemon that is silent: each request is answered with what helps.
    if (!(error instanceof DaemonUnreachable) || error.reason === "silent") return asError(error);
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
    options.signal?.throwIfAborted();
    try {
      return await connectDaemon(options.home, callerOf(options, "mcp"), { timeoutMs: introductionMs });
    } catch (error) {
      if (!(error instanceof DaemonUnreachable) || starts === maxStarts) throw error;
      // Another can't take the home from it. One that hands over is silent, too.
      if (error.reason === "silent" && uptimeMs() >= deadline) throw error;
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

function callerOf({ program, words, workingDirectory, environment }: FrontOptions, purpose: Hello["purpose"]) {
  return { version: program.version, purpose, workingDirectory, arguments: words, environment };
}

/** The error as data. An error of ours may come from another bundle, so its class can't be checked. */
function errorDataOf(error: unknown): ErrorData {
  if (!(error instanceof Error)) return { message: String(error), next: [] };
  const next = "next" in error && Array.isArray(error.next) ? (error.next as readonly NextStep[]) : [];
  return { message: error.message, next };
}

/** Flags with a value that clients start the server with; the daemon parses and validates them. */
const valueFlags: ReadonlySet<string> = new Set(
  "--root --model --provider --host --temperature --max-tokens --context-size --tools".split(" "),
);

/**
 * Whether a command line starts a client's stdio server through the daemon: it has only the server's own flags, and no
 * terminal is attached. Commands, `--standalone`, `--help` and invalid arguments are handled by the program.
 */
export function isServerCall(words: readonly string[], isTerminal: () => boolean): boolean {
  if (words.length === 0) return !isTerminal();
  for (let at = 0; at < words.length; at++) {
    const word = words[at] ?? "";
    const equals = word.indexOf("=");
    if (!valueFlags.has(equals === -1 ? word : word.slice(0, equals))) return false;
    if (equals !== -1) continue;
    at += 1;
    const value = words[at];
    if (value === undefined || value.startsWith("-")) return false;
  }
  return true;
}
