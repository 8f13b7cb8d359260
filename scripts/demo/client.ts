import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { progressLine } from "./print.ts";
import type { ToolAnswers, ToolInputs, ToolName } from "../../src/tools/index.ts";

export interface DemoClient {
  /** Name and version of the server. */
  readonly server: string;
  /** The structured answer of a tool; progress is shown as it comes. Throws with the tool's own words when it fails. */
  call<Name extends ToolName>(tool: Name, input: ToolInputs[Name]): Promise<ToolAnswers[Name]>;
  /** The same, with the answer as text that an assistant may read instead. */
  callForText<Name extends ToolName>(
    tool: Name,
    input: ToolInputs[Name],
  ): Promise<{ readonly answer: ToolAnswers[Name]; readonly text: string }>;
  close(): Promise<void>;
}

/** As it introduces itself to the server. */
export const demoClientName = "ollm-demo";

/** A server that sends nothing for this long hangs: it sends progress at least every five seconds. */
const stallMs = 60_000;
/** Where no spinner turns, the last progress is repeated after so long a silence. */
const silenceMs = 1_900;

export async function connectDemoClient(options: {
  readonly node: string;
  readonly script: string;
  readonly roots: readonly string[];
  readonly signal: AbortSignal;
  /** Settings of this client alone. */
  readonly environment?: Readonly<Record<string, string>>;
}): Promise<DemoClient> {
  const environment = Object.fromEntries(
    Object.entries({ ...process.env, ...options.environment }).filter(
      (entry): entry is [string, string] => entry[1] !== undefined,
    ),
  );
  const transport = new StdioClientTransport({
    command: options.node,
    args: [options.script, ...options.roots.flatMap((root) => ["--root", root])],
    env: environment,
    // Notices of the front are about its daemon, which the demo reports itself.
    stderr: "ignore",
  });
  const client = new Client({ name: demoClientName, version: "1.0.0" });
  await client.connect(transport);
  const { name = "server", version = "" } = client.getServerVersion() ?? {};
  const line = progressLine();

  async function callOnce(
    tool: string,
    input: Readonly<Record<string, unknown>>,
    startedAtMs: number,
  ): Promise<{ readonly answer: unknown; readonly text: string }> {
    let shown = `waiting for ${tool}`;
    // That the seconds go on shows a person that it goes on.
    const show = (fraction?: number): void => {
      const seconds = Math.round((Date.now() - startedAtMs) / 1000);
      line.show(fraction === undefined && seconds > 0 ? `${shown} (${seconds} s)` : shown, fraction);
    };
    const silence = setInterval(show, silenceMs);
    try {
      const result = await client.callTool(
        { name: tool, arguments: { ...input }, _meta: { "ollm/details": true } },
        {
          signal: options.signal,
          timeout: stallMs,
          resetTimeoutOnProgress: true,
          onprogress: ({ message, progress, total }) => {
            if (message === undefined) return;
            shown = message;
            if (process.stdout.isTTY || total !== undefined) show(total === undefined ? undefined : progress / total);
            silence.refresh();
          },
        },
      );
      const text = result.content.map((block) => (block.type === "text" ? block.text : "")).join("\n");
      if (result.isError === true) throw new Error(text);
      return { answer: result.structuredContent, text };
    } finally {
      clearInterval(silence);
      line.clear();
    }
  }

  /** Long work is answered with a job, as every client's is: its answer is asked for until it is there. */
  async function endOfJob(
    id: string,
    startedAtMs: number,
  ): Promise<{ readonly answer: unknown; readonly text: string }> {
    for (;;) {
      const { answer, text } = await callOnce("job", { action: "wait", job_id: id }, startedAtMs);
      const job = answer as ToolAnswers["job"];
      if (job.state === "succeeded") return { answer: job.result, text };
      if (job.state !== "running") throw new Error(job.error ?? `${id} was ${job.state}`);
    }
  }

  async function callForText<Name extends ToolName>(tool: Name, input: ToolInputs[Name]) {
    const startedAtMs = Date.now();
    const result = await callOnce(tool, input, startedAtMs);
    const { job } = result.answer as { readonly job?: string };
    const last = job === undefined ? result : await endOfJob(job, startedAtMs);
    return { answer: last.answer as ToolAnswers[Name], text: last.text };
  }

  return {
    server: `${name} ${version}`,
    callForText,
    call: async (tool, input) => (await callForText(tool, input)).answer,
    close: () => client.close(),
  };
}
