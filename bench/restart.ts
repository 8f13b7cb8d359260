import { loadavg } from "node:os";
import { setTimeout as pause } from "node:timers/promises";
import { newestClaim } from "../src/ipc/claim-record.ts";
import type { Bench } from "./bench.ts";
import { withCleanEnvironment } from "./support/environment.ts";
import type { LineClient } from "./support/line-client.ts";
import { onlyEngine, withFakeEngine, withDaemon, withServer } from "./support/programs.ts";
import { median, percentile, rounded } from "./support/statistics.ts";

const kills = 30;
const bars = { medianMs: 2_000, worstMs: 5_000 } as const;
/** A restart that takes longer than this hangs. */
const limitMs = 60_000;
/** As soon as a client repeats what it may repeat: a call that was under way ends with such an error. */
const retryMs = 20;
const model = "smollm2:135m";
const generate = { name: "route_and_generate", arguments: { prompt: "Name three colours.", model } };

export const restart: Bench = {
  name: "restart",
  summary: `kill -9 of the daemon to the next answer through a front that lives on, p50 and worst of ${kills}: at most ${bars.medianMs / 1_000} s and ${bars.worstMs / 1_000} s on an idle machine`,
  run: () =>
    withCleanEnvironment((environment) =>
      withFakeEngine([], async (url) => {
        const home = environment["OLLM_HOME"] ?? "";
        const own = { ...environment, ...onlyEngine(url) };
        const times = await withDaemon(own, () => withServer([], own, (client) => killAgainAndAgain(home, client)));
        const row = {
          kills,
          fastest_ms: rounded(Math.min(...times)),
          p50_ms: rounded(median(times)),
          p90_ms: rounded(percentile(times, 90)),
          worst_ms: rounded(Math.max(...times)),
          load_1_min: rounded(loadavg()[0] ?? 0),
        };
        return {
          rows: [row],
          verdict: `p50 ${row.p50_ms} ms (bar ${bars.medianMs}), worst ${row.worst_ms} ms (bar ${bars.worstMs}) of ${kills}; the machine's load was ${row.load_1_min}`,
          passed: row.p50_ms <= bars.medianMs && row.worst_ms <= bars.worstMs,
        };
      }),
    ),
};

async function killAgainAndAgain(home: string, client: LineClient): Promise<readonly number[]> {
  const times: number[] = [];
  await nextAnswer(client);
  while (times.length < kills) {
    const pid = newestClaim(home)?.pid;
    if (pid === undefined) throw new Error(`no daemon holds ${home}`);
    const killedAt = performance.now();
    process.kill(pid, "SIGKILL");
    await nextAnswer(client);
    times.push(performance.now() - killedAt);
  }
  return times;
}

async function nextAnswer(client: LineClient): Promise<void> {
  const deadline = performance.now() + limitMs;
  for (;;) {
    const answer = await client.request("tools/call", generate);
    if (answer.result !== undefined && answer.result.isError !== true) return;
    if (performance.now() > deadline) throw new Error(`no answer within ${limitMs} ms: ${JSON.stringify(answer)}`);
    await pause(retryMs);
  }
}
