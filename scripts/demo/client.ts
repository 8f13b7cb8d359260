import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { createProgressLine } from "../../src/cli/progress-line.ts";
import type { ToolAnswers, ToolInputs, ToolName } from "../../src/tools/index.ts";

export interface DemoClient {
  /** Name and version of the server. */
  readonly server: string;
  /** The structured answer of a tool; progress is shown as it comes. Throws with the tool's own words when it fails. */
  call<Name extends ToolName>(tool: Name, input: ToolInputs[Name]): Promise<ToolAnswers[Name]>;
  close(): Promise<void>;
}

/** As it introduces itself to the server. */
export const demoClientName = "ollm-demo";

/** A server that sends nothing for this long hangs: it sends progress at least every five seconds. */
const stallMs = 60_000;

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
    args: [options.script, ...options.roots.flatMap((root) => ["--root", root])],
    env: environment,
    stderr: "inherit",
  });
  const client = new Client({ name: demoClientName, version: "1.0.0" });
  await client.connect(transport);
  const { name = "server", version = "" } = client.getServerVersion() ?? {};
  const line = createProgressLine(process.stdout);

  async function callOnce(
    tool: string,
    input: Readonly<Record<string, unknown>>,
    startedAtMs: number,
  ): Promise<unknown> {
    const result = await client.callTool(
      { name: tool, arguments: { ...input } },
      {
        signal: options.signal,
        timeout: stallMs,
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
    return result.structuredContent;
  }

  /** Long work is answered with a job, as every client's is: its answer is asked for until it is there. */
  async function endOfJob(id: string, startedAtMs: number): Promise<unknown> {
    for (;;) {
      const job = (await callOnce("job", { action: "wait", job_id: id }, startedAtMs)) as ToolAnswers["job"];
      if (job.state === "succeeded") return job.result;
      if (job.state !== "running") throw new Error(job.error ?? `${id} was ${job.state}`);
    }
  }

  return {
    server: `${name} ${version}`,
    async call<Name extends ToolName>(tool: Name, input: ToolInputs[Name]): Promise<ToolAnswers[Name]> {
      const startedAtMs = Date.now();
      try {
        const answer = await callOnce(tool, input, startedAtMs);
        const { job } = answer as { readonly job?: string };
        return (job === undefined ? answer : await endOfJob(job, startedAtMs)) as ToolAnswers[Name];
      } finally {
        line.end();
      }
    },
    close: () => client.close(),
  };
}
