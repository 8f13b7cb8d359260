import { Client, type CallToolResult } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { countTokens } from "gpt-tokenizer/encoding/o200k_base";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { startFakeOllama, type FakeOllama } from "../test/support/fake-ollama.ts";
import type { Bench, BenchResult } from "./bench.ts";
import { answerBar, listBar } from "./tools-size.ts";
import { command, withCleanEnvironment } from "./support/environment.ts";

const pollBar = 60;
const fileBytes = [3_000, 16_000, 30_000];
/** Prose of this repository: what people have summarised. */
const sources = [
  "docs/architecture.md",
  "docs/security.md",
  "docs/clients.md",
  "docs/troubleshooting.md",
  "README.md",
  "docs/settings.md",
];
/** A model's answer about a file; the same for each way of calling. */
const summary =
  "The document describes how the program is built and why. It names the parts and what each may use, how a request " +
  "travels through them, and what happens when memory runs short. It then lists the limits that hold for files and " +
  "requests, the settings that change them, and the errors that people meet most often, each with one thing to try. " +
  "A closing section says what has not been built yet.";
const question = "Summarise this document in four sentences.";

export const answers: Bench = {
  name: "answers",
  summary: "o200k tokens of answers: with and without notes, a job poll, and files that are delegated, read or pasted",
  help: "`text_tokens` and `structured_tokens`: what a client costs that gives its model the one form or the other.",
  run: () => withCleanEnvironment(measure),
};

interface Row extends Readonly<Record<string, string | number>> {
  readonly what: string;
  readonly text_tokens: number;
  readonly structured_tokens: number;
}

async function measure(environment: Record<string, string>): Promise<BenchResult> {
  const ollama = await startFakeOllama({
    models: [
      { name: "summary:7b", contextTokens: 32_768, reply: summary },
      { name: "window:1b", contextTokens: 2_048, reply: summary },
    ],
  });
  const folder = environment["HOME"] ?? "";
  const client = new Client({ name: "bench", version: "1" });
  const impatient = new Client({ name: "bench", version: "1" });
  const shared = { ...environment, OLLM_HOST: ollama.url, OLLM_PROVIDERS_LLAMA_CPP_ENABLED: "false" };
  try {
    await client.connect(serverFor(shared, folder));
    const polling = { ...shared, OLLM_HOME: join(folder, "polling"), OLLM_JOBS_PATIENCE: "1" };
    await impatient.connect(serverFor(polling, folder));
    const { tools } = await client.listTools();
    const listed = tokens(tools.map(({ outputSchema: _checked, icons: _shown, ...tool }) => tool));
    const list = { what: "tools/list without output schemas", text_tokens: listed, structured_tokens: listed };
    const beyond = await beyondTheText(client);
    const poll = await jobPoll(impatient, ollama);
    const files = await delegated(client, folder);
    const broken = [
      ...over("tools/list", list, listBar, listBar),
      ...over("an answer without anything to say", beyond[0], answerBar, answerBar),
      ...over("a job poll", poll, pollBar, pollBar),
    ];
    const bars =
      `tools/list ${listed} (bar ${listBar}), around an answer ${beyond[0]?.text_tokens} (text) and ` +
      `${beyond[0]?.structured_tokens} (structured; bar ${answerBar} each)`;
    return {
      rows: [list, ...beyond, poll, ...files],
      verdict: [
        `${bars}, a job poll ${poll.text_tokens} and ${poll.structured_tokens} (bar ${pollBar})`,
        ...broken,
      ].join("; "),
      passed: broken.length === 0,
    };
  } finally {
    await Promise.all([client.close(), impatient.close()]);
    await ollama.close();
  }
}

function serverFor(env: Record<string, string>, root: string): StdioClientTransport {
  const args = [command, "--standalone", "--root", root];
  return new StdioClientTransport({ command: process.execPath, args, env, stderr: "inherit" });
}

function over(what: string, row: Row | undefined, textMost: number, structuredMost: number): readonly string[] {
  if (row === undefined) return [`${what} was not measured`];
  const { text_tokens: text, structured_tokens: structured } = row;
  return text > textMost || structured > structuredMost ? [`${what} costs ${text} and ${structured} tokens`] : [];
}

