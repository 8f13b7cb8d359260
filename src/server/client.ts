import type { CallToolResult, Progress } from "@modelcontextprotocol/client";

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

/** Starts `script` with `node` as a host would, so through the owner, and connects to it; its stderr is shown as it is. */
export async function startServer(options: {
  readonly node: string;
  readonly script: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly version: string;
}): Promise<ServerClient> {
  const [{ Client }, { StdioClientTransport }] = await Promise.all([
    import("@modelcontextprotocol/client"),
    import("@modelcontextprotocol/client/stdio"),
  ]);
  const environment = Object.fromEntries(
    Object.entries(options.environment).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
  const transport = new StdioClientTransport({
    command: options.node,
    args: [options.script],
    env: environment,
    stderr: "inherit",
  });
  const client = new Client({ name: "ollm", version: options.version });
  await client.connect(transport);
  return {
    callTool: (name, input, { signal, onProgress }) =>
      client.callTool(
        { name, arguments: { ...input } },
        { signal, onprogress: onProgress, resetTimeoutOnProgress: true, timeout: silenceMs },
      ),
    close: () => client.close(),
  };
}
