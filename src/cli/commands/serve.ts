import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { OrchestratorError } from "../../orchestrator/errors.ts";
import { jsonText } from "../../orchestrator/text/control-characters.ts";
import { build } from "../../version.ts";
import { errorText } from "../terminal-text.ts";
import { leaseListener, type ListenerLease, type ListenerRequest } from "./listener-lease.ts";
import { type CommandIo, homeOf } from "./io.ts";

export interface ServeOptions {
  /** Address to listen on: `127.0.0.1`. */
  readonly bind: string;
  /** 0 picks a free one. */
  readonly port: number;
  /** One line `{url, token_file}` on stdout, and nothing else there. */
  readonly json: boolean;
  /** Nobody has to show a token; of loopback addresses only. */
  readonly isWithoutToken?: boolean;
}

/**
 * Waits between attempts to open the listener again when the daemon is gone: 9 s in all, and a port that is being
 * freed.
 */
const retryMs: readonly number[] = [0, 250, 500, 1_000, 2_000, 5_000];
/** A listener that was open for so long gets all its attempts anew. */
const settledMs = 60_000;

/**
 * `ollm serve`: serves MCP over HTTP from the daemon until SIGTERM or SIGINT, which end it with exit code 0. When the
 * daemon dies or is replaced the listener is opened again at the next one, under the same address. Answers 1 when it
 * can't be, or when the daemon was stopped on purpose.
 */
export async function serve(options: ServeOptions, io: CommandIo): Promise<number> {
  const interrupt = new AbortController();
  const onSignal = (): void => interrupt.abort();
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
  const say = (text: string): void => io.stderr(`ollm: ${text}\n`);
  const request: ListenerRequest = {
    home: homeOf(io),
    program: { folder: path.dirname(io.script), version: build },
    node: io.node,
    environment: io.environment,
    workingDirectory: io.workingDirectory,
    http: {
      bind: options.bind,
      port: options.port,
      ...(options.isWithoutToken === true && { isWithoutToken: true }),
    },
    say,
    signal: interrupt.signal,
  };
  try {
    let lease = await leaseListener(request);
    announce(lease, options, io);
    const port = Number(new URL(lease.url).port || 80);
    let attempts = 0;
    for (;;) {
      const openedAt = performance.now();
      const reason = await endOf(lease, interrupt.signal);
      if (reason === undefined) {
        await lease.release();
        return 0;
      }
      if (reason === "stop") {
        say("the daemon was stopped, and the HTTP listener with it");
        return 1;
      }
      if (performance.now() - openedAt > settledMs) attempts = 0;
      say(reason === "handover" ? "the daemon hands over to a newer one" : "the daemon is gone");
      const again = { ...request, http: { ...request.http, port } };
      for (;;) {
        const waitMs = retryMs[attempts];
        attempts += 1;
        try {
          await delay(waitMs ?? 0, undefined, { signal: interrupt.signal });
          lease = await leaseListener(again);
          break;
        } catch (error) {
          if (interrupt.signal.aborted) return 0;
          if (!(error instanceof OrchestratorError) || attempts >= retryMs.length) throw error;
        }
      }
      say(`listening again at ${lease.url}`);
    }
  } catch (error) {
    if (interrupt.signal.aborted) return 0;
    if (!(error instanceof OrchestratorError)) throw error;
    io.stderr(errorText(error));
    return 1;
  } finally {
    process.off("SIGTERM", onSignal);
    process.off("SIGINT", onSignal);
  }
}

/** Undefined when we were told to end. */
async function endOf(lease: ListenerLease, signal: AbortSignal): Promise<string | undefined> {
  if (signal.aborted) return undefined;
  let onAbort = (): void => undefined;
  const aborted = new Promise<undefined>((resolve) => {
    onAbort = () => resolve(undefined);
    signal.addEventListener("abort", onAbort);
  });
  try {
    return await Promise.race([lease.ended, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

function announce({ url, tokenFile }: ListenerLease, { json, isWithoutToken }: ServeOptions, io: CommandIo): void {
  if (json) {
    io.stdout(`${jsonText({ url, token_file: tokenFile })}\n`);
    return;
  }
  io.stdout(
    `MCP over HTTP at ${url}/mcp, for old clients at ${url}/sse\n` +
      (isWithoutToken === true
        ? "No token is asked for: every program of this machine may call.\n"
        : `Token: ${tokenFile}; send its content as Authorization: Bearer\n`),
  );
}
