import type { CallToolResult, Progress } from "@modelcontextprotocol/client";
import { spawn } from "node:child_process";
import { createStdioTransport } from "./stdio-transport.ts";

/** A connection to a server of our own, speaking MCP. */
export interface ServerClient {
  /** The tool's result, `isError` included. Rejects when the connection breaks or `signal` aborts. */
  callTool(
    name: string,
    input: Readonly<Record<string, unknown>>,
    options: { readonly signal: AbortSignal; readonly onProgress: (progress: Progress) => void },
  ): Promise<CallToolResult>;
  /** Ends the server and waits until it is gone. */
  close(): Promise<void>;
}

/**
 * Silence for this long means that the server hangs: it sends progress at least every five seconds.
 */
const silenceMs = 60_000;

/** What a front may take to end after its host has closed its end; then it is killed. */
const endMs = 3_000;

/**
 * Starts `script` with `node` as a host would, so through the owner, and connects to it; its stderr is shown as it is.
 * In a process group of its own: an interrupt at the terminal is for us, who then cancel the call before it ends.
 */
export async function startServer(options: {
  readonly node: string;
  readonly script: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly version: string;
}): Promise<ServerClient> {
  const { Client } = await import("@modelcontextprotocol/client");
  const child = spawn(options.node, [options.script], {
    env: { ...options.environment },
    stdio: ["pipe", "pipe", "inherit"],
    detached: true,
    windowsHide: true,
  });
  const exited = new Promise<void>((resolve) => {
    child.once("close", () => resolve());
    child.once("error", () => resolve());
  });
  const client = new Client({ name: "ollm", version: options.version });
  const close = async (): Promise<void> => {
    await client.close();
    child.stdin.end();
    const timer = setTimeout(() => child.kill("SIGKILL"), endMs);
    await exited;
    clearTimeout(timer);
  };
  try {
    await client.connect(createStdioTransport(child.stdout, child.stdin));
  } catch (error) {
    await close();
    throw error;
  }
  return {
    callTool: (name, input, { signal, onProgress }) =>
      client.callTool(
        { name, arguments: { ...input } },
        { signal, onprogress: onProgress, resetTimeoutOnProgress: true, timeout: silenceMs },
      ),
    close,
  };
}
