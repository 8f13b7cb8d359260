import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type DaemonConnection, DaemonUnreachable, connectDaemon, introductionMs } from "../../ipc/handshake.ts";
import { createLineSplitter } from "../../ipc/lines.ts";
import { type Farewell, type Hello, type Welcome, controlPrefix } from "../../ipc/protocol.ts";
import { httpTokenFile } from "../../ipc/run-folder.ts";
import { type StartOptions, startDaemon } from "../../ipc/start-daemon.ts";
import { rotateHttpToken } from "../../ipc/token.ts";
import { build } from "../../ipc/version.ts";
import { commandSteps } from "../../next-steps/commands.ts";
import { DaemonUnavailable, OrchestratorError } from "../../orchestrator/api/errors.ts";
import { jsonText } from "../../orchestrator/util/control-characters.ts";
import { type CommandIo, homeOf, type JsonOption } from "../terminal/io.ts";
import { createProgressLine, untilFirstSign, whileWaiting } from "../terminal/progress-line.ts";
import { errorText } from "../terminal/terminal-text.ts";

import { spawn } from "node:child_process";

/** `token`: false with `--no-token`, for loopback addresses only. */
type ServeOptions = JsonOption & { readonly bind: string; readonly port: number; readonly token: boolean };

/** Waits between attempts to reopen the listener after the daemon has exited: 9 s in all, enough to free the port. */
const retryMs: readonly number[] = [0, 250, 500, 1_000, 2_000, 5_000];
/** After this time the count of attempts starts again. */
const settledMs = 60_000;

/**
 * `ollm serve`: serves MCP over HTTP from the daemon until SIGTERM or SIGINT, then returns 0. If the daemon dies or is
 * replaced, the listener is reopened in the next one at the same address. Returns 1 if that fails or the daemon was
 * stopped.
 */
export async function serve(options: ServeOptions, io: CommandIo): Promise<number> {
  const interrupt = new AbortController();
  const onSignal = (): void => interrupt.abort();
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
  const line = createProgressLine(io);
  const { bind, port, token } = options;
  try {
    line.wait("waiting for the daemon ...", untilFirstSign());
    return await holdListener({
      io,
      http: { bind, port, ...(!token && { isWithoutToken: true }) },
      say: (text) => line.above(`ollm: ${text}\n`),
      signal: interrupt.signal,
      opened(lease) {
        line.clear();
        announce(lease, options, io);
      },
    });
  } catch (error) {
    if (!(error instanceof OrchestratorError)) throw error;
    line.clear();
    io.stderr(errorText(error, commandSteps, io));
    return 1;
  } finally {
    line.clear();
    process.off("SIGTERM", onSignal);
    process.off("SIGINT", onSignal);
  }
}

/**
 * Keeps a listener of the daemon open until `signal` aborts, then returns 0. If the daemon dies or is replaced, the
 * listener is reopened in the next one at the same address. Returns 1 if the daemon was stopped. Throws `DaemonUnavailable`.
 */
export async function holdListener({
  io,
  opened,
  ...asked
}: Pick<ListenerRequest, "http" | "say" | "signal"> & {
  readonly io: CommandIo;
  readonly opened: (lease: Opened) => void;
}): Promise<number> {
  const { say, signal } = asked;
  const request: ListenerRequest = { ...daemonRequest(io, say), ...asked };
  const aborted = new Promise<undefined>((resolve) => signal.addEventListener("abort", () => resolve(undefined)));
  try {
    let lease = await leaseListener(request);
    opened(lease);
    const port = Number(new URL(lease.url).port || 80);
    let attempts = 0;
    for (;;) {
      const openedAt = performance.now();
      const reason = signal.aborted ? undefined : await Promise.race([lease.ended, aborted]);
      if (reason === undefined) {
        await lease.release();
        return 0;
      }
      if (reason === "stop") {
        say("the daemon and its HTTP listener were stopped");
        return 1;
      }
      if (performance.now() - openedAt > settledMs) attempts = 0;
      say(reason === "handover" ? "a newer daemon takes over" : "the daemon has exited");
      const again = { ...request, http: { ...request.http, port } };
      for (;;) {
        const waitMs = retryMs[attempts];
        attempts += 1;
        try {
          await delay(waitMs ?? 0, undefined, { signal });
          lease = await leaseListener(again);
          break;
        } catch (error) {
          if (signal.aborted) return 0;
          if (!(error instanceof OrchestratorError) || attempts >= retryMs.length) throw error;
        }
      }
      say(`listening again at ${lease.url}`);
    }
  } catch (error) {
    if (signal.aborted) return 0;
    throw error;
  }
}

