import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, symlink } from "node:fs/promises";
import { loadavg } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { InvalidRequest } from "../src/orchestrator/api/errors.ts";
import { installedEngine } from "../test/support/engine.ts";
import { smolLm2 } from "../test/support/weights.ts";
import type { Bench } from "./bench.ts";
import { ended, startLlamaServer } from "./embedded-beside.ts";
import { command, withCleanEnvironment } from "./support/environment.ts";
import { withServe } from "./support/programs.ts";
import { median, percentile, rounded } from "./support/statistics.ts";

export const model = "bench:latest";
const bars = { throughput: 0.95, firstToken: 1.1, gapMs: 250 };

export const batch: Bench = {
  name: "batch",
  summary: `1, 2, 4 and 8 callers at once beside a real llama-server: tokens/s at least ${bars.throughput} of it, first token p95 at most ${bars.firstToken} ×, gap between tokens while another reads at most ${bars.gapMs} ms`,
  options: ["server", "weights", "callers", "tokens", "rounds", "context", "long"],
  help: [
    "--server PATH of the program llama-server, or OLLM_TEST_LLAMA_SERVER: with --parallel for as many callers. Without it the embedded engine alone.",
    "--weights FILE.gguf instead of SmolLM2-135M, --callers 1,2,4,8, --tokens N of an answer (64), --rounds N (3), --context N of a caller (2048).",
    "--long N: tokens of the prompt that one caller reads while another writes, default 8000; 0 leaves it out. The window is then as large as it needs.",
    "Both are asked by OpenAI's protocol in turn, round by round, and get prompts that nothing was read of. tokens_s: of all callers together, from the",
    "first question to the last token. together: how many answers were in progress at the same time, in the middle of the round.",
  ].join("\n"),
  async run({ server = process.env["OLLM_TEST_LLAMA_SERVER"], weights, ...given }) {
    const number = (name: string, usual: number) => Number(given[name] ?? usual);
    const callers = (given["callers"] ?? "1,2,4,8").split(",").map(Number);
    const [tokens, rounds] = [number("tokens", 64), number("rounds", 3)];
    const [context, long] = [number("context", 2_048), number("long", 8_000)];
    if (![...callers, tokens, rounds, context, long + 1].every((each) => Number.isSafeInteger(each) && each > 0))
      throw new InvalidRequest("--callers, --tokens, --rounds and --context take numbers from 1, --long from 0");
    const { file, reason } = weights === undefined ? await smolLm2() : { file: resolve(weights), reason: undefined };
    if (file === undefined) throw new Error(`no weights to measure: ${reason}`);
    const rows: Row[] = [];
    for (const count of callers) {
      const found = await compared(server, file, count, context, (ways) => callersOf(ways, count, tokens, rounds));
      rows.push(...found);
    }
    if (long > 0)
      rows.push(
        ...(await compared(server, file, 2, 2 * Math.ceil((long + 600) / 512) * 256 + 512, (ways) => gaps(ways, long))),
      );
    return { rows, ...judged(rows, loadavg()[0] ?? 0) };
  },
};

type Row = Readonly<
  Record<"what" | "way", string> & Record<"tokens_s" | "first_p95_ms" | "gap_p95_ms" | "together", number | string>
>;

/** One of both sides. */
interface Way {
  readonly way: "ollm" | "llama-server";
  /** Up to `/v1`. */
  readonly base: string;
}

function judged(rows: readonly Row[], load: number) {
  const of = (what: string, way: Way["way"]) => rows.find((row) => row.what === what && row.way === way);
  const misses: string[] = [];
  for (const { what, way, gap_p95_ms } of rows) {
    const [own, other] = [of(what, "ollm"), of(what, "llama-server")];
    if (way === "ollm" && gap_p95_ms !== "" && Number(gap_p95_ms) > bars.gapMs)
      misses.push(`${what}: gap ${gap_p95_ms} ms`);
    if (way !== "ollm" || own === undefined || other === undefined || gap_p95_ms !== "") continue;
    const [throughput, first] = [
      Number(own.tokens_s) / Number(other.tokens_s),
      Number(own.first_p95_ms) / Number(other.first_p95_ms),
    ];
    if (throughput < bars.throughput) misses.push(`${what}: ${throughput.toFixed(2)} of its tokens/s`);
    if (first > bars.firstToken) misses.push(`${what}: first token after ${first.toFixed(2)} of its time`);
  }
  const hasOther = rows.some(({ way }) => way === "llama-server");
  const reached = hasOther ? "all bars reached" : "no llama-server to compare with";
  return {
    verdict: `${misses.length === 0 ? reached : `missed: ${misses.join("; ")}`}; the machine's load was ${rounded(load)}`,
    ...((hasOther || misses.length > 0) && { passed: misses.length === 0 }),
  };
}

function compared<Result>(
  program: string | undefined,
  weights: string,
  callers: number,
  context: number,
  run: (ways: readonly Way[]) => Promise<Result>,
): Promise<Result> {
  return withDaemon(weights, context, async (base) => {
    if (program === undefined) return await run([{ way: "ollm", base }]);
    const { url, server } = await startLlamaServer(resolve(program), weights, callers * context, callers);
    try {
      return await run([
        { way: "ollm", base },
        { way: "llama-server", base: `${url}/v1` },
      ]);
    } finally {
      await ended(server);
    }
  });
}

