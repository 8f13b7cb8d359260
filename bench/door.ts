import { fileURLToPath } from "node:url";
import type { Bench } from "./bench.ts";
import { withCleanEnvironment } from "./support/environment.ts";
import { withProgram, withServe } from "./support/programs.ts";
import { median, percentile, rounded } from "./support/statistics.ts";

const model = "smollm2";
const bars = { addedMs: 0.6, throughput: 0.97 };
const calls = 300;
const warmUpCalls = 100;
const streams = 64;
const tokens = 100;
const tokensPerSecond = 50;
const rounds = 5;
const fakeProgram = fileURLToPath(new URL("../test/support/fake-openai.ts", import.meta.url));
const proxyProgram = fileURLToPath(new URL("support/bare-proxy.ts", import.meta.url));

export const door: Bench = {
  name: "door",
  summary: `/v1/chat/completions through the daemon beside the engine direct: at most +${bars.addedMs} ms (median), ${streams} streams with at least ${bars.throughput} of the throughput`,
  help: "Engine, daemon, this client and a bare proxy in Node, which only passes on, are four processes. The engine answers at once for the time, and with a pace for the streams. What the proxy adds is what the machine and Node take at least.",
  async run() {
    const single = await withDoor(["--parallel", "4"], async (ways) => {
      for (let call = -warmUpCalls; call < calls; call += 1) {
        for (const { base, times } of ways) {
          const startedAt = performance.now();
          await ask(base, "Name three colours.", 16, false);
          if (call >= 0) times.push(performance.now() - startedAt);
        }
      }
      return ways;
    });
    const pace = ["--parallel", String(streams), "--tokens-per-second", String(tokensPerSecond)];
    const many = await withDoor(pace, async (ways) => {
      for (let round = 0; round <= rounds; round += 1) {
        for (const { base, times } of ways) {
          const startedAt = performance.now();
          const texts = Array.from({ length: streams }, (_, at) =>
            ask(base, `A long text, ${round}.${at}`, tokens, true),
          );
          await Promise.all(texts);
          if (round > 0) times.push(performance.now() - startedAt);
        }
      }
      return ways;
    });
    const [direct, proxy, own] = single.map(({ times }) => median(times)) as [number, number, number];
    const added = own - direct;
    const throughputOf = ({ times }: Way): number => median(many[0].times) / median(times);
    const throughput = throughputOf(many[2]);
    const row = (what: string) => (measured: Way) => ({
      what,
      way: measured.way,
      median_ms: rounded(median(measured.times), 3),
      p99_ms: rounded(percentile(measured.times, 99), 3),
      fastest_ms: rounded(Math.min(...measured.times), 3),
    });
    return {
      rows: [...single.map(row("one request")), ...many.map(row(`${streams} streams`))],
      verdict: `+${added.toFixed(3)} ms p50, bar +${bars.addedMs}${missed(added <= bars.addedMs)} (a bare proxy +${(proxy - direct).toFixed(3)}); ${streams} streams: throughput ${throughput.toFixed(3)} of direct, bar ${bars.throughput}${missed(throughput >= bars.throughput)} (a bare proxy ${throughputOf(many[1]).toFixed(3)})`,
      passed: added <= bars.addedMs && throughput >= bars.throughput,
    };
  },
};

const missed = (isReached: boolean): string => (isReached ? "" : ", missed");

interface Way {
  readonly way: string;
  /** Up to `/v1`. */
  readonly base: string;
  readonly times: number[];
}

/** An engine of its own process, a bare proxy of it, and a daemon that has only it and answers OpenAI's protocol. */
function withDoor<Result>(
  args: readonly string[],
  run: (ways: readonly [Way, Way, Way]) => Promise<Result>,
): Promise<Result> {
  return withCleanEnvironment((clean) =>
    withProgram(["--import", "tsx", fakeProgram, "--model", model, ...args], process.env, async ({ baseUrl = "" }) => {
      const environment = {
        ...clean,
        OLLM_PROVIDERS_OLLAMA_ENABLED: "false",
        OLLM_PROVIDERS_LLAMA_CPP_ENABLED: "false",
        OLLM_PROVIDERS_OPENAI: JSON.stringify([{ id: "fake", kind: "local", baseUrl }]),
        OLLM_HTTP_DOORS: "openai",
      };
      return await withProgram(["--import", "tsx", proxyProgram, baseUrl], process.env, (proxy) =>
        withServe(environment, (url) =>
          run([
            { way: "direct", base: baseUrl, times: [] },
            { way: "bare proxy", base: `${proxy["url"]}/v1`, times: [] },
            { way: "door", base: `${url}/v1`, times: [] },
          ]),
        ),
      );
    }),
  );
}

async function ask(base: string, content: string, maxTokens: number, stream: boolean): Promise<void> {
  const response = await fetch(`${base}/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model, messages: [{ role: "user", content }], max_tokens: maxTokens, stream }),
  });
  const text = await response.text();
  if (!response.ok || (stream && !text.includes("[DONE]"))) throw new Error(`${response.status} ${text}`);
}
