import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { countTokens } from "gpt-tokenizer/encoding/o200k_base";
import { startFakeOllama } from "../test/support/fake-ollama.ts";
import type { Bench, BenchResult } from "./bench.ts";
import { command, withCleanEnvironment } from "./support/environment.ts";

/** Calls of a session that share the list of tools, which a client puts before its model once. */
const callsPerSession = 20;
const repository = fileURLToPath(new URL("../", import.meta.url));
/** Delegating a file of 30 kB or more costs at most this share of reading it. */
const shareBar = 0.15;

interface Task {
  readonly task: string;
  readonly prompt: string;
  readonly files: readonly string[];
  /** What a model answers: written once, so that both ways have the same answer and runs are equal. */
  readonly answer: string;
}

const generation = ["answer-in-parts", "attempt", "candidates", "chain", "checks", "parts", "quotes", "spending"];

const tasks: readonly Task[] = [
  {
    task: "explain a module",
    prompt: "What does this module do, and what calls does it accept? Five sentences.",
    files: ["src/orchestrator/routing/model-overrides.ts"],
    answer:
      "The module decides which settings apply to a model. Patterns of model names are matched in the order in which they " +
      "were written, and of several matches the last one wins, option by option. Names are compared with their tag, so a " +
      "name without one means latest. It accepts a model's name with the table of overrides and returns the merged " +
      "options. It reads no files and changes nothing.",
  },
  {
    task: "find missing tests",
    prompt: "Which cases of this file should a test cover? List at most six, one line each.",
    files: ["src/orchestrator/memory/reading.ts"],
    answer:
      "- a reading without swap\n- a card that reports no free memory\n- a limit of a container below the machine's memory\n" +
      "- two readings within the same second\n- a value that is larger than the total\n- a probe that fails once",
  },
  {
    task: "summarise a decision",
    prompt: "Summarise this decision in two sentences: what was decided, and what it costs.",
    files: ["docs/decisions/0041-checks-and-the-chain.md"],
    answer:
      "A failed check moves a request on along its chain of models, after one correction by the same model where the " +
      "format allows it. It costs the time and the tokens of the answers that are thrown away, which are counted and shown.",
  },
  {
    task: "write a doc comment",
    prompt: "Write the doc comment of the main export of this file: one sentence, and what its parameters mean.",
    files: ["src/orchestrator/jobs/changes.ts"],
    answer:
      "/** Publishes changes to subscribers, at most once per kind and interval: later ones of the same kind are merged. " +
      "`timers` delays, `log` receives the errors of subscribers. */",
  },
  {
    task: "summarise a page",
    prompt: "Summarise this page for a security review, in six bullet points.",
    files: ["docs/security.md"],
    answer:
      "- Files are read only inside allowed folders, after links are resolved.\n- Nothing is sent to other machines unless " +
      "the privacy setting allows it.\n- The HTTP listener asks for a token, and checks the Host and Origin headers.\n" +
      "- Projects' settings take effect only once the user has approved them.\n- Models and engines are downloaded with " +
      "their checksums.\n- Text of models, registries and files is shown without control characters.",
  },
  {
    task: "extract from a schema",
    prompt: "List the settings of this schema whose unit is bytes, with their defaults, as JSON.",
    files: ["schemas/settings.schema.json"],
    answer:
      '{"memory.bufferBytes":2147483648,"memory.maxBytes":null,"memory.availableBytes":null,' +
      '"files.maxFileBytes":2097152,"files.maxTotalBytes":8388608}',
  },
  {
    task: "find one place",
    prompt: "Which commands pin a model in memory and unpin it?",
    files: ["docs/commands.md"],
    answer: "`ollm pin NAME` pins a model, and `ollm unpin NAME` releases it.",
  },
  {
    task: "summarise the manual",
    prompt: "What can a user set, and where is it explained? At most ten lines.",
    files: ["docs/settings.md", "docs/commands.md", "docs/security.md", "docs/clients.md"],
    answer:
      "Models: default, provider, routing and keep-alive (settings.md).\nProfiles and options by pattern (settings.md).\n" +
      "Engines: Ollama, the embedded engine, servers with an OpenAI-compatible API (settings.md).\nPrivacy, allowed " +
      "folders and hosts (security.md).\nMemory: what stays free and what models may use (settings.md).\nClients: where " +
      "each keeps its configuration (clients.md).\nAll commands with their options (commands.md).",
  },
  {
    task: "review a package",
    prompt: "Which of these files handle an abort, and which wait without a bound? Name the functions.",
    files: generation.map((name) => `src/orchestrator/generation/${name}.ts`),
    answer:
      "Aborts: Chain.walk passes the caller's signal to each attempt; attemptOnce listens to it while it waits for the " +
      "queue and while it generates; the reader aborts the parts that are under way. Without a bound: none was found; " +
      "waits for a slot end with the signal of the request, and the ledger's writes end with the disk's error.",
  },
  {
    task: "audit a lockfile",
    prompt: "Which packages of this lockfile run a script when they are installed? Names and versions only.",
    files: ["conformance/tools/package-lock.json"],
    answer: "esbuild 0.25.12, fsevents 2.3.3",
  },
];

