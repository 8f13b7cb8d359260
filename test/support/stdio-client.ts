import { Client as ModernClient } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { Client as VersionOneClient } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport as VersionOneTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { spawn, type ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { warningsVariable } from "./leaks.ts";

/** The built command, as clients start it. */
export const builtCommand = fileURLToPath(new URL("../../dist/cli.mjs", import.meta.url));

/** The environment of a server process: of this process's variables only those that Node and the warnings file need. */
export function serverEnvironment(own: Readonly<Record<string, string>>): Record<string, string> {
  const kept = ["PATH", "SystemRoot", "TEMP", "TMP", "TMPDIR", warningsVariable].flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  return { ...Object.fromEntries(kept), ...own };
}

/** A client, reduced to what tests use; all SDK clients fit. */
export interface StdioClient {
  /** The server's process id. */
  readonly pid: number;
  protocolVersion(): string | undefined;
  listTools(): Promise<{ tools: { name: string }[] }>;
  callTool(
    name: string,
    input: Record<string, unknown>,
    onProgress?: (message: string) => void,
    signal?: AbortSignal,
  ): Promise<{ content: unknown; structuredContent?: unknown; isError?: boolean | undefined }>;
  readResource(uri: string): Promise<unknown>;
  close(): Promise<void>;
}

export type ClientKind = "modern" | "legacy" | "sdk-1";

/** Starts the built server, or another copy of it, and connects a real client of the given kind. */
export async function connectStdio(
  kind: ClientKind,
  env: Record<string, string>,
  args: readonly string[] = ["--standalone"],
  script = builtCommand,
  workingDirectory?: string,
): Promise<StdioClient> {
  const server = {
    command: process.execPath,
    args: [script, ...args],
    env,
    stderr: "ignore" as const,
    ...(workingDirectory !== undefined && { cwd: workingDirectory }),
  };
  const introduction = { name: `test-${kind}`, version: "1.0.0" };
  if (kind === "sdk-1") {
    const client = new VersionOneClient(introduction);
    const transport = new VersionOneTransport(server);
    await client.connect(transport);
    return {
      pid: transport.pid ?? 0,
      // Version 1 of the SDK doesn't expose it.
      protocolVersion: () => undefined,
      listTools: () => client.listTools(),
      async callTool(name, input, onProgress, signal) {
        const { content, structuredContent, isError } = await client.callTool(
          { name, arguments: input },
          undefined,
          options(onProgress, signal),
        );
        return { content, structuredContent, isError: isError === true };
      },
      readResource: (uri) => client.readResource({ uri }),
      close: () => client.close(),
    };
  }
  const mode = kind === "modern" ? { pin: "2026-07-28" } : ("legacy" as const);
  const client = new ModernClient(introduction, { versionNegotiation: { mode } });
  const transport = new StdioClientTransport(server);
  await client.connect(transport);
  return {
    pid: transport.pid ?? 0,
    protocolVersion: () => client.getNegotiatedProtocolVersion(),
    listTools: () => client.listTools(),
    callTool: (name, input, onProgress, signal) =>
      client.callTool({ name, arguments: input }, options(onProgress, signal)),
    readResource: (uri) => client.readResource({ uri }),
    close: () => client.close(),
  };
}

function options(onProgress: ((message: string) => void) | undefined, signal: AbortSignal | undefined) {
  return {
    ...(onProgress && {
      onprogress: ({ message = "" }: { message?: string | undefined }): void => onProgress(message),
    }),
    ...(signal && { signal }),
  };
}

/** A server process with raw access to its streams. */
export interface RawServer {
  readonly process: ChildProcess;
  send(message: unknown): void;
  /** The next message on stdout. Throws for a line that isn't JSON: stdout belongs to the protocol. */
  next(): Promise<Record<string, unknown>>;
  stderr(): string;
  /** Exit code or signal. */
  readonly exited: Promise<number | NodeJS.Signals>;
}

export function startRaw(
  env: Record<string, string>,
  args: readonly string[] = ["--standalone"],
  script = builtCommand,
): RawServer {
  const child = spawn(process.execPath, [script, ...args], { env, stdio: ["pipe", "pipe", "pipe"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  let stderr = "";
  child.stderr.on("data", (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  // Data that is still being written when the process ends must not fail the test.
  child.stdin.on("error", () => undefined);
  return {
    process: child,
    send: (message) => void child.stdin.write(`${JSON.stringify(message)}\n`),
    async next() {
      const { value, done } = await lines.next();
      if (done === true) throw new Error(`the server ended: ${stderr}`);
      return JSON.parse(value) as Record<string, unknown>;
    },
    stderr: () => stderr,
    exited: new Promise((resolve) => {
      child.once("exit", (code, signal) => resolve(code ?? signal ?? -1));
    }),
  };
}

/** The first message of a legacy client. */
export const initialize = {
  jsonrpc: "2.0",
  id: 0,
  method: "initialize",
  params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "raw", version: "1" } },
};
