import { echoOf } from "../test/support/fake-ollama/echo.ts";
import type { Bench } from "./bench.ts";
import { withCleanEnvironment } from "./support/environment.ts";
import type { LineClient } from "./support/line-client.ts";
import { onlyEngine, withFakeEngine, withDaemon, withServer } from "./support/programs.ts";
import { median, rounded } from "./support/statistics.ts";

const fronts = 8;
const streamsPerFront = 8;
const streams = fronts * streamsPerFront;
const tokens = 100;
const tokensPerSecond = 50;
/** As many of one model as are sent to an Ollama at once, and enough models that no stream waits for another. */
const parallelPerModel = 4;
const models = streams / parallelPerModel;
const rounds = 5;
const bar = 0.97;

/** Second part: one model, which answers `parallelPerModel` at a time without a pace; all others wait. */
const callsPerRound = 512;
const shortTokens = 8;
const crowdBar = 0.9;

export const fanout: Bench = {
  name: "fanout",
  summary: `${fronts} fronts with ${streamsPerFront} streamed generations each: throughput at least ${bar} of the same ${streams} sent to the engine directly; ${streams} callers of one model: at least ${crowdBar} of ${parallelPerModel}`,
  run: () =>
    withCleanEnvironment(async (environment) => {
      const parallel = ["--parallel", String(parallelPerModel)];
      const pace = [...parallel, "--tokens-per-second", String(tokensPerSecond)];
      const spread = await withDaemonOf(environment, [...pace, ...echoing(models, tokens)], measure);
      const crowd = await withDaemonOf(environment, [...parallel, ...echoing(1, shortTokens)], measureCrowd);
      return {
        rows: [...spread.rows, ...crowd.rows],
        verdict: `${spread.verdict}\n${crowd.verdict}`,
        passed: spread.passed && crowd.passed,
      };
    }),
};

function echoing(count: number, length: number): readonly string[] {
  return ["--echo-models", String(count), "--echo-tokens", String(length)];
}

/** A fake engine, a daemon with a home of its own, and the fronts. */
function withDaemonOf<Result>(
  environment: Record<string, string>,
  args: readonly string[],
  run: (url: string, clients: readonly LineClient[]) => Promise<Result>,
): Promise<Result> {
  return withFakeEngine(args, (url) => {
    const env = { ...environment, ...onlyEngine(url) };
    return withDaemon(env, () => withFronts(fronts, env, (clients) => run(url, clients)));
  });
}

/** Whether a queue costs throughput: as many callers as the model answers at a time, and `streams`, in turns. */
async function measureCrowd(_url: string, clients: readonly LineClient[]) {
  const ways = [parallelPerModel, streams].map((callers) => ({ callers, seconds: [] as number[] }));
  let wrong = 0;
  for (let round = 0; round <= rounds; round += 1) {
    for (const { callers, seconds } of ways) {
      let asked = 0;
      const caller = async (_unused: unknown, stream: number): Promise<void> => {
        while (asked < callsPerRound) {
          const prompt = `Round ${round}, call ${(asked += 1)}`;
          if ((await askFront(clients[stream % fronts], 0, stream, prompt)) !== echoOf(prompt, shortTokens)) wrong += 1;
        }
      };
      const started = performance.now();
      await Promise.all(Array.from({ length: callers }, caller));
      if (round > 0) seconds.push((performance.now() - started) / 1_000);
    }
  }
  const ratio = median(ways[0]?.seconds ?? []) / median(ways[1]?.seconds ?? []);
  return {
    rows: ways.map(({ callers, seconds }) => ({
      way: `${callers} callers of one model`,
      median_s: rounded(median(seconds), 3),
      slowest_s: rounded(Math.max(...seconds), 3),
      tokens_per_second: rounded((callsPerRound * shortTokens) / median(seconds)),
    })),
    verdict: `${streams} callers of one model: throughput ${ratio.toFixed(3)} of ${parallelPerModel} callers, bar ${crowdBar}, medians of ${rounds} rounds of ${callsPerRound} calls; ${wrong} wrong answers, bar 0`,
    passed: ratio >= crowdBar && wrong === 0,
  };
}

async function measure(url: string, clients: readonly LineClient[]) {
  const ways = [
    {
      way: "direct",
      seconds: [] as number[],
      ask: (stream: number, text: string) => askDirectly(url, stream % models, text),
    },
    {
      way: "8 fronts, one daemon",
      seconds: [] as number[],
      ask: (stream: number, text: string) => askFront(clients[stream % fronts], stream % models, stream, text),
    },
  ];
  let mixedUp = 0;
  // One of each in turn; the first round loads the models.
  for (let round = 0; round <= rounds; round += 1) {
    for (const { ask, seconds } of ways) {
      const started = performance.now();
      const wrong = await Promise.all(
        Array.from({ length: streams }, async (_, stream) => {
          const prompt = `Round ${round}, stream ${stream}`;
          return (await ask(stream, prompt)) === echoOf(prompt, tokens) ? 0 : 1;
        }),
      );
      mixedUp += wrong.reduce<number>((sum, each) => sum + each, 0);
      if (round > 0) seconds.push((performance.now() - started) / 1_000);
    }
  }
  const throughput = ways.map(({ seconds }) => (streams * tokens) / median(seconds));
  const [direct = Number.NaN, through = Number.NaN] = throughput;
  return {
    rows: ways.map(({ way, seconds }, index) => ({
      way,
      median_s: rounded(median(seconds), 3),
      slowest_s: rounded(Math.max(...seconds), 3),
      tokens_per_second: rounded(throughput[index] ?? 0),
    })),
    verdict: `throughput ${(through / direct).toFixed(3)} of direct, bar ${bar}, medians of ${rounds} rounds of ${streams} streams; ${mixedUp} streams with foreign or missing bytes, bar 0`,
    passed: through / direct >= bar && mixedUp === 0,
  };
}

/** So many fronts at once, each introduced. */
function withFronts<Result>(
  count: number,
  environment: Record<string, string>,
  run: (clients: readonly LineClient[]) => Promise<Result>,
  clients: readonly LineClient[] = [],
): Promise<Result> {
  if (clients.length === count) return run(clients);
  return withServer([], environment, (client) => withFronts(count, environment, run, [...clients, client]));
}

async function askFront(
  client: LineClient | undefined,
  model: number,
  stream: number,
  prompt: string,
): Promise<string> {
  const input = { prompt, model: `echo-${model}:latest` };
  const params = { name: "route_and_generate", arguments: input, _meta: { progressToken: stream } };
  const answered = await client?.request("tools/call", params);
  const text = answered?.result?.structuredContent?.["text"];
  if (typeof text !== "string") throw new Error(JSON.stringify(answered));
  return text;
}

async function askDirectly(url: string, model: number, prompt: string): Promise<string> {
  const response = await fetch(`${url}/api/chat`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      model: `echo-${model}:latest`,
      messages: [{ role: "user", content: prompt }],
      stream: true,
    }),
  });
  const lines = (await response.text()).trim().split("\n");
  return lines.map((line) => (JSON.parse(line) as { message: { content: string } }).message.content).join("");
}
