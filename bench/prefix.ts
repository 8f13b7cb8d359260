import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { Chat, ChatMessage, ToolDefinition } from "../src/orchestrator/api/chat.ts";
import { InvalidRequest } from "../src/orchestrator/api/errors.ts";
import { createLog } from "../src/orchestrator/api/log.ts";
import { engineOptions } from "../src/orchestrator/config/openai-servers.ts";
import { settingsSchema } from "../src/orchestrator/config/schema.ts";
import type { Engine } from "../src/orchestrator/engines/engine.ts";
import { createOllamaEngine } from "../src/orchestrator/engines/ollama/index.ts";
import { createOpenAiEngine } from "../src/orchestrator/engines/openai/index.ts";
import { anthropic } from "../src/server/doors/anthropic.ts";
import { routeOf } from "../src/server/doors/door.ts";
import { startEngine } from "../test/orchestrator/engines/llama-cpp/engine-under-test.ts";
import { installedEngine } from "../test/support/engine.ts";
import { createTestOrchestrator } from "../test/support/orchestrator.ts";
import { smolLm2 } from "../test/support/weights.ts";
import type { Bench, BenchResult } from "./bench.ts";
import { median, rounded } from "./support/statistics.ts";

const turns = 20;
const contextTokens = 8_192;
const recordedContextTokens = 32_768;
const bar = 0.95;
const clients = 8;
/** The conversation of which a server of Ollama with its defaults evaluated 2,051 and answered 200. */
const wholeTokens = 15_750;
const templateTokens = 60;
const never = new AbortController().signal;
const silent = { text: () => undefined, thinking: () => undefined, phase: () => undefined };

export const prefix: Bench = {
  name: "prefix",
  summary: `a coding agent's session of ${turns} turns: share of cached prompt tokens (at least ${bar}), beside the same without the guard; --part apart: ${clients} clients never get each other's secrets; --part whole: ${wholeTokens} tokens, all read`,
  options: ["weights", "session", "bare", "part", "requests", "tokens", "ollama", "model", "server"],
  help: [
    "--weights FILE.gguf instead of SmolLM2-135M, on the embedded engine. The session is written here, with the shape of a recorded one.",
    "--session FILE: one that was recorded, a body of Anthropic's /v1/messages a line, such as Claude Code sends (--weights with tools, 32k).",
    "turn_before: the share that the prompt of the turn before has of a prompt. Times are to the first token, medians of turns 2 to 20.",
    "--bare N: so many turns without the guard, default 20: each reads the whole prompt, which is slow; times then compare those turns.",
    `--part apart: ${clients} clients at the same time, each with a secret in its system prompt; --requests N, default 400. An answer differs`,
    "if it is not the one that the client got alone, at temperature 0: batches of other sizes round otherwise. The bar is no foreign secret.",
    `--part whole: a conversation of --tokens N, default ${wholeTokens}, counted with the tokenizer of --weights FILE.gguf before it is sent;`,
    "passed if the engine evaluated at least as many and at most 60 more (the template's). What its first line says is asked for and shown.",
    "--ollama URL --model NAME or --server URL --model NAME (a llama-server, up to /v1) instead of the embedded engine, for these parts.",
  ].join("\n"),
  async run({ part, requests = "400", bare = String(turns), tokens = String(wholeTokens), ...from }) {
    if (part !== undefined && part !== "apart" && part !== "whole")
      throw new InvalidRequest("--part takes apart or whole");
    const count = Number(part === "whole" ? tokens : requests);
    if (!Number.isSafeInteger(count) || count < 1)
      throw new InvalidRequest("--requests and --tokens take a number from 1");
    if (part === "whole" && from["weights"] === undefined)
      throw new InvalidRequest("--part whole takes --weights FILE.gguf: its tokenizer counts what is sent");
    const bareTurns = Number(bare);
    if (!Number.isSafeInteger(bareTurns) || bareTurns < 2 || bareTurns > turns)
      throw new InvalidRequest(`--bare takes a number from 2 to ${turns}`);
    const isServed = from["ollama"] !== undefined || from["server"] !== undefined;
    if (isServed && (part === undefined || from["model"] === undefined))
      throw new InvalidRequest("--ollama and --server go with --part and --model NAME");
    const { engine, model, dispose } = await engineOf(from);
    try {
      if (part === "whole") return await whole(engine, model, count, resolve(from["weights"] ?? ""));
      if (part === "apart") return await apart(engine, model, count);
      const recorded = from["session"] === undefined ? undefined : await recordedSession(from["session"]);
      return await session({ engine, model }, recorded, bareTurns);
    } finally {
      await dispose();
    }
  },
};

