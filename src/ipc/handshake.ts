import { once } from "node:events";
import { type Socket, connect } from "node:net";
import { hmac } from "@noble/hashes/hmac.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { DaemonUnavailable } from "../orchestrator/api/errors.ts";
import { type NextSteps, advice } from "../orchestrator/api/next-step.ts";
import { codeOf, messageOf, parseJson } from "../orchestrator/util/values.ts";
import { type ClaimRecord, newestClaim, uptimeMs } from "./claim-record.ts";
import { randomHex, realHome, tokenFile } from "./run-folder.ts";
import type { Hello, Introduction, Knock, Welcome } from "./protocol.ts";
import { readToken } from "./token.ts";
import { requireTrustedHome } from "./trusted-home.ts";

/**
 * Why the daemon could not be reached:
 *
 * | reason      | observed                                                              | may it still live?       |
 * | ----------- | --------------------------------------------------------------------- | ------------------------ |
 * | `absent`    | no claim, or the newest one has ended                                 | no                       |
 * | `dead`      | no process listens on the claim's socket, or one that is no daemon    | no                       |
 * | `gone`      | the socket's file is missing                                          | yes: it heals within 1 s |
 * | `silent`    | it accepted the connection and did not answer in time                 | yes                      |
 * | `closed`    | it accepted the connection and closed it, as one that is ending does  | yes                      |
 * | `untrusted` | the token can't be read, the proof is wrong, or another home answered | perhaps; it isn't ours   |
 */
type UnreachableReason = "absent" | "dead" | "gone" | "silent" | "closed" | "untrusted";

/** Bounds connecting and a daemon's introduction, which needs no work of the engines. */
export const introductionMs = 2_000;

/** No daemon of this home answered; `reason` states which step failed. */
export class DaemonUnreachable extends DaemonUnavailable {
  readonly reason: UnreachableReason;

  constructor(
    reason: UnreachableReason,
    message: string,
    options: { readonly cause?: unknown; readonly next?: NextSteps } = {},
  ) {
    super(message, options);
    this.reason = reason;
  }
}

/** What a caller says of itself; of its variables only those of ollm are sent. */
type Caller = Omit<Hello, "proof" | "arguments" | "environment"> & {
  readonly arguments?: Hello["arguments"];
  readonly environment?: Readonly<Record<string, string | undefined>>;
};

/** A connection to an authenticated daemon. */
export interface DaemonConnection {
  /** Nothing is read from it before `welcome` settles; it can be written to at once. */
  readonly socket: Socket;
  readonly introduction: Introduction;
  readonly claim: ClaimRecord;
  /** Rejects with `DaemonUnreachable` when the daemon closes the connection instead. */
  readonly welcome: Promise<Welcome>;
}

const defaultWelcomeTimeoutMs = 30_000;
const maxKnockBytes = 4_096;
/** A front's command line and environment, or a daemon's status. */
const maxHelloBytes = 1024 * 1024;

/**
 * Connects to the daemon of `home` and sends the hello once the daemon has proved that it can read the home's token and
 * has named the same home. Throws `DaemonUnreachable`, and `InvalidConfig` for a home that other users could have
 * changed.
 */
