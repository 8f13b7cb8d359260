import { connectDaemon, DaemonUnreachable, type DaemonConnection } from "../../ipc/handshake.ts";
import { createLineSplitter } from "../../ipc/lines.ts";
import { controlPrefix, type Farewell, type Hello } from "../../ipc/protocol.ts";
import { startDaemon } from "../../ipc/start-daemon.ts";
import { DaemonUnavailable } from "../../orchestrator/api/errors.ts";

export interface ListenerRequest {
  readonly home: string;
  readonly program: { readonly folder: string; readonly version: string };
  readonly node: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly workingDirectory: string;
  readonly http: NonNullable<Hello["http"]>;
  /** Prints a sentence for the user. */
  say(text: string): void;
  readonly signal: AbortSignal;
}

/** An HTTP listener that the daemon keeps open for this process. */
export interface ListenerLease {
  readonly url: string;
  readonly tokenFile: string;
  /** The reason that the daemon sent before it closed the connection; `lost` if it sent none. */
  readonly ended: Promise<Farewell["reason"] | "lost">;
  /** Closes the listener; resolves when the daemon has confirmed it, or after two seconds. */
  release(): Promise<void>;
}

const connectMs = 3_000;
const releaseMs = 2_000;

/** Asks the daemon of `home`, which is started if none runs, for an HTTP listener. Throws `DaemonUnavailable`. */
export async function leaseListener(request: ListenerRequest): Promise<ListenerLease> {
  const { socket, welcome } = await reachDaemon(request);
  const said = await welcome;
  if (!said.ok) {
    socket.destroy();
    throw new DaemonUnavailable(said.message, { next: said.next });
  }
  for (const notice of said.notices ?? []) request.say(notice);
  if (said.http === undefined) {
    socket.destroy();
    throw new DaemonUnavailable("the daemon opened no HTTP listener: it is of another version", {
      next: { step: "restartDaemon" },
    });
  }
  let reason: Farewell["reason"] | "lost" = "lost";
  const lines = createLineSplitter({
    maxLineBytes: 64 * 1024,
    onLine(text) {
      if (text.startsWith(controlPrefix)) ({ reason } = JSON.parse(text) as Farewell);
    },
    onRefused: () => undefined,
  });
  socket.on("data", (chunk: Buffer) => lines.push(chunk));
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  // The daemon has closed the listener.
  socket.once("end", () => socket.destroy());
  return {
    ...said.http,
    ended: closed.then(() => reason),
    async release() {
      socket.end();
      const timer = setTimeout(() => socket.destroy(), releaseMs);
      await closed;
      clearTimeout(timer);
    },
  };
}

async function reachDaemon(request: ListenerRequest): Promise<DaemonConnection> {
  const { home, program, environment, workingDirectory, http, say, signal } = request;
  const hello = {
    version: program.version,
    purpose: "http" as const,
    workingDirectory,
    arguments: [],
    environment: Object.fromEntries(
      Object.entries(environment).filter((entry): entry is [string, string] => {
        return entry[0].startsWith("OLLM_") && entry[1] !== undefined;
      }),
    ),
    http,
  };
  try {
    return await connectDaemon(home, hello, { timeoutMs: connectMs });
  } catch (error) {
    if (!(error instanceof DaemonUnreachable) || error.reason === "untrusted") throw error;
    await startDaemon({ home, program, node: request.node, environment, say, signal });
    return await connectDaemon(home, hello, { timeoutMs: connectMs });
  }
}