async function engineOf({
  weights,
  ollama,
  server,
  model = "bench:latest",
}: Readonly<Record<string, string | undefined>>) {
  const common = {
    now: () => performance.now(),
    log: createLog("warn", (line) => void process.stderr.write(`${line}\n`)),
    allowedHosts: () => [],
  };
  if (ollama !== undefined) {
    const engine = createOllamaEngine({ ...common, host: ollama });
    return { engine, model, dispose: () => engine.close() };
  }
  if (server !== undefined) {
    const openai = [{ id: "server", kind: "local", baseUrl: server }];
    const [entry] = settingsSchema.parse({ providers: { openai } }).providers.openai;
    if (entry === undefined) throw new InvalidRequest("--server takes an address that ends in /v1");
    const engine = createOpenAiEngine({ ...common, ...engineOptions(entry), apiKey: async () => undefined });
    return { engine, model, dispose: () => engine.close() };
  }
  const { file, reason } = weights === undefined ? await smolLm2() : { file: resolve(weights), reason: undefined };
  if (file === undefined) throw new Error(`no weights to measure: ${reason}`);
  const started = await startEngine((await installedEngine()).modulePath, { [model]: file });
  return { engine: started.engine, model, dispose: () => started.dispose() };
}

type Conversation = Pick<Chat, "messages" | "tools">;

interface Turn {
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly firstTokenMs: number;
}

/** The same messages with and without the guard, on one engine: their first lines differ, so neither finds the other's. */
async function session(
  { engine, model }: { engine: Engine; model: string },
  recorded: readonly Conversation[] | undefined,
  bareTurns: number,
): Promise<BenchResult> {
  const hasTools = (await engine.describe(model, never)).capabilities.includes("tools");
  const { generate } = orchestrated(engine);
  const conversations = (): readonly Conversation[] =>
    (recorded ?? Array.from({ length: turns }, (_, at) => ({ messages: messagesAt(at + 1), tools: agentTools }))).map(
      ({ messages, tools }) => ({ messages, ...(hasTools && tools !== undefined && { tools }) }),
    );
  const window = { contextTokens: recorded === undefined ? contextTokens : recordedContextTokens };
  const turn = (
    counts: { readonly promptTokens?: number; readonly cachedPromptTokens?: number },
    firstTokenMs: number,
  ) => ({
    promptTokens: counts.promptTokens ?? 0,
    cachedTokens: counts.cachedPromptTokens ?? 0,
    firstTokenMs,
  });
  const guarded: Turn[] = [];
  for (const conversation of conversations()) {
    const answer = await generate(model, conversation, { maxTokens: 8, id: "agent", ...window });
    guarded.push(turn(answer, answer.timing.firstTokenMs));
  }
  const bare: Turn[] = [];
  for (const conversation of conversations().slice(0, bareTurns)) {
    const request = { model, ...conversation, maxTokens: 8, sampling: { temperature: 0 }, ...window };
    const answer = await engine.generate(request, silent, never);
    bare.push(turn(answer, answer.firstTokenMs));
  }
  const rows = [rowOf("without the guard", bare), rowOf("with the guard", guarded)];
  const [without, given] = [shareOf(bare), shareOf(guarded)];
  const ratio = median(later(bare)) / Math.max(1, median(later(guarded.slice(0, bareTurns))));
  return {
    rows,
    verdict: `${given.toFixed(3)} of the prompt tokens of turns 2 to ${guarded.length} cached, bar ${bar}; without the guard ${without.toFixed(3)} of turns 2 to ${bare.length}; first token ${ratio.toFixed(1)} × sooner; ${hasTools ? "with" : "the template has no"} tools`,
    passed: given >= bar,
  };
}

const later = (all: readonly Turn[]): readonly number[] => all.slice(1).map(({ firstTokenMs }) => firstTokenMs);
const sum = (all: readonly Turn[], key: keyof Turn): number => all.reduce((total, each) => total + each[key], 0);
const shareOf = (all: readonly Turn[]): number => sum(all.slice(1), "cachedTokens") / sum(all.slice(1), "promptTokens");

