import { readFile } from "node:fs/promises";
import { loadavg } from "node:os";
import { resolve } from "node:path";
import { Agent, request } from "undici";
import { InvalidRequest } from "../src/orchestrator/api/errors.ts";
import { guideText } from "../src/resources/guide.ts";
import { toolEntry } from "../src/server/mcp/handle-tools.ts";
import { instructionsFor } from "../src/server/mcp/instructions.ts";
import { tools } from "../src/tools/index.ts";
import { model, withDaemon } from "./batch.ts";
import type { Bench } from "./bench.ts";

const delegating = "route_and_generate";
const ways = ["nothing", "guide", "guide and hook"] as const;

export const called: Bench = {
  name: "called",
  summary:
    "how often a small model that plays the assistant hands work over: 40 delegable and 40 other prompts, with and without guide and hook",
  options: ["weights", "spread"],
  help: [
    "--weights FILE.gguf of a model with tools, such as Qwen2.5-Coder-1.5B-Instruct; --spread N: N prompts of each kind, evenly chosen (40).",
    "The prompts are those of `ranking`, both sets. The model gets Read, Bash and Write, our default tools and our instructions, as from an",
    "assistant, and with `guide` the text that `ollm setup --guide` writes. A first call of Read or Bash is answered with a short text, with",
    "`hook` behind the line that `ollm setup --plugin` adds; then it may call once more. called: route_and_generate, in one of the two turns.",
    "It says what these texts do to a model of this size, which follows instructions poorly. It can't say how often a large model delegates:",
    "only the direction of a difference may carry over, and no assistant's own prompt of thousands of tokens is in it.",
    "A row is printed for each prompt; on two quiet cores the whole takes about 40 minutes with 1.5B, after 3,000 tokens were read once a way.",
  ].join("\n"),
  async run({ weights, spread = "40" }) {
    const most = Number(spread);
    if (weights === undefined) throw new InvalidRequest("--weights names the model that plays the assistant");
    if (!Number.isSafeInteger(most) || most < 1) throw new InvalidRequest("--spread takes a number from 1");
    const sets = Object.values(
      JSON.parse(await readFile(new URL("ranking/requests.json", import.meta.url), "utf8")) as Record<
        string,
        Record<"delegable" | "other", readonly string[]>
      >,
    );
    const rows = await withDaemon(resolve(weights), 8_192, async (base) => {
      const counted: Record<string, string | number>[] = [];
      for (const way of ways) {
        for (const kind of ["delegable", "other"] as const) {
          const all = sets.flatMap((set) => set[kind]);
          const prompts = all.filter(
            (_, at) => Math.floor((at * most) / all.length) !== Math.floor(((at - 1) * most) / all.length),
          );
          const row = { way, kind, prompts: prompts.length, called: 0, own_tool: 0, text: 0, seconds: 0 };
          const startedAt = performance.now();
          for (const prompt of prompts) {
            const made = await play(base, way, prompt);
            if (made.includes(delegating)) row.called += 1;
            else if (made.length > 0) row.own_tool += 1;
            else row.text += 1;
            console.log(`${way} | ${kind} | ${made.join(", ") || "text"} | ${prompt}`);
          }
          row.seconds = Math.round((performance.now() - startedAt) / 1_000);
          counted.push(row);
        }
      }
      return counted;
    });
    return { rows, verdict: `no bar: it informs; the machine's load was ${(loadavg()[0] ?? 0).toFixed(1)}` };
  },
};

interface Message {
  readonly role: string;
  readonly content: string | null;
  readonly tool_calls?: readonly { readonly id: string; readonly function: { readonly name: string } }[];
  readonly tool_call_id?: string;
}

const fileInput = { type: "object", properties: { file_path: { type: "string" } }, required: ["file_path"] };
const own = [
  { name: "Read", description: "Read a file of the user's machine.", parameters: fileInput },
  {
    name: "Bash",
    description: "Run a command in the user's shell.",
    parameters: { type: "object", properties: { command: { type: "string" } }, required: ["command"] },
  },
  {
    name: "Write",
    description: "Write a file of the user's machine.",
    parameters: { ...fileInput, properties: { ...fileInput.properties, content: { type: "string" } } },
  },
];

const offered = [
  ...own,
  ...tools
    .filter(({ set }) => set !== "extra")
    .map(toolEntry)
    .map(({ name, description, inputSchema }) => ({ name, description, parameters: inputSchema })),
].map((each) => ({ type: "function", function: each }));

const line =
  "It is about 24,000 tokens. If a summary, an extract or one fact of it is enough, ollm's route_and_generate with files " +
  "has a local model read it: for you that costs about 40 tokens, your prompt and the answer.";

/** The tools that the model calls, of at most two. */
async function play(base: string, way: (typeof ways)[number], prompt: string): Promise<readonly string[]> {
  const system = [
    "You are a coding assistant with tools on the user's machine. Do what the user asks: call a tool, or answer.",
    instructionsFor([{ name: "qwen3:8b", tokensPerSecond: 20 }]),
    ...(way === "nothing" ? [] : [guideText]),
  ].join("\n\n");
  const messages: Message[] = [
    { role: "system", content: system },
    { role: "user", content: prompt },
  ];
  const made: string[] = [];
  for (let turn = 0; turn < 2; turn += 1) {
    const message = await asked(base, messages);
    const [call] = message.tool_calls ?? [];
    if (call === undefined) break;
    made.push(call.function.name, ...(call.id === broken ? [broken] : []));
    if (call.id === broken || !["Read", "Bash"].includes(call.function.name)) break;
    const content = `${way === "guide and hook" ? `${line}\n` : ""}(the first lines)\nThe ferry left at noon.`;
    messages.push(message, { role: "tool", tool_call_id: call.id, content });
  }
  return made;
}

const broken = "with broken arguments";
/** The first answer of a way comes when thousands of tokens were read. */
const patient = new Agent({ headersTimeout: 0, bodyTimeout: 0 });
/** Answers by what was asked, at temperature 0: with the hook, the first turn is that with the guide. */
const answers = new Map<string, Promise<Message>>();

function asked(base: string, messages: readonly Message[]): Promise<Message> {
  const key = JSON.stringify(messages);
  const answer = answers.get(key) ?? answerOf(base, messages);
  answers.set(key, answer);
  return answer;
}

async function answerOf(base: string, messages: readonly Message[]): Promise<Message> {
  const { statusCode, body } = await request(`${base}/chat/completions`, {
    dispatcher: patient,
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model, messages, tools: offered, max_tokens: 120, temperature: 0 }),
  });
  if (statusCode !== 200) {
    const text = await body.text();
    // The call of a small model may be no JSON; it was made all the same.
    const [, name] = /called (\w+) with arguments/.exec(text) ?? [];
    if (name === undefined) throw new Error(`${statusCode} ${text}`);
    return { role: "assistant", content: null, tool_calls: [{ id: broken, function: { name } }] };
  }
  const { choices } = (await body.json()) as { choices: readonly { readonly message: Message }[] };
  const [choice] = choices;
  if (choice === undefined) throw new Error("an answer without a choice");
  return choice.message;
}