export async function connectDaemon(
  home: string,
  { environment = {}, ...caller }: Caller,
  {
    timeoutMs,
    welcomeTimeoutMs = defaultWelcomeTimeoutMs,
    onKnock,
  }: {
    /** Bounds connecting and the daemon's introduction. */
    readonly timeoutMs: number;
    /** Bounds the welcome, which for some purposes follows work; 30 s when absent. */
    readonly welcomeTimeoutMs?: number;
    /** Called while the introduction is on its way: work done here costs no time. */
    readonly onKnock?: () => void;
  },
): Promise<DaemonConnection> {
  requireTrustedHome(home);
  const claim = newestClaim(home);
  if (claim === undefined || claim.ended === true) {
    throw new DaemonUnreachable("absent", `${home} has no running daemon`);
  }
  const { socket, introduction, proof } = await knock(home, claim, timeoutMs, onKnock);
  const sent = Object.entries(environment).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && entry[0].startsWith("OLLM_"),
  );
  const hello: Hello = { arguments: [], ...caller, environment: Object.fromEntries(sent), proof };
  socket.write(`${JSON.stringify(hello)}\n`);
  const welcome = readLine(socket, { maxBytes: maxHelloBytes, timeoutMs: welcomeTimeoutMs }).then(
    (line) => parseLine(line) as Welcome,
    (error: unknown) => {
      socket.destroy();
      throw new DaemonUnreachable(
        "silent",
        `the daemon (pid ${introduction.pid}) did not complete the handshake: ${messageOf(error)}`,
        { cause: error },
      );
    },
  );
  // Also handled here: if the caller has given up, a rejection must not end the process.
  welcome.catch(() => undefined);
  return { socket, introduction, claim, welcome };
}

/** Asks the daemon of `home` one thing, and ends the connection with its answer. Throws like `connectDaemon`. */
export async function askDaemon(...request: Parameters<typeof connectDaemon>) {
  const { socket, claim, welcome } = await connectDaemon(...request);
  try {
    return { claim, welcome: await welcome };
  } finally {
    socket.destroy();
  }
}

/** Resolves when the process of a claim proves that it is our daemon; throws `DaemonUnreachable` if not. */
export async function probeClaim(home: string, claim: ClaimRecord, timeoutMs: number): Promise<void> {
  const { socket } = await knock(home, claim, timeoutMs);
  socket.destroy();
}

async function knock(home: string, claim: ClaimRecord, timeoutMs: number, onKnock?: () => void) {
  const deadline = uptimeMs() + timeoutMs;
  const nonce = randomHex(16);
  const said: Knock = { ollm: 1, nonce };
  const socket = await open(claim, timeoutMs, `${JSON.stringify(said)}\n`);
  try {
    // While the daemon prepares its introduction.
    const token = readToken(home);
    if (token === undefined) throw new DaemonUnreachable("untrusted", `${tokenFile(home)} can't be read`);
    const makeProofs = proofsUnder(token);
    const ownHome = realHome(home);
    onKnock?.();
    const line = await readLine(socket, { maxBytes: maxKnockBytes * 4, timeoutMs: Math.max(1, deadline - uptimeMs()) });
    const introduction = parseLine(line) as Introduction;
    return { socket, introduction, proof: checkIntroduction(introduction, ownHome, makeProofs, nonce) };
  } catch (error) {
    const isClosed = socket.readableEnded || socket.destroyed;
    socket.destroy();
    if (error instanceof DaemonUnreachable) throw error;
    if (error instanceof SyntaxError || error instanceof RangeError) {
      throw new DaemonUnreachable("dead", `the process on ${claim.socket} is not an ollm daemon`, { cause: error });
    }
    throw new DaemonUnreachable(
      isClosed ? "closed" : "silent",
      `the daemon (pid ${claim.pid}) did not answer: ${messageOf(error)}`,
      { cause: error, next: [advice(`end process ${claim.pid} if that goes on`)] },
    );
  }
}

/** Resolves with the first line already written. */
async function open(claim: ClaimRecord, timeoutMs: number, firstLine: string): Promise<Socket> {
  const socket = connect(claim.socket);
  // The next reader sees its end; an error without a listener would end the process.
  socket.on("error", () => undefined);
  socket.write(firstLine);
  const signal = AbortSignal.timeout(timeoutMs);
  try {
    await once(socket, "connect", { signal });
    return socket;
  } catch (error) {
    socket.destroy();
    if (signal.aborted) {
      const text = `the daemon (pid ${claim.pid}) accepted no connection within ${timeoutMs} ms`;
      throw new DaemonUnreachable("silent", text, { cause: error });
    }
    const text = `${claim.socket} of pid ${claim.pid}: ${messageOf(error)}`;
    throw new DaemonUnreachable(reasonOf(codeOf(error)), text, { cause: error });
  }
}