function rowOf(way: string, all: readonly Turn[]) {
  return {
    way,
    first_prompt_tokens: all[0]?.promptTokens ?? 0,
    last_prompt_tokens: all.at(-1)?.promptTokens ?? 0,
    cached_share: rounded(shareOf(all), 3),
    turn_before: rounded(sum(all.slice(0, -1), "promptTokens") / sum(all.slice(1), "promptTokens"), 3),
    first_token_ms: rounded(median(later(all))),
    slowest_ms: rounded(Math.max(...later(all))),
  };
}

function orchestrated(engine: Engine) {
  const { orchestrator, caller } = createTestOrchestrator([engine]);
  return {
    async generate(
      model: string,
      conversation: Conversation,
      { maxTokens, id, ...window }: { maxTokens: number; id: string; contextTokens?: number },
    ) {
      const asking = caller({ id, client: id });
      const prompt = conversation.messages.findLast(({ role }) => role === "user")?.content ?? "";
      const chat = { ...conversation, sampling: { temperature: 0 } };
      const operation = await orchestrator.generate(asking, { prompt, chat, model, maxTokens, ...window });
      return await operation.follow(asking.signal);
    },
  };
}

/** The bodies of a recorded session, as the daemon reads them. */
async function recordedSession(file: string): Promise<readonly Conversation[]> {
  const found = routeOf(anthropic, "POST", "/v1/messages");
  if (found === undefined) throw new Error("Anthropic's API has no messages");
  const lines = (await readFile(file, "utf8")).split("\n").filter((line) => line !== "");
  return lines.map((line) => {
    const read = found.route(JSON.parse(line));
    if (typeof read === "function" || read.request.chat === undefined) throw new Error("a line is no conversation");
    const { messages, tools } = read.request.chat;
    return { messages, ...(tools && { tools }) };
  });
}

const areas = ["the tests", "the parser", "a migration", "the log", "a public type", "the build", "an error message"];
const rules = Array.from(
  { length: 52 },
  (_, at) =>
    `${at + 1}. Before you change ${areas[at % areas.length]}, read file number ${at * 7 + 3} of the module whole, and say in one sentence why.`,
);
const agentTools: readonly ToolDefinition[] = ["read_file", "write_file", "run_command", "search"].map((name) => ({
  name,
  description: `Does what "${name}" says, inside the folder of the project, and answers with text.`,
  parameters: {
    type: "object",
    properties: { path: { type: "string", description: "Relative to the project." }, text: { type: "string" } },
    required: ["path"],
  },
}));

/** What the agent sends in that turn: the header's line is new, the rest grows. */
function messagesAt(turn: number): readonly ChatMessage[] {
  const header = `x-anthropic-billing-header: cc_version=2.1.${turn}; cc_entrypoint=cli; cch=${randomBytes(4).toString("hex")};`;
  const content = [header, "You are a coding agent. Follow these rules:", ...rules].join("\n");
  const done = Array.from({ length: turn - 1 }, (_, at): readonly ChatMessage[] => {
    const call = { id: `call_${at}`, name: "read_file", arguments: JSON.stringify({ path: `src/part-${at}.ts` }) };
    const lines = Array.from(
      { length: 5 },
      (_line, line) => `export const value${at * 5 + line} = "part ${at}, line ${line}";`,
    );
    return [
      { role: "assistant", content: `I read part ${at}.`, toolCalls: [call] },
      { role: "tool", content: lines.join("\n"), toolCallId: call.id, toolName: call.name },
    ];
  });
  return [
    { role: "system", content },
    { role: "user", content: "Rename every exported constant of the project, one part after the other." },
    ...done.flat(),
  ];
}

const questions = ["Which code?", "Say the code.", "The access code, please.", "And once more?"];