/** What answers cost beside the model's own text. */
async function beyondTheText(client: Client): Promise<readonly Row[]> {
  const row = (what: string, result: CallToolResult): Row => {
    // As a client hands it to its model: all of the one form or all of the other.
    const { text = "" } = result.structuredContent as { readonly text?: string };
    return {
      what: `beyond the text: ${what}`,
      text_tokens: tokens(textsOf(result).join("\n")) - tokens(text),
      structured_tokens: tokens(result.structuredContent) - tokens(text),
    };
  };
  const ask = (more: Readonly<Record<string, unknown>> = {}) =>
    call(client, "route_and_generate", { prompt: "Name three colours.", model: "summary:7b", ...more });
  const long = { model: "window:1b", prompt: "word ".repeat(1_200) };
  const opened = await ask({ ...long, continue_id: "new" });
  const continued = (opened.structuredContent as { continue_id?: string }).continue_id ?? "";
  // A second long turn doesn't fit beside the first.
  const cut = await ask({ ...long, continue_id: continued, max_tokens: 9_000 });
  if (!textsOf(cut).join("\n").includes("were left out")) throw new Error("the conversation was not cut");
  return [
    row("nothing to say", await ask()),
    row("explain", await ask({ explain: true })),
    row("a conversation's id", opened),
    row("two notes (a cut conversation, max_tokens lowered) and its id", cut),
  ];
}

/** A poll of an answer that is being written. */
async function jobPoll(client: Client, ollama: FakeOllama): Promise<Row> {
  ollama.misbehave({ kind: "hang", afterLines: 20 });
  const left = await call(client, "route_and_generate", { prompt: question, model: "summary:7b" });
  const { job } = left.structuredContent as { job?: string };
  if (job === undefined) throw new Error("the call did not become a job");
  const poll = await call(client, "job", { action: "wait", job_id: job });
  if ((poll.structuredContent as { state?: string }).state !== "running") throw new Error("the job has ended");
  await call(client, "job", { action: "cancel", job_id: job });
  return {
    what: "job wait without a result",
    text_tokens: tokens(textsOf(poll).join("\n")),
    structured_tokens: tokens(poll.structuredContent),
  };
}

/** What an assistant pays for a summary of a file: its call and the answer, or the file and its own summary. */
async function delegated(client: Client, folder: string): Promise<readonly Row[]> {
  const documents = await Promise.all(sources.map((file) => readFile(new URL(`../${file}`, import.meta.url), "utf8")));
  // Tables are padded, and a run of blanks is one token: that would flatter the ways that pay for the file.
  const all = documents.join("\n").replace(/ {2,}|-{4,}/g, " ");
  const rows: Row[] = [];
  for (const bytes of fileBytes) {
    if (Buffer.byteLength(all) < bytes) throw new Error(`the documents have less than ${bytes} bytes`);
    const text = Buffer.from(all).subarray(0, bytes).toString("utf8");
    const name = `document-${bytes}.md`;
    await writeFile(join(folder, name), text);
    const row = async (way: string, input: Readonly<Record<string, unknown>>): Promise<Row> => {
      const result = await call(client, "route_and_generate", input);
      const asked = tokens(input);
      return {
        what: `${bytes / 1_000} kB, ${way}`,
        text_tokens: asked + tokens(textsOf(result).join("\n")),
        structured_tokens: asked + tokens(result.structuredContent),
      };
    };
    const read = tokens(text) + tokens(summary);
    rows.push(
      await row("delegated", { prompt: question, files: [name] }),
      { what: `${bytes / 1_000} kB, read by the assistant`, text_tokens: read, structured_tokens: read },
      await row("pasted into the prompt", { prompt: `${question}\n\n${text}` }),
    );
  }
  return rows;
}

async function call(client: Client, name: string, input: Record<string, unknown>): Promise<CallToolResult> {
  const result = await client.callTool({ name, arguments: input });
  if (result.isError === true) throw new Error(`${name} failed: ${textsOf(result).join("\n")}`);
  return result;
}

function textsOf({ content }: CallToolResult): readonly string[] {
  return content.map((block) => (block.type === "text" ? block.text : ""));
}

function tokens(value: unknown): number {
  return countTokens(typeof value === "string" ? value : JSON.stringify(value));
}
