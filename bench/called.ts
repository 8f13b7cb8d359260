import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { loadavg, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { Agent, request } from "undici";
import { hookAnswer } from "../src/cli/hook.ts";
import { InvalidRequest } from "../src/orchestrator/api/errors.ts";
import { guideText } from "../src/resources/guide.ts";
import { toolEntry } from "../src/server/mcp/handle-tools.ts";
import { instructionsFor } from "../src/server/mcp/instructions.ts";
import { tools } from "../src/tools/index.ts";
import { model, withDaemon } from "./batch.ts";
import type { Bench } from "./bench.ts";

const delegating = "route_and_generate";
const ways = ["instructions", "guide"] as const;
/** After the model asked to read a large file: what the hook adds, or says in place of the file. */
const hooks = ["no hook", "line", "refusal"] as const;

export const called: Bench = {
  name: "called",
  summary:
    "how often a small model that plays the assistant hands work over: 40 delegable and 40 other prompts, with and without guide; and after a large read, with and without hook",
  options: ["weights", "spread", "guide", "set", "way"],
  help: [
    "--weights FILE.gguf of a model with tools, such as Qwen2.5-Coder-1.5B-Instruct; --spread N: N prompts of each kind, evenly chosen",
    "(40); --set judging or tuning: the prompts of `ranking`, by default both sets; --guide FILE: a text in place of our guide; --way: one of",
    `${[...ways, ...hooks].join(", ")}.`,
    "The model gets Read, Bash and Write, our default tools and our instructions, as from an assistant, with `guide` also the text that",
    "`ollm setup --guide` writes. A first call of Read or Bash is answered with a short text; then it may call once more. called:",
    "route_and_generate, in one of the two turns. For the hook, without the guide, its first turn is given: it asked to read a file of",
    "24,000 tokens, and gets the first lines without the hook, the hook's line above them (`ollm setup --plugin`), or a refusal",
    "(OLLM_HOOK=refuse).",
    "It says what these texts do to a model of this size, which follows instructions poorly. It can't say how often a large model delegates:",
    "only the direction of a difference may carry over, and no assistant's own prompt of thousands of tokens is in it.",
    "A row is printed for each prompt; on two quiet cores the whole takes more than an hour with 1.5B.",
  ].join("\n"),
  async run({ weights, spread = "40", guide, set, way: only }) {
    const most = Number(spread);
    if (weights === undefined) throw new InvalidRequest("--weights names the model that plays the assistant");
    if (!Number.isSafeInteger(most) || most < 1) throw new InvalidRequest("--spread takes a number from 1");
    const sets = JSON.parse(await readFile(new URL("ranking/requests.json", import.meta.url), "utf8")) as Record<
      string,
      Record<"delegable" | "other", readonly string[]>
    >;
    const chosen = set === undefined ? Object.values(sets) : [sets[set] ?? []].flat();
    if (chosen.length === 0) throw new InvalidRequest(`--set takes ${Object.keys(sets).join(" or ")}`);
    const played = [...ways, ...hooks].filter((each) => only === undefined || each === only);
    if (played.length === 0) throw new InvalidRequest(`--way takes one of ${[...ways, ...hooks].join(", ")}`);
    const given = guide === undefined ? guideText : await readFile(guide, "utf8");
    const said: Readonly<Record<string, string>> = await hookWords();
    const rows = await withDaemon(resolve(weights), 8_192, async (base) => {
      const counted: Record<string, string | number>[] = [];
      for (const way of played) {
        for (const kind of ["delegable", "other"] as const) {
          const all = chosen.flatMap((each) => each[kind]);
          const prompts = all.filter(
            (_, at) => Math.floor((at * most) / all.length) !== Math.floor(((at - 1) * most) / all.length),
          );
          const row = { way, kind, prompts: prompts.length, called: 0, own_tool: 0, text: 0, seconds: 0 };
          const startedAt = performance.now();
          for (const prompt of prompts) {
            const made = await play(base, prompt, way === "guide" ? given : "", said[way]);
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

const file = "input.txt";
const shown = `(the first lines)\n${"The ferry left at noon. It was late, and the heron stood on the pier.\n".repeat(20)}`;

/** What the model gets of the file, by what the hook does; in the hook's own words. */
async function hookWords(): Promise<Readonly<Record<(typeof hooks)[number], string>>> {
  const folder = await mkdtemp(join(tmpdir(), "ollm-called-"));
  try {
    await writeFile(join(folder, file), "The ferry left at noon.\n".repeat(4_000));
    await writeFile(join(folder, "summary.json"), '{"models":[{"name":"qwen3:8b"}]}');
    const input = JSON.stringify({ cwd: folder, tool_input: { file_path: file } });
    const wordsOf = (mode: string) => Object.values(hookAnswer(input, folder, { OLLM_HOOK: mode }) ?? {}).at(-1) ?? "";
    return { "no hook": shown, line: `${wordsOf("")}\n${shown}`, refusal: wordsOf("refuse") };
  } finally {
    await rm(folder, { recursive: true });
  }
}

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

/** The tools that the model calls, of at most two. `read`: what it got after it asked to read a file. */
async function play(base: string, prompt: string, guide: string, read?: string): Promise<readonly string[]> {
  const system = [
    "You are a coding assistant with tools on the user's machine. Do what the user asks: call a tool, or answer.",
    instructionsFor([{ name: "qwen3:8b", tokensPerSecond: 20 }]),
    guide,
  ];
  const messages: Message[] = [
    { role: "system", content: system.filter((text) => text !== "").join("\n\n") },
    { role: "user", content: prompt },
  ];
  if (read !== undefined) {
    const name = /[\w./-]+\.(?:md|json|txt|csv|py|ts|log)\b/.exec(prompt)?.[0] ?? file;
    const call = {
      id: "read",
      type: "function",
      function: { name: "Read", arguments: JSON.stringify({ file_path: name }) },
    };
    const content = read.replaceAll(file, name);
    messages.push(
      { role: "assistant", content: null, tool_calls: [call] },
      { role: "tool", tool_call_id: "read", content },
    );
  }
  const made: string[] = [];
  for (let turn = read === undefined ? 0 : 1; turn < 2; turn += 1) {
    const message = await asked(base, messages);
    const [call] = message.tool_calls ?? [];
    if (call === undefined) break;
    made.push(call.function.name, ...(call.id === broken ? [broken] : []));
    if (call.id === broken || !["Read", "Bash"].includes(call.function.name)) break;
    messages.push(message, {
      role: "tool",
      tool_call_id: call.id,
      content: "(the first lines)\nThe ferry left at noon.",
    });
  }
  return made;
}

const broken = "with broken arguments";
/** The first answer of a way comes when thousands of tokens were read. */
const patient = new Agent({ headersTimeout: 0, bodyTimeout: 0 });

async function asked(base: string, messages: readonly Message[]): Promise<Message> {
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