/** What programs of each protocol take as its base address. */
const apis = { openai: ["OpenAI", "/v1"], anthropic: ["Anthropic", ""], ollama: ["Ollama", ""] } as const;

function announce({ url, tokenFile, doors }: Opened, { json, token }: ServeOptions, io: CommandIo): void {
  if (json === true) {
    const bases = Object.fromEntries(doors.map((door) => [door, url + apis[door][1]]));
    io.stdout(`${jsonText({ url, token_file: tokenFile, apis: bases })}\n`);
    return;
  }
  const access = token ? tokenFile : undefined;
  io.stdout(
    `MCP over HTTP at ${url}/mcp, for older clients at ${url}/sse\n` +
      doors.map((door) => `${apis[door][0]}-compatible API: ${url}${apis[door][1]}\n`).join("") +
      (access === undefined
        ? "No token is required: every program on this machine can connect.\n"
        : `Token: ${access} (send it as "Authorization: Bearer TOKEN")\n`),
  );
  io.stdout(clientSnippet(url, access, io.platform));
}

/** The entry of an HTTP client, and the command that adds it to Claude Code. Both name the token's file if there is one. */
export function clientSnippet(url: string, tokenFile: string | undefined, platform: NodeJS.Platform): string {
  // A server listens on 0.0.0.0, but no client can connect to it.
  const address = `${url.replace(/\/\/(0\.0\.0\.0|\[::\])(?=[:/]|$)/, "//127.0.0.1")}/mcp`;
  const headers = tokenFile === undefined ? {} : { headers: { Authorization: "Bearer TOKEN" } };
  const entry = JSON.stringify({ mcpServers: { ollm: { type: "http", url: address, ...headers } } }, undefined, 2);
  const [continuation, readFile] = platform === "win32" ? ["`", "Get-Content -LiteralPath"] : ["\\", "cat"];
  const quoted = platform === "win32" ? tokenFile?.replaceAll("'", "''") : tokenFile?.replaceAll("'", `'\\''`);
  const header =
    quoted === undefined ? "" : ` ${continuation}\n    --header "Authorization: Bearer $(${readFile} '${quoted}')"`;
  return [
    "",
    `To add it to a client that speaks HTTP${tokenFile === undefined ? "" : ", with the content of the token file as TOKEN"}:`,
    ...entry.split("\n").map((line) => `  ${line}`),
    "To add it to Claude Code:",
    `  claude mcp add --transport http ollm ${address}${header}`,
    ...(address === `${url}/mcp` ? [] : ["On another machine, use this machine's address instead of 127.0.0.1."]),
    "",
  ].join("\n");
}

type DaemonRequest = ReturnType<typeof daemonRequest>;

function daemonRequest(io: CommandIo, say: StartOptions["say"]) {
  const { node, environment, workingDirectory } = io;
  const program = { folder: path.dirname(io.script), version: build };
  return { home: homeOf(io), program, node, environment, workingDirectory, say };
}

interface ListenerRequest extends DaemonRequest {
  readonly http: NonNullable<Hello["http"]>;
  readonly signal: AbortSignal;
}

/** An HTTP listener that the daemon keeps open for this process. */
type Opened = NonNullable<Extract<Welcome, { ok: true }>["http"]>;

const releaseMs = 2_000;