async function callersOf(ways: readonly Way[], count: number, tokens: number, rounds: number): Promise<Row[]> {
  const found = ways.map((way) => ({
    ...way,
    speeds: [] as number[],
    firsts: [] as number[],
    together: [] as number[],
  }));
  // What it costs to serve them at once is found out in the first rounds.
  for (let round = -4; round < rounds; round += 1) {
    for (const way of found) {
      const startedAt = performance.now();
      const answers = await Promise.all(
        Array.from({ length: count }, (_, caller) => ask(way.base, storyFor(`${round}.${caller}`), tokens)),
      );
      const endedAt = Math.max(...answers.map(({ at }) => at.at(-1) ?? startedAt));
      if (round < 0) continue;
      const written = answers.reduce((sum, { at }) => sum + at.length, 0);
      const middle = (startedAt + endedAt) / 2;
      way.speeds.push(written / (endedAt - startedAt));
      way.firsts.push(...answers.map(({ at }) => (at[0] ?? endedAt) - startedAt));
      way.together.push(answers.filter(({ at }) => (at[0] ?? 0) < middle && (at.at(-1) ?? 0) > middle).length);
    }
  }
  return found.map(({ way, speeds, firsts, together }) => ({
    what: `${count} callers`,
    way,
    tokens_s: rounded(1_000 * median(speeds)),
    first_p95_ms: Math.round(percentile(firsts, 95)),
    gap_p95_ms: "",
    together: rounded(median(together)),
  }));
}

/** One writes while the other reads. */
async function gaps(ways: readonly Way[], long: number): Promise<Row[]> {
  const rows: Row[] = [];
  for (const { way, base } of ways) {
    for (const warm of ["a", "b"])
      await Promise.all([ask(base, storyFor(`1${warm}`), 24), ask(base, storyFor(`2${warm}`), 24)]);
    const stop = new AbortController();
    const at: number[] = [];
    const writing = ask(base, storyFor(`beside ${way}`), 8_000, stop.signal, at).catch(() => undefined);
    while (at.length < 5) await pause(20);
    const startedAt = performance.now();
    const words = Array.from(
      { length: long },
      (_, index) => ["fox", "river", "tree", "stone", "cloud"][(index * 7 + (index >> 3)) % 5],
    );
    const read = await ask(base, `${words.join(" ").slice(0, long * 5)} What was this about?`, 2);
    const firstAt = read.at[0] ?? performance.now();
    stop.abort();
    await writing;
    const during = at.filter((each) => each > startedAt && each < firstAt);
    const between = during.slice(1).map((each, index) => each - (during[index] ?? each));
    rows.push({
      what: `while another reads ${read.promptTokens} tokens`,
      way,
      tokens_s: rounded((1_000 * during.length) / (firstAt - startedAt)),
      first_p95_ms: Math.round(firstAt - startedAt),
      gap_p95_ms: between.length === 0 ? Math.round(firstAt - startedAt) : Math.round(percentile(between, 95)),
      together: 2,
    });
  }
  return rows;
}

const storyFor = (name: string) =>
  `Caller ${name} wants a very long story about a fox, a dog and a river. Begin at once.`;

/** When each token came, of an answer of the model to a prompt. */
export async function ask(
  base: string,
  content: string,
  maxTokens: number,
  signal?: AbortSignal,
  at: number[] = [],
  more: object = {},
) {
  const response = await fetch(`${base}/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      model,
      messages: [{ role: "user", content }],
      max_tokens: maxTokens,
      stream: true,
      stream_options: { include_usage: true },
      // Both write the same, so that neither ends sooner.
      temperature: 0,
      ...more,
    }),
    ...(signal && { signal }),
  });
  if (!response.ok || response.body === null) throw new Error(`${response.status} ${await response.text()}`);
  let [rest, text, promptTokens, completionTokens] = ["", "", 0, 0];
  for await (const bytes of response.body.pipeThrough(new TextDecoderStream())) {
    const lines = `${rest}${bytes}`.split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      if (!line.startsWith("data: {")) continue;
      const event = JSON.parse(line.slice(6)) as {
        choices?: { delta?: { content?: string } }[];
        usage?: { prompt_tokens?: number; completion_tokens?: number } | null;
        error?: unknown;
      };
      if (event.error !== undefined) throw new Error(line);
      const piece = event.choices?.[0]?.delta?.content ?? "";
      if (piece !== "") at.push(performance.now());
      text += piece;
      promptTokens = event.usage?.prompt_tokens ?? promptTokens;
      completionTokens = event.usage?.completion_tokens ?? completionTokens;
    }
  }
  return { at, text, promptTokens, completionTokens };
}

/** `run` gets the base of the OpenAI-compatible API of a daemon, and a way to run a command beside it. */
export function withDaemon<Result>(
  weights: string,
  context: number,
  run: (base: string, runCommand: (...args: string[]) => Promise<void>) => Promise<Result>,
): Promise<Result> {
  return withCleanEnvironment(async (clean) => {
    const home = clean["OLLM_HOME"] ?? "";
    await mkdir(home, { recursive: true });
    await symlink((await installedEngine()).enginesFolder, join(home, "engines"), "junction");
    const environment = {
      ...clean,
      OLLM_PROVIDERS_OLLAMA_ENABLED: "false",
      OLLM_PROVIDERS_OLLAMA_OPTIONS_NUM_CTX: String(context),
      OLLM_HTTP_DOORS: "openai",
    };
    const runCommand = async (...args: string[]) => {
      const program = spawn(process.execPath, [command, ...args], { env: environment, stdio: "ignore" });
      if ((await once(program, "exit"))[0] !== 0) throw new Error(`ollm ${args.join(" ")} failed`);
    };
    await runCommand("import", weights, model);
    return await withServe(environment, (url) => run(`${url}/v1`, runCommand));
  });
}
