import type { Bench } from "./bench.ts";
import { type Call, withSmolLm2 } from "./embedded.ts";
import { median, rounded } from "./support/statistics.ts";

const model = "smollm2:135m";
const jobTokens = 2_000;
const questionTokens = 8;
const questions = 5;
const barMs = 1_000;
const contextTokens = 4_096;

/** Long enough for thousands of tokens. */
const job = {
  model,
  system: "You are a tireless author.",
  prompt:
    "Write all of the US states with their capital, population, history, food and climate, one paragraph for each state.",
  max_tokens: jobTokens,
  temperature: 0,
  context_tokens: contextTokens,
  use_memory: false,
};
const question = { prompt: "What is the capital of France?", max_tokens: questionTokens, temperature: 0 };

export const preempt: Bench = {
  name: "preempt",
  summary: `a question of ${questionTokens} tokens beside a job of ${jobTokens} on one model of the embedded engine: starts within ${barMs} ms, and the job's text stays the same`,
  run: () =>
    withSmolLm2(
      async (call) => {
        await call("smart_load", { model, context_tokens: contextTokens });
        const row = await compare(call);
        const { slowest_start_ms: slowestMs } = row;
        const isSame = row.same_text === "yes";
        return {
          rows: [row],
          verdict: `the slowest question began to be answered after ${slowestMs} ms, bar ${barMs}; the text of the job is ${isSame ? "" : "NOT "}the same`,
          passed: slowestMs <= barMs && isSame,
        };
      },
      { environment: { OLLM_JOBS_PATIENCE: "1" } },
    ),
};

/** The job alone, then with questions beside it. */
async function compare(call: Call) {
  const alone = await finish(call, await start(call));
  const id = await start(call);
  const started: number[] = [];
  const answered: number[] = [];
  for (let asked = 0; asked < questions; asked += 1) {
    const atMs = performance.now();
    const given = await call("route_and_generate", { ...question, explain: true });
    const { timing } = "job" in given ? await resultOf(call, String(given["job"])) : given;
    answered.push(performance.now() - atMs);
    const { queue_ms: queueMs = 0, load_ms: loadMs = 0, first_token_ms: firstMs } = timing as Record<string, number>;
    started.push(queueMs + loadMs + (firstMs ?? Number.NaN));
  }
  const beside = await finish(call, id);
  return {
    job_tokens: beside.tokens,
    alone_s: rounded(alone.ms / 1_000),
    with_questions_s: rounded(beside.ms / 1_000),
    median_start_ms: Math.round(median(started)),
    slowest_start_ms: Math.round(Math.max(...started)),
    slowest_answer_ms: Math.round(Math.max(...answered)),
    same_text: alone.text === beside.text ? "yes" : "no",
  };
}

interface Started {
  readonly id: string;
  readonly atMs: number;
}

/** Returns once the client let go of the request, which is then a job. */
async function start(call: Call): Promise<Started> {
  const atMs = performance.now();
  const { job: id } = await call("route_and_generate", job);
  if (typeof id !== "string") throw new Error("the answer was too short for a job");
  return { id, atMs };
}

async function finish(call: Call, { id, atMs }: Started) {
  const { text, completion_tokens: tokens } = await resultOf(call, id);
  return { text: String(text), tokens: Number(tokens), ms: performance.now() - atMs };
}

async function resultOf(call: Call, id: string): Promise<Record<string, unknown>> {
  for (;;) {
    const { state, result, error } = await call("job", { action: "wait", job_id: id });
    if (state === "running") continue;
    if (state !== "succeeded") throw new Error(`the job ${String(state)}: ${String(error)}`);
    return result as Record<string, unknown>;
  }
}
