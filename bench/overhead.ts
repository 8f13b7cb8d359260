import { join } from "node:path";
import { startFakeOllama } from "../test/support/fake-ollama.ts";
import type { Bench } from "./bench.ts";
import { command, withCleanEnvironment } from "./support/environment.ts";
import type { LineClient } from "./support/line-client.ts";
import { onlyEngine, withDaemon, withFakeEngine, withProbedServer, withServer } from "./support/programs.ts";
import { median, percentile, rounded } from "./support/statistics.ts";

const calls = 300;
/** Over a direct request: the medians standalone and through front and daemon, and the 99th percentile of both. */
const bars = { standaloneMs: 0.6, frontMs: 0.75, p99Ms: 1, kilobytes: 140 } as const;

/** How the variants alternate. The first counts; the second shows the share of cold caches and unoptimized code. */
const phases = [
  { phase: "call by call", warmUpCalls: 50, turn: 1 },
  { phase: "warm, turns of 100", warmUpCalls: 700, turn: 100 },
] as const;
const model = "smollm2:135m";
const prompt = "Name three colours.";

export const overhead: Bench = {
  name: "overhead",
  summary: `route_and_generate through front and daemon, and standalone, beside a direct request to the same engine: at most +${bars.frontMs} and +${bars.standaloneMs} ms (median), +${bars.p99Ms} ms (p99), ${bars.kilobytes} kB allocated a call`,
  run: () =>
    withCleanEnvironment(async (environment) => {
      const requestsPerCall = await countRequests(environment);
      const kilobytes = await allocated(environment);
      const measured = await timePhases(environment);
      const rows = measured.flatMap(({ phase, ways }) =>
        ways.map(({ way, times }) => ({
          phase,
          way,
          median_ms: rounded(median(times), 3),
          p99_ms: rounded(percentile(times, 99), 3),
          fastest_ms: rounded(Math.min(...times), 3),
          over_direct_median_ms: rounded(over(ways, way).medianMs, 3),
          over_direct_p99_ms: rounded(over(ways, way).p99Ms, 3),
        })),
      );
      const judged = measured[0]?.ways ?? [];
      const [front, standalone] = [over(judged, "front and daemon"), over(judged, "standalone")];
      const told = ({ medianMs, p99Ms }: Over, barMs: number): string =>
        `+${medianMs.toFixed(3)} ms (bar +${barMs}${missed(medianMs <= barMs)}), p99 +${p99Ms.toFixed(3)} ms (bar +${bars.p99Ms}${missed(p99Ms <= bars.p99Ms)})`;
      return {
        rows,
        totals: { allocated_kb_per_call: kilobytes },
        verdict: [
          `call by call, medians of ${calls}: front and daemon ${told(front, bars.frontMs)}`,
          `standalone ${told(standalone, bars.standaloneMs)}`,
          `${kilobytes} kB allocated a call (bar ${bars.kilobytes}${missed(kilobytes <= bars.kilobytes)})`,
          `${requestsPerCall} backend requests a call (bar 1${missed(requestsPerCall === 1)})`,
        ].join("; "),
        passed:
          front.medianMs <= bars.frontMs &&
          standalone.medianMs <= bars.standaloneMs &&
          Math.max(front.p99Ms, standalone.p99Ms) <= bars.p99Ms &&
          kilobytes <= bars.kilobytes &&
          requestsPerCall === 1,
      };
    }),
};

const missed = (isReached: boolean): string => (isReached ? "" : ", missed");

/** Young enough to hold a turn of calls without a collection, in MiB. */
const youngHeap = 128;

