import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { formatBytes } from "../../src/orchestrator/util/format-bytes.ts";
import type { ToolAnswers, ToolInputs } from "../../src/tools/index.ts";
import { writeTinyGguf } from "../../test/support/tiny-gguf.ts";
import type { DemoClient } from "./client.ts";
import { kinds, taskFor, valueIn, type Kind, type Sample } from "./kinds.ts";
import { count, say } from "./print.ts";
import { starterName } from "./starter.ts";

type Generated = ToolAnswers["route_and_generate"];

/** 11 kB of prose, which makes fewer tokens than code or tables of that length. */
const file = "LICENSE";

/** One unseen sentence of each kind, with the right answer beside the model's. */
export async function showTasks(client: DemoClient, model: string): Promise<void> {
  say(
    "These tasks are chosen: a very small model can do them. Each answer is compared with the right one, which the " +
      "model does not see.",
  );
  for (const kind of kinds) await showTask(kind, (input) => client.call("route_and_generate", { ...input, model }));
  await showOllama(client);
  if (model !== starterName) return;
  const right = kinds.map((kind) => `${kind.name} ${kind.right}`).join(", ");
  say(
    "With other kinds (topics, capitals, opposites) it failed too often to be shown here. Right of ten " +
      `sentences that its prompts were not chosen on: ${right} (repeat it with: npm run bench -- demo-tasks).`,
  );
}

/** An extra: the smallest chat model of an Ollama that runs here gets one sentence, too. Its failure is said. */
async function showOllama(client: DemoClient): Promise<void> {
  const { models } = await client.call("list_models", { capability: "completion", verbose: true });
  const [smallest] = models
    .filter(({ engine, is_remote, fits }) => engine === "ollama" && is_remote !== true && fits === true)
    .toSorted((a, b) => a.size_bytes - b.size_bytes);
  const [kind] = kinds;
  if (smallest === undefined || kind === undefined) return;
  say(`Ollama is running, so its models are used, too. ${smallest.name} on Ollama:`);
  try {
    await showTask(kind, (input) => client.call("route_and_generate", { ...input, model: smallest.name }));
  } catch (error) {
    say(`That failed: ${error instanceof Error ? error.message : String(error)}`);
  }
}

async function showTask(
  kind: Kind,
  ask: (input: ToolInputs["route_and_generate"]) => Promise<Generated>,
): Promise<Generated> {
  const [sentence, expected] = anyOf(kind.unseen);
  const answer = await ask(taskFor(kind, sentence));
  const value = valueIn(kind, answer.text) ?? "no answer";
  say(`"${sentence}"`, "  ");
  say(`${value === expected ? "✓" : "✗"} ${kind.question} ${value} (right: ${expected})`, "  ");
  return answer;
}

function anyOf(samples: readonly Sample[]): Sample {
  const sample = samples[Math.floor(Math.random() * samples.length)];
  if (sample === undefined) throw new Error("no sentence to ask for");
  return sample;
}

/** What a question about a file costs an assistant, and what a second one on the same file takes. */
export async function showFile(client: DemoClient, model: string, root: string): Promise<void> {
  const text = await readFile(path.join(root, file), "utf8");
  const { countTokens } = await import("gpt-tokenizer/encoding/o200k_base");
  const ask = async (prompt: string) => {
    const input = { model, files: [file], prompt, max_tokens: 24, temperature: 0, use_memory: false, explain: true };
    const { answer, text: shown } = await client.callForText("route_and_generate", input);
    // Clients give their model the one form of the answer or the other.
    const answered = Math.max(countTokens(shown), countTokens(JSON.stringify(answer)));
    return { firstMs: answer.timing?.first_token_ms ?? 0, tokens: countTokens(JSON.stringify(input)) + answered };
  };
  const first = await ask("What may I do with this project?");
  const read = countTokens(text);
  say(
    `The server read ${file} (${formatBytes(Buffer.byteLength(text))}) and gave it to the model. By reading it, your ` +
      `assistant would have paid ${count(read)} tokens; it paid ${count(first.tokens)}, for the call and its answer ` +
      "(counted with the tokenizer o200k).",
  );
  const second = await ask("Which conditions does it name?");
  const ratio = first.firstMs / Math.max(1, second.firstMs);
  say(
    `First token after ${seconds(first.firstMs)}. A second question on the same file: after ${seconds(second.firstMs)}` +
      (ratio > 1.5 ? `, ${count(ratio)} times sooner, because what was read is kept.` : "."),
  );
  say("At this size, answers about long texts are often wrong: they are not shown.");
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
}

/** What a step needs that changes models of the home. */
export interface FallbackTools {
  /** A client whose `model.default` is this model. */
  connect(model: string): Promise<DemoClient>;
  /** Deletes the model without this process's connection, which an interrupt may have ended. */
  remove(model: string): Promise<void>;
}

/** Prefers a model whose file is damaged: another one answers, and says why. */
export async function showFallback(client: DemoClient, { connect, remove }: FallbackTools): Promise<void> {
  // Failures are remembered for a while, so the name is new each time.
  const model = `demo-damaged:${process.pid}`;
  const folder = await mkdtemp(path.join(tmpdir(), "ollm-demo-"));
  let isThere = false;
  try {
    const from = path.join(folder, "damaged.gguf");
    // Its header promises a third layer, which is missing.
    await writeTinyGguf(from, { contextLength: 8192, metadata: [["llama.block_count", "u32", 3]] });
    isThere = true;
    await client.call("pull_model", { model, from, engine: "llama-cpp" });
    say(`${model} is a file with a missing layer, and this request prefers it:`);
    const preferring = await connect(model);
    try {
      const [, city] = kinds;
      if (city === undefined) return;
      const answer = await showTask(city, (input) =>
        preferring.call("route_and_generate", { ...input, explain: true }),
      );
      for (const line of whyThisModel(answer)) say(line);
    } finally {
      await preferring.close();
    }
  } finally {
    // First, because a file that something else uses keeps its weights.
    await rm(folder, { recursive: true, force: true });
    if (isThere) {
      const deletion = client.call("manage_model", { action: "delete", model, confirm: true });
      await deletion.catch(() => remove(model));
    }
  }
}

/** The explanation that came with an answer, a sentence each. */
export function whyThisModel({ model, reason, route }: Generated): readonly string[] {
  const failed = (route?.attempts ?? []).slice(0, -1);
  const rejected = (route?.considered ?? []).filter((each) => each.rejected !== undefined).slice(0, 3);
  return [
    ...failed.map(({ outcome }) => `failed: ${outcome}`),
    ...rejected.map((each) => `not asked: ${each.model}, which ${each.rejected}`),
    `${model} answered. Why this model: ${reason}.`,
  ];
}
