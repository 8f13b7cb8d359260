import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { createProgressLine } from "../../src/cli/progress-line.ts";

export interface DemoClient {
  /** Name and version of the server. */
  readonly server: string;
  /** The structured answer of a tool; progress is shown as it comes. Throws with the tool's own words when it fails. */
  call<Answer>(tool: string, input: Readonly<Record<string, unknown>>): Promise<Answer>;
  close(): Promise<void>;
}

/** Longest silence of a server that sends progress at least every five seconds. */
const silenceMs = 60_000;

export async function connectDemoClient(options: {
  readonly node: string;
  readonly script: string;
  readonly roots: readonly string[];
  readonly signal: AbortSignal;
}): Promise<DemoClient> {
  const environment = Object.fromEntries(
    Object.entries(process.env).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
  const transport = new StdioClientTransport({
    command: options.node,
    args: [options.script, "--standalone", ...options.roots.flatMap((root) => ["--root", root])],
    env: environment,
    stderr: "inherit",
  });
  const client = new Client({ name: "ollm-demo", version: "1.0.0" });
  await client.connect(transport);
  const { name = "server", version = "" } = client.getServerVersion() ?? {};
  const line = createProgressLine(process.stdout);
  return {
    server: `${name} ${version}`,
    async call<Answer>(tool: string, input: Readonly<Record<string, unknown>>): Promise<Answer> {
      const startedAtMs = Date.now();
      try {
        const result = await client.callTool(
          { name: tool, arguments: { ...input } },
          {
            signal: options.signal,
            timeout: silenceMs,
            resetTimeoutOnProgress: true,
            onprogress: ({ message, progress, total }) => {
              if (message === undefined) return;
              if (total !== undefined) return line.show(message, progress / total);
              // That the seconds go on shows a person that it goes on.
              const seconds = Math.round((Date.now() - startedAtMs) / 1000);
              line.show(process.stdout.isTTY ? `${message} (${seconds} s)` : message, undefined);
            },
          },
        );
        const text = result.content.map((block) => (block.type === "text" ? block.text : "")).join("\n");
        if (result.isError === true) throw new Error(text);
        return result.structuredContent as Answer;
      } finally {
        line.end();
      }
    },
    close: () => client.close(),
  };
}