function reasonOf(code: string | undefined): UnreachableReason {
  // A pipe disappears with its process; a socket's file can be deleted while the process lives.
  if (code === "ENOENT") return process.platform === "win32" ? "dead" : "gone";
  // ENOTSOCK and the like: the path is not a socket.
  if (code === "ECONNREFUSED" || code === "ENOTSOCK" || code === "ENOTDIR") return "dead";
  // It was killed between accepting the connection and this process learning of it.
  if (code === "ECONNRESET" || code === "EPIPE") return "closed";
  return "silent";
}

/** Returns the front's own proof. */
function checkIntroduction(
  said: Introduction,
  home: string,
  makeProofs: ReturnType<typeof proofsUnder>,
  nonce: string,
): string {
  if (said.ollm !== 1 || !isNonce(said.nonce) || typeof said.home !== "string") {
    throw new DaemonUnreachable("untrusted", "the process on the socket is not an ollm daemon");
  }
  if (said.home !== home) {
    throw new DaemonUnreachable("untrusted", `the daemon that answered serves ${said.home}, not ${home}`);
  }
  const proofs = makeProofs(nonce, said.nonce, home);
  if (!isEqual(said.proof, proofs.daemon)) {
    throw new DaemonUnreachable("untrusted", `the process that answered for ${home} can't read its token`);
  }
  return proofs.front;
}

/** A caller that is authenticated. */
export type AcceptedConnection = Awaited<ReturnType<typeof acceptConnection>>;

/**
 * The daemon's side. Rejects, with the socket destroyed, when the caller ends, is too slow or can't prove that it reads
 * the home's token, which is read again for every connection. A probe ends after the introduction, which rejects too.
 */