export const savings: Bench = {
  name: "savings",
  summary: "o200k tokens of ten tasks on files of 3, 30 and 120 kB: read by the assistant, and delegated",
  help:
    "Tokenizer: o200k_base (gpt-tokenizer). `read_tokens`: the files and the answer. `text_tokens` and `structured_tokens`: " +
    "the call's arguments, the tool's answer in the form that the client gives its model, the answer told to the user, and " +
    `1/${callsPerSession} of tools/list, which a session of ${callsPerSession} calls shares. The model's answer is fixed; its ` +
    "window is 32,768 tokens, so the largest files are read in parts.",
  run: () => withCleanEnvironment(measure),
};

interface Row extends Readonly<Record<string, string | number>> {
  readonly task: string;
  readonly kilobytes: number;
  readonly read_tokens: number;
  readonly text_tokens: number;
  readonly structured_tokens: number;
  readonly saved_percent: number;
}

async function measure(environment: Record<string, string>): Promise<BenchResult> {
  let answer = "";
  const ollama = await startFakeOllama({
    models: [{ name: "local:7b", contextTokens: 32_768, reply: () => answer }],
  });
  const client = new Client({ name: "bench", version: "1" });
  try {
    await client.connect(
      new StdioClientTransport({
        command: process.execPath,
        args: [command, "--standalone", "--root", repository],
        env: {
          ...environment,
          OLLM_HOST: ollama.url,
          OLLM_PROVIDERS_LLAMA_CPP_ENABLED: "false",
          OLLM_MEMORY_AVAILABLE_BYTES: "64000000000",
        },
        stderr: "inherit",
      }),
    );
    const { tools } = await client.listTools();
    const list = tokens(tools.map(({ outputSchema: _checked, icons: _shown, ...tool }) => tool));
    const rows: Row[] = [];
    for (const task of tasks) {
      answer = task.answer;
      rows.push(await rowOf(client, task, list));
    }
    return resultOf(rows, list);
  } finally {
    await client.close();
    await ollama.close();
  }
}

async function rowOf(client: Client, { task, prompt, files, answer }: Task, list: number): Promise<Row> {
  const texts = await Promise.all(files.map((file) => readFile(join(repository, file), "utf8")));
  const input = { prompt, files };
  const result = await client.callTool({ name: "route_and_generate", arguments: input });
  const text = result.content.map((block) => (block.type === "text" ? block.text : "")).join("\n");
  if (result.isError === true) throw new Error(`${task}: ${text}`);
  const shared = tokens(input) + Math.ceil(list / callsPerSession) + tokens(answer);
  const read = texts.reduce((sum, each) => sum + tokens(each), 0) + tokens(answer);
  const structured = shared + tokens(result.structuredContent);
  return {
    task,
    kilobytes: Math.round(texts.reduce((sum, each) => sum + Buffer.byteLength(each), 0) / 1_000),
    read_tokens: read,
    text_tokens: shared + tokens(text),
    structured_tokens: structured,
    // Of the form that Claude Code and Codex give their model.
    saved_percent: Math.round((1 - structured / read) * 100),
  };
}

function resultOf(rows: readonly Row[], list: number): BenchResult {
  const sum = (key: "read_tokens" | "text_tokens" | "structured_tokens") =>
    rows.reduce((total, row) => total + row[key], 0);
  const [read, text, structured] = [sum("read_tokens"), sum("text_tokens"), sum("structured_tokens")];
  const dear = rows.filter((row) => row.kilobytes >= 30 && row.structured_tokens > row.read_tokens * shareBar);
  const verdict =
    `${read} tokens read, ${text} (text) or ${structured} (structured) delegated, of them ` +
    `${Math.ceil(list / callsPerSession)} per task for tools/list; ` +
    (dear.length === 0
      ? `files of 30 kB and more cost at most ${shareBar * 100} % of reading them`
      : `more than ${shareBar * 100} % of reading: ${dear.map(({ task }) => task).join(", ")}`);
  return {
    rows,
    totals: { read_tokens: read, text_tokens: text, structured_tokens: structured, list_tokens: list },
    verdict,
    passed: dear.length === 0,
  };
}

function tokens(value: unknown): number {
  return countTokens(typeof value === "string" ? value : JSON.stringify(value));
}