/** Kilobytes that a warm call allocates in a standalone server, from its heap before and after turns of calls. */
function allocated(environment: Record<string, string>): Promise<number> {
  const turns = 15;
  const callsPerTurn = 20;
  return withFakeEngine([], (url) =>
    withProbedServer(
      [`--min-semi-space-size=${youngHeap}`, `--max-semi-space-size=${youngHeap}`],
      [command, "--standalone"],
      { ...environment, OLLM_HOME: join(environment["HOME"] ?? "", "allocating"), ...onlyEngine(url) },
      async (server, ask) => {
        for (let call = 0; call < 300; call += 1) await askServer(server);
        const perCall: number[] = [];
        for (let turn = 0; turn < turns; turn += 1) {
          const before = Number(await ask("heap"));
          for (let call = 0; call < callsPerTurn; call += 1) await askServer(server);
          perCall.push((Number(await ask("heap")) - before) / callsPerTurn / 1000);
        }
        return rounded(median(perCall), 0);
      },
    ),
  );
}

interface Way {
  readonly way: "direct fetch" | "standalone" | "front and daemon";
  readonly times: number[];
}

interface Over {
  readonly medianMs: number;
  readonly p99Ms: number;
}

function over(ways: readonly Way[], name: Way["way"]): Over {
  const timesOf = (way: Way["way"]): readonly number[] => ways.find((each) => each.way === way)?.times ?? [];
  const [way, direct] = [timesOf(name), timesOf("direct fetch")];
  return { medianMs: median(way) - median(direct), p99Ms: percentile(way, 99) - percentile(direct, 99) };
}

/** The fake runs as a process of its own, so that all ways pay the same for it. */
function timePhases(
  environment: Record<string, string>,
): Promise<readonly { readonly phase: string; readonly ways: readonly Way[] }[]> {
  return withFakeEngine([], (url) =>
    withBoth({ ...environment, ...onlyEngine(url) }, async (front, standalone) => {
      const measured: { readonly phase: string; readonly ways: readonly Way[] }[] = [];
      for (const { phase, warmUpCalls, turn } of phases) {
        const ways: readonly (Way & { ask(): Promise<void> })[] = [
          { way: "direct fetch", times: [], ask: () => askDirectly(url) },
          { way: "standalone", times: [], ask: () => askServer(standalone) },
          { way: "front and daemon", times: [], ask: () => askServer(front) },
        ];
        for (let call = -warmUpCalls; call < calls; call += turn) {
          for (const { ask, times } of ways) {
            for (let repeat = 0; repeat < turn; repeat += 1) {
              const elapsed = await timed(ask);
              if (call >= 0) times.push(elapsed);
            }
          }
        }
        measured.push({ phase, ways });
      }
      return measured;
    }),
  );
}

async function countRequests(environment: Record<string, string>): Promise<number> {
  const fake = await startFakeOllama();
  const counted = 20;
  try {
    const counting = {
      ...environment,
      OLLM_HOME: join(environment["HOME"] ?? "", "counting"),
      ...onlyEngine(fake.url),
    };
    return await withBoth(counting, async (front) => {
      // The second call looks at what the first one loaded; from then on the facts are known.
      for (let call = 0; call < 2; call += 1) await askServer(front);
      const before = fake.requests.length;
      for (let call = 0; call < counted; call += 1) await askServer(front);
      return (fake.requests.length - before) / counted;
    });
  } finally {
    await fake.close();
  }
}

/** A front with its daemon, and a standalone server in a home of its own. */
function withBoth<Result>(
  environment: Record<string, string>,
  run: (front: LineClient, standalone: LineClient) => Promise<Result>,
): Promise<Result> {
  const apart = { ...environment, OLLM_HOME: `${environment["OLLM_HOME"]}-standalone` };
  return withDaemon(environment, () =>
    withServer([], environment, (front) => withServer(["--standalone"], apart, (standalone) => run(front, standalone))),
  );
}

async function askServer(client: LineClient): Promise<void> {
  const answered = await client.request("tools/call", { name: "route_and_generate", arguments: { prompt, model } });
  if (answered.result === undefined || answered.result.isError === true) throw new Error(JSON.stringify(answered));
}

async function askDirectly(url: string): Promise<void> {
  const response = await fetch(`${url}/api/chat`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      model,
      messages: [{ role: "user", content: prompt }],
      stream: true,
      options: { num_ctx: 4096, num_predict: 4096 },
    }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(text);
}

async function timed(work: () => Promise<void>): Promise<number> {
  const started = performance.now();
  await work();
  return performance.now() - started;
}