export async function acceptConnection(
  socket: Socket,
  options: {
    readonly home: string;
    /** Version and build. */
    readonly version: string;
    readonly pid: number;
    /** Bounds the whole handshake: a caller that only connects is disconnected. */
    readonly timeoutMs: number;
  },
) {
  const deadline = uptimeMs() + options.timeoutMs;
  const left = () => Math.max(1, deadline - uptimeMs());
  socket.on("error", () => undefined);
  try {
    const knocked = parseLine(await readLine(socket, { maxBytes: maxKnockBytes, timeoutMs: left() })) as Knock;
    if (knocked.ollm !== 1 || !isNonce(knocked.nonce)) throw new DaemonUnavailable("the first line is not a knock");
    const token = readToken(options.home);
    if (token === undefined) throw new DaemonUnavailable(`${tokenFile(options.home)} can't be read`);
    const home = realHome(options.home);
    const nonce = randomHex(16);
    // A daemon has loaded node:crypto anyway; with it the first connection is answered faster.
    const proofs = halves(
      process
        .getBuiltinModule("crypto")
        .createHmac("sha256", token)
        .update(proofText(knocked.nonce, nonce, home))
        .digest("hex"),
    );
    const introduction: Introduction = {
      ollm: 1,
      home,
      version: options.version,
      pid: options.pid,
      nonce,
      proof: proofs.daemon,
    };
    socket.write(`${JSON.stringify(introduction)}\n`);
    const hello = parseLine(await readLine(socket, { maxBytes: maxHelloBytes, timeoutMs: left() })) as Hello;
    if (!isEqual(hello.proof, proofs.front)) throw new DaemonUnavailable("a caller can't read the home's token");
    return {
      hello: checkedHello(hello),
      /** Sends the last line of the handshake. What the caller sends after its hello stays unread in the socket. */
      welcome: (said: Welcome) => void socket.write(`${JSON.stringify(said)}\n`),
    };
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

/** Later versions may add fields, but not leave any out. */
function checkedHello(hello: Hello): Hello {
  const { version, purpose, workingDirectory, arguments: words, environment } = hello as Partial<Hello>;
  const isComplete =
    typeof version === "string" &&
    typeof purpose === "string" &&
    typeof workingDirectory === "string" &&
    Array.isArray(words) &&
    words.every((word) => typeof word === "string") &&
    typeof environment === "object" &&
    Object.values(environment).every((value) => typeof value === "string");
  if (!isComplete) throw new DaemonUnavailable("a caller's hello is incomplete");
  return hello;
}

/** Parses an object; its fields are checked where they are used. */
function parseLine(line: string): object {
  const value: unknown = parseJson(line);
  if (typeof value !== "object" || value === null) throw new SyntaxError("not an object");
  return value;
}

/**
 * HMAC-SHA-256 over both nonces and the home (for a page of the dashboard: its address): the first half is the daemon's proof, the second half the front's, 128
 * bits each; neither reveals the other. One hash instead of two, because more hashing makes V8 start its optimizing
 * compiler, which costs a front 4 MB. The part that depends on the token is computed before the nonces are known.
 * Usable once.
 */
export function proofsUnder(token: string) {
  const mac = hmac.create(sha256, Buffer.from(token));
  return (frontNonce: string, daemonNonce: string, home: string) => {
    const text = Buffer.from(proofText(frontNonce, daemonNonce, home));
    return halves(Buffer.from(mac.update(text).digest()).toString("hex"));
  };
}

function proofText(frontNonce: string, daemonNonce: string, home: string): string {
  return `${frontNonce} ${daemonNonce} ${home}`;
}

function halves(hex: string) {
  return { daemon: hex.slice(0, 32), front: hex.slice(32) };
}

/** In constant time: it must not reveal how much of a proof is right. */
export function isEqual(given: unknown, expected: string): boolean {
  if (typeof given !== "string" || given.length !== expected.length) return false;
  let difference = 0;
  for (let at = 0; at < expected.length; at++) difference |= given.charCodeAt(at) ^ expected.charCodeAt(at);
  return difference === 0;
}

/** Fixed length and alphabet, so that the hashed text is unambiguous. */
export function isNonce(value: unknown): value is string {
  return typeof value === "string" && /^[0-9a-f]{32}$/.test(value);
}

/**
 * Returns the socket's next line, without its end. What follows the line is put back and nothing is read ahead, so that
 * the next reader gets it. Rejects when the line doesn't come in time, is too long (`RangeError`), or the socket ends first.
 */
function readLine(
  socket: Socket,
  { maxBytes, timeoutMs }: Readonly<Record<"maxBytes" | "timeoutMs", number>>,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let bytes = 0;

    const finish = (error: Error | undefined, line = ""): void => {
      clearTimeout(timer);
      socket.off("readable", onReadable);
      socket.off("end", onEnd);
      socket.off("close", onEnd);
      socket.off("error", finish);
      if (error === undefined) resolve(line);
      else reject(error);
    };
    const onEnd = (): void => finish(new Error("the connection was closed"));
    const onReadable = (): void => {
      for (;;) {
        const chunk = socket.read() as Buffer | null;
        if (chunk === null) return;
        const end = chunk.indexOf(0x0a);
        parts.push(end === -1 ? chunk : chunk.subarray(0, end));
        bytes += parts.at(-1)?.length ?? 0;
        if (bytes > maxBytes) return finish(new RangeError(`a line is longer than ${maxBytes} bytes`));
        if (end === -1) continue;
        const rest = chunk.subarray(end + 1);
        if (rest.length > 0) socket.unshift(rest);
        return finish(undefined, Buffer.concat(parts).toString("utf8"));
      }
    };
    const timer = setTimeout(() => finish(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);

    socket.on("end", onEnd);
    socket.on("close", onEnd);
    socket.on("error", finish);
    if (socket.readableEnded || socket.destroyed) return onEnd();
    socket.on("readable", onReadable);
    // Bytes that were put back before are available already.
    onReadable();
  });
}