/** All clients ask at once and in turns of their own, after each question has been answered alone. */
async function apart(engine: Engine, model: string, requests: number): Promise<BenchResult> {
  const { generate } = orchestrated(engine);
  const secrets = Array.from({ length: clients }, () =>
    String(randomBytes(4).readUInt32BE() % 1_000_000).padStart(6, "0"),
  );
  const ask = async (client: number, question: number): Promise<string> => {
    // A secret begins each conversation, so that servers with a cache of several hold them apart, and each has its earlier turns.
    const system = `${secrets[client]} is the access code of this house. You answer with it alone.`;
    const before = questions.slice(0, question + 1).flatMap((content): readonly ChatMessage[] => [
      { role: "user", content },
      { role: "assistant", content: secrets[client] ?? "" },
    ]);
    const messages: readonly ChatMessage[] = [
      { role: "system", content: system },
      ...before,
      { role: "user", content: questions[(question + 1) % questions.length] ?? "" },
    ];
    return (await generate(model, { messages }, { maxTokens: 8, id: `client-${client}`, contextTokens: 2_048 })).text;
  };
  const alone: string[][] = [];
  for (let client = 0; client < clients; client += 1) {
    alone[client] = [];
    for (let question = 0; question < questions.length; question += 1) alone[client]?.push(await ask(client, question));
  }
  const distinct = new Set(alone.flat()).size;
  /** A model of random weights never says a secret, but its answer is that of one conversation alone. */
  const isForeign = (text: string, client: number): boolean =>
    secrets.some(
      (secret, other) =>
        other !== client && (text.includes(secret) || (!alone[client]?.includes(text) && alone[other]?.includes(text))),
    );
  const seen = Array.from({ length: clients }, () => ({ requests: 0, own: 0, differ: 0, foreign: 0 }));
  let asked = 0;
  const startedAt = performance.now();
  await Promise.all(
    seen.map(async (counts, client) => {
      while (asked < requests) {
        // No order that repeats, so that each conversation follows each other one in a cache.
        const question = (asked * 7 + client) % questions.length;
        asked += 1;
        if (asked % 500 === 0) process.stderr.write(`${asked} of ${requests} asked\n`);
        const text = await ask(client, question);
        counts.requests += 1;
        if (text.includes(secrets[client] ?? "")) counts.own += 1;
        if (text !== alone[client]?.[question]) counts.differ += 1;
        if (isForeign(text, client)) counts.foreign += 1;
      }
    }),
  );
  const total = (key: "requests" | "own" | "differ" | "foreign") => seen.reduce((all, each) => all + each[key], 0);
  return {
    rows: seen.map((counts, client) => ({ client, ...counts })),
    verdict: `${total("requests")} requests of ${clients} clients in ${((performance.now() - startedAt) / 1_000).toFixed(0)} s: ${total("foreign")} answers with a foreign secret, or that of another conversation, bar 0; ${total("differ")} differ from the answer alone (${distinct} of ${clients * questions.length} of these are distinct); ${total("own")} held their own secret`,
    passed: total("foreign") === 0,
  };
}

/** As much of `llama.cpp`'s binding as counts tokens without computing anything. */
interface Tokenizers {
  readonly getLlama: (options: object) => Promise<{
    loadModel: (options: object) => Promise<{ tokenize: (text: string) => readonly number[] }>;
  }>;
}

/** One long conversation, in which only the first line says what the last one asks for. */
async function whole(engine: Engine, model: string, tokens: number, weights: string): Promise<BenchResult> {
  const { getLlama } = (await import(pathToFileURL((await installedEngine()).modulePath).href)) as Tokenizers;
  const tokenizer = await (
    await getLlama({ gpu: false, build: "never", logLevel: "error" })
  ).loadModel({ modelPath: weights, vocabOnly: true });
  const secret = String(randomBytes(3).readUIntBE(0, 3));
  const first = `The access code of the north gate is ${secret}. Remember it.\n`;
  const last = "\nWhat is the access code of the north gate? Answer with the number alone.";
  const count = (lines: readonly string[]) => tokenizer.tokenize([first, ...lines, last].join("")).length;
  const lines: string[] = [];
  const line = (at: number) =>
    `Entry ${at}: ${areas[at % areas.length]} was looked at by ${questions.length + (at % 9)} people and left as it was.\n`;
  const perLine = count([line(100)]) - count([]);
  while (lines.length < (tokens - count([])) / perLine - 1) lines.push(line(lines.length));
  while (count(lines) > tokens) lines.pop();
  while (count(lines) < tokens) lines.push(count(lines) < tokens - perLine ? line(lines.length) : " and");
  const sent = count(lines);
  const { generate } = orchestrated(engine);
  const content = [first, ...lines, last].join("");
  const startedAt = performance.now();
  const answer = await generate(model, { messages: [{ role: "user", content }] }, { maxTokens: 16, id: "reader" });
  const evaluated = answer.promptTokens ?? 0;
  const isWhole = evaluated >= sent && evaluated <= sent + templateTokens;
  return {
    rows: [
      {
        model,
        sent_tokens: sent,
        evaluated_tokens: evaluated,
        seconds: rounded((performance.now() - startedAt) / 1_000, 1),
        secret,
        answer: answer.text,
      },
    ],
    verdict: `${sent} tokens sent, ${evaluated} evaluated with the template's${isWhole ? "" : ": missed"}; the first line was ${answer.text.includes(secret) ? "" : "not "}known`,
    passed: isWhole,
  };
}
