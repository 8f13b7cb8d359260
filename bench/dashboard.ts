import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { setTimeout as pause } from "node:timers/promises";
import { promisify } from "node:util";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { newestClaim } from "../src/ipc/claim-record.ts";
import type { LiveState } from "../src/orchestrator/api/facade-metrics.ts";
import { LastHour } from "../src/orchestrator/util/last-hour.ts";
import { signIn } from "../test/support/page-session.ts";
import type { Bench, BenchResult } from "./bench.ts";
import { type Browser, type RoomCost, measureRooms, seedRequests } from "./support/rooms.ts";
import { command, withCleanEnvironment } from "./support/environment.ts";
import { onlyEngine, withDaemon, withFakeEngine } from "./support/programs.ts";
import { median, rounded } from "./support/statistics.ts";

const run = promisify(execFile);
const bars = {
  firstPaintMs: 200,
  historyBytes: 5_000_000,
  corePercent: 1,
  taskMs: 50,
  daemonMs: 100,
  idleMs: 2,
} as const;
const manyModels = 215;
const manyRequests = 10_000;
const openPages = 10;
const paints = 10;
const defaultSeconds = 60;
/** Linux counts the time of a process in these. */
const ticksPerSecond = 100;

export const dashboard: Bench = {
  name: "dashboard",
  summary: `first paint in Chromium (bar ${bars.firstPaintMs} ms), memory of an hour of history (5 MB), CPU of ${openPages} open pages when nothing happens (${bars.corePercent} % of a core)`,
  options: ["seconds", "part"],
  help:
    "--part rooms: seven pages with 215 models and 10,000 kept requests, SECONDS each: longest task, processor time of the\n" +
    "daemon until the content is there and until 3 s after, work and bytes while nothing happens (bars: tasks of 50 ms at most, 100 ms, 2 ms a second).\n" +
    "SECONDS: how long the processor time of the two daemons is measured, side by side (60).\n" +
    "first_paint_ms: median of the first contentful paints of fresh browser contexts, from the navigation to the link on;\n" +
    "0 without the browser package (npm ci --prefix browser). idle_percent, pages_percent: processor time of the daemon\n" +
    `(user and system) as a share of one core, without a page and with ${openPages} streams that are read; 0 where the system\n` +
    "has no /proc.",
  async run({ seconds = String(defaultSeconds), part }) {
    if (part === "rooms") return costOfRooms(Number(seconds));
    const historyBytes = measureHistory();
    return withFakeEngine([], (url) =>
      withCleanEnvironment((idle) =>
        withCleanEnvironment((watched) =>
          withDaemon({ ...idle, ...onlyEngine(url) }, () =>
            withDaemon({ ...watched, ...onlyEngine(url) }, async () => {
              const environment = { ...watched, ...onlyEngine(url) };
              const cpu = await measureCpu(idle["OLLM_HOME"] ?? "", environment, Number(seconds));
              return resultOf({ historyBytes, ...cpu, paints: await measurePaints(environment), seconds });
            }),
          ),
        ),
      ),
    );
  },
};

interface Measured {
  readonly historyBytes: number;
  readonly idlePercent: number | undefined;
  readonly pagesPercent: number | undefined;
  readonly paints: readonly number[] | string;
  readonly seconds: string;
}

function resultOf({ historyBytes, idlePercent, pagesPercent, paints: painted, seconds }: Measured): BenchResult {
  const firstPaintMs = typeof painted === "string" ? undefined : rounded(median(painted));
  const row = {
    first_paint_ms: firstPaintMs ?? 0,
    history_bytes: historyBytes,
    idle_percent: rounded(idlePercent ?? 0, 2),
    pages_percent: rounded(pagesPercent ?? 0, 2),
  };
  const added = pagesPercent === undefined ? undefined : pagesPercent - (idlePercent ?? 0);
  const said = [
    firstPaintMs === undefined
      ? `first paint: not measured: ${String(painted)}`
      : `first paint ${firstPaintMs} ms (bar ${bars.firstPaintMs})`,
    `an hour of history ${historyBytes} bytes (bar ${bars.historyBytes})`,
    added === undefined
      ? "processor time: not measured: this system has no /proc"
      : `${openPages} open pages cost ${rounded(added, 2)} % of a core more than none over ${seconds} s (bar ${bars.corePercent})`,
  ];
  const isPainted = firstPaintMs === undefined || firstPaintMs < bars.firstPaintMs;
  const isCheap = added === undefined || added < bars.corePercent;
  return { rows: [row], verdict: said.join("; "), passed: isPainted && isCheap && historyBytes < bars.historyBytes };
}

/** The heap and the buffers that an hour with a sample a second adds. */
function measureHistory(): number {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const used = (): number => {
    for (let count = 0; count < 3; count++) collect();
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    return heapUsed + arrayBuffers;
  };
  const moment: Pick<LiveState, "memory" | "operations" | "tokens" | "queue"> = {
    memory: { totalBytes: 3, availableBytes: 1, models: [], otherBytes: 2, gpus: [] },
    operations: [],
    tokens: 0,
    queue: [],
  };
  const full = (): LastHour => {
    const history = new LastHour();
    for (let second = 0; second < 3_600; second++) history.add(moment, second * 1_000);
    return history;
  };
  // One alone is lost in what the collector finds meanwhile.
  full();
  const before = used();
  const histories = Array.from({ length: 100 }, full);
  const bytes = Math.round((used() - before) / histories.length);
  if (histories.some((history) => history.history().running.length !== 3_600)) throw new Error("a history has no hour");
  return bytes;
}