/** Asks the daemon of `home`, which is started if none runs, for an HTTP listener. Throws `DaemonUnavailable`. */
async function leaseListener(request: ListenerRequest) {
  const { socket, said } = await reachDaemon(request, { purpose: "http", http: request.http });
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
    /** The reason that the daemon sent before it closed the connection; `lost` if it sent none. */
    ended: closed.then(() => reason),
    /** Closes the listener; resolves when the daemon has confirmed it, or after two seconds. */
    async release() {
      socket.end();
      const timer = setTimeout(() => socket.destroy(), releaseMs);
      await closed;
      clearTimeout(timer);
    },
  };
}

/** Connects to the daemon of `home`, which is started if none runs. Throws what it refuses. */
async function reachDaemon(request: DaemonRequest, asked: Pick<Hello, "purpose" | "http">) {
  const { home, program, environment, workingDirectory, say } = request;
  const connect = (): Promise<DaemonConnection> => {
    const caller = { version: program.version, workingDirectory, environment, ...asked };
    return connectDaemon(home, caller, { timeoutMs: introductionMs });
  };
  const { socket, welcome } = await connect().catch(async (error: unknown) => {
    if (!(error instanceof DaemonUnreachable) || ["untrusted", "silent"].includes(error.reason)) throw error;
    await startDaemon(request);
    return connect();
  });
  const said = await welcome;
  if (!said.ok) {
    socket.destroy();
    throw new DaemonUnavailable(said.message, { next: said.next });
  }
  for (const notice of said.notices ?? []) say(notice);
  return { socket, said };
}

/**
 * `ollm token rotate`: replaces the token of HTTP clients. Listeners use the new one at once and close the connections of
 * the old one. Prints the file, not the token, which would remain in terminals and logs.
 */
export async function rotateToken({ json = false }: JsonOption, io: CommandIo): Promise<number> {
  const home = homeOf(io);
  rotateHttpToken(home);
  const file = httpTokenFile(home);
  io.stdout(
    json ? `${jsonText({ token_file: file })}\n` : `The token was replaced; the old token stops working: ${file}\n`,
  );
  return 0;
}

/** `ollm dashboard`: prints a link that works once, and opens it in a desktop's browser. */
export async function dashboard({ json = false }: JsonOption, io: CommandIo): Promise<number> {
  const url = await whileWaiting("waiting for the daemon ...", io, (line) =>
    linkFrom(daemonRequest(io, (text) => line.above(`ollm: ${text}\n`))),
  );
  if (json) {
    io.stdout(`${jsonText({ url })}\n`);
    return 0;
  }
  const opener = openerOf(io);
  io.stdout(
    `${url}\nThe link works once, within 5 minutes${opener === undefined ? "" : "; opening it in your browser"}.\n`,
  );
  if (opener !== undefined) open(opener, url);
  return 0;
}

async function linkFrom(request: DaemonRequest): Promise<string> {
  const { socket, said } = await reachDaemon(request, { purpose: "dashboard" });
  socket.destroy();
  if (said.dashboard === undefined) {
    throw new DaemonUnavailable("the daemon has no dashboard: it is of another version", {
      next: { step: "restartDaemon" },
    });
  }
  return said.dashboard.url;
}

/** The program that opens an address in this desktop's browser; undefined where there is no desktop to look at. */
export function openerOf({
  columns,
  platform,
  environment,
}: Pick<CommandIo, "columns" | "platform" | "environment">):
  | readonly [command: string, ...words: string[]]
  | undefined {
  // Without a terminal a program reads the link; over SSH the browser would open on the other machine.
  const isSet = (name: string): boolean => (environment[name] ?? "") !== "";
  if (columns === undefined || isSet("SSH_CONNECTION") || isSet("SSH_TTY")) return undefined;
  if (platform === "darwin") return ["open"];
  // `start` is a word of a shell, which would read the address.
  if (platform === "win32") return ["rundll32", "url.dll,FileProtocolHandler"];
  return isSet("DISPLAY") || isSet("WAYLAND_DISPLAY") ? ["xdg-open"] : undefined;
}

/** The link is printed, so a failure is no matter. */
function open([command, ...words]: readonly [string, ...string[]], url: string): void {
  const child = spawn(command, [...words, url], { stdio: "ignore", detached: true, windowsHide: true });
  child.on("error", () => undefined);
  child.unref();
}