/** A link from the built command. */
async function linkOf(environment: Record<string, string>): Promise<URL> {
  const { stdout } = await run(process.execPath, [command, "dashboard", "--json"], { env: environment });
  return new URL((JSON.parse(stdout) as { url: string }).url);
}

async function measureCpu(
  idleHome: string,
  environment: Record<string, string>,
  seconds: number,
): Promise<Pick<Measured, "idlePercent" | "pagesPercent">> {
  const url = await linkOf(environment);
  // The idle daemon has the same code loaded.
  await linkOf({ ...environment, OLLM_HOME: idleHome });
  const { bearer: token } = await signIn(url);
  const abort = new AbortController();
  try {
    await Promise.all(Array.from({ length: openPages }, () => readStream(url.origin, token, abort.signal)));
    const pids = [idleHome, environment["OLLM_HOME"] ?? ""].map((home) => newestClaim(home)?.pid ?? 0);
    // What the start still does is over.
    await pause(Math.min(5, seconds) * 1_000);
    const before = await Promise.all(pids.map(ticksOf));
    const from = performance.now();
    await pause(seconds * 1_000);
    const after = await Promise.all(pids.map(ticksOf));
    const elapsed = (performance.now() - from) / 1_000;
    const [idlePercent, pagesPercent] = after.map((ticks, index) => {
      const start = before[index];
      return ticks === undefined || start === undefined
        ? undefined
        : ((ticks - start) / ticksPerSecond / elapsed) * 100;
    });
    return { idlePercent, pagesPercent };
  } finally {
    abort.abort();
  }
}

/** Resolves once the stream has begun; it is read until `signal` aborts. */
async function readStream(origin: string, token: string, signal: AbortSignal): Promise<void> {
  const answer = await fetch(`${origin}/dashboard/events`, { headers: { authorization: `Bearer ${token}` }, signal });
  if (!answer.ok || answer.body === null) throw new Error(`no stream: ${answer.status} ${await answer.text()}`);
  const reader = answer.body.getReader();
  const read = async (): Promise<void> => {
    while (!(await reader.read()).done);
  };
  await reader.read();
  read().catch(() => undefined);
}

/** User and system time of a process; undefined where there is no /proc. */
async function ticksOf(pid: number): Promise<number | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  if (text === undefined) return undefined;
  // The second field is the program's name, in parentheses, and may have blanks.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return Number(fields[11]) + Number(fields[12]);
}

/** A package of its own, which may not be installed: its modules are not this package's. */
const chromium = ["..", "browser", "chromium.ts"].join("/");

/** Or why there is none. */
async function launched(): Promise<Browser | string> {
  try {
    const { launchChromium } = (await import(new URL(chromium, import.meta.url).href)) as {
      launchChromium(): Promise<Browser>;
    };
    return await launchChromium();
  } catch (error) {
    return `no Chromium (npm ci --prefix browser): ${error instanceof Error ? (error.message.split("\n")[0] ?? "") : String(error)}`;
  }
}

async function costOfRooms(seconds: number): Promise<BenchResult> {
  const browser = await launched();
  if (typeof browser === "string") return { rows: [], verdict: `not measured: ${browser}`, passed: true };
  try {
    const rows = await withFakeEngine(["--echo-models", String(manyModels)], (url) =>
      withCleanEnvironment(async (clean) => {
        const environment = { ...clean, ...onlyEngine(url) };
        const home = environment["OLLM_HOME"] ?? "";
        await seedRequests(home, manyRequests);
        return withDaemon(environment, async () => {
          const link = await linkOf(environment);
          const pid = newestClaim(home)?.pid ?? 0;
          const spentMs = async () => ((await ticksOf(pid)) ?? 0) * (1_000 / ticksPerSecond);
          return measureRooms(browser, link, spentMs, seconds);
        });
      }),
    );
    const worst = (of: (row: RoomCost) => number): RoomCost =>
      rows.toSorted((one, other) => of(other) - of(one))[0] as RoomCost;
    const [task, daemon, idle] = [
      worst((row) => row.longest_task_ms),
      worst((row) => row.paint_ms),
      worst((row) => row.idle_ms_per_s),
    ];
    return {
      rows: rows.map((row) => ({ ...row })),
      verdict:
        `${manyModels} models, ${manyRequests} requests: longest task ${task.longest_task_ms} ms (${task.room}; bar ${bars.taskMs}); ` +
        `daemon ${daemon.paint_ms} ms until the content is there (${daemon.room}; bar ${bars.daemonMs}), ` +
        `${Math.max(...rows.map((row) => row.daemon_ms))} ms until three seconds after; ` +
        `idle ${idle.idle_ms_per_s} ms a second (${idle.room}; bar ${bars.idleMs})`,
      passed:
        task.longest_task_ms <= bars.taskMs && daemon.paint_ms <= bars.daemonMs && idle.idle_ms_per_s <= bars.idleMs,
    };
  } finally {
    await browser.close();
  }
}

/** Milliseconds to the first paint with content, of fresh contexts; or why there are none. */
async function measurePaints(environment: Record<string, string>): Promise<readonly number[] | string> {
  const browser = await launched();
  if (typeof browser === "string") return browser;
  try {
    const found: number[] = [];
    while (found.length < paints) {
      const context = await browser.newContext();
      const page = await context.newPage();
      await page.goto((await linkOf(environment)).href);
      found.push(Number(await page.evaluate(firstPaint)));
      await context.close();
    }
    return found;
  } finally {
    await browser.close();
  }
}

/** Runs in the page. */
const firstPaint = `new Promise((resolve) => {
  new PerformanceObserver((list) => {
    const [entry] = list.getEntriesByName("first-contentful-paint");
    if (entry) resolve(entry.startTime);
  }).observe({ type: "paint", buffered: true });
})`;
