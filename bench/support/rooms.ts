import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import type { RequestRow } from "../../src/orchestrator/api/events.ts";

/** What is used of playwright, whose package is `browser/`'s. */
export interface Browser {
  newContext(): Promise<Context>;
  close(): Promise<void>;
}
interface Context {
  newPage(): Promise<Page>;
  newCDPSession(page: Page): Promise<{
    send(method: string): Promise<{ metrics?: readonly { name: string; value: number }[] }>;
  }>;
  close(): Promise<void>;
}
interface Page {
  goto(url: string): Promise<unknown>;
  evaluate(script: string): Promise<unknown>;
  addInitScript(script: string): Promise<unknown>;
  waitForSelector(selector: string): Promise<unknown>;
}

export interface RoomCost {
  readonly room: string;
  /** Longest task of the page from its opening to three seconds after, milliseconds; 0: none over 50. */
  readonly longest_task_ms: number;
  /** Processor time of the daemon from the address until the content is there, milliseconds. */
  readonly paint_ms: number;
  /** The same until three seconds after, with what the page asks for then. */
  readonly daemon_ms: number;
  /** Work of the page's main thread while nothing happens, milliseconds a second. */
  readonly idle_ms_per_s: number;
  /** Sent to the page meanwhile, bytes a second. */
  readonly idle_bytes_per_s: number;
  readonly rows_shown: number;
}

/** By its address: what shows that its content is there. */
const rooms: Readonly<Record<string, string>> = {
  overview: ".figures",
  activity: "main tbody th",
  decisions: "main .card, main .empty",
  models: "main tbody th",
  compare: "main form, main .card",
  profiles: "main tbody tr",
  settings: "main .card",
};

/** `requests.json` of a home with `count` requests of the last day, of 12 models, 5 clients and 6 tasks. */
export async function seedRequests(home: string, count: number): Promise<void> {
  const now = Date.now();
  const rows = Array.from({ length: count }, (_, at): RequestRow => {
    const failed = at % 23 === 0;
    const model = `echo-${at % 12}`;
    return {
      id: `seed-${at}`,
      startedAt: new Date(now - (count - at) * 8_000).toISOString(),
      client: `client ${at % 5}`,
      task: `task ${at % 6}`,
      profile: "fast",
      model,
      engine: "ollama",
      outcome: failed ? "failed:ENGINE_UNAVAILABLE" : "answered",
      attempts: [{ model, engine: "ollama", count: 1, ...(failed && { error: "ENGINE_UNAVAILABLE" }) }],
      queueMs: at % 7,
      loadMs: 0,
      firstTokenMs: 20 + (at % 50),
      totalMs: 200 + (at % 300),
      promptTokens: 500,
      cachedPromptTokens: 100,
      completionTokens: 40,
      localTokens: [500, 40],
      tokensPerSecond: 30 + (at % 20),
    };
  });
  await mkdir(home, { recursive: true });
  await writeFile(join(home, "requests.json"), JSON.stringify({ schemaVersion: 1, sequence: 0, rows }));
}

/** One room after the other in one page, each loaded anew. `ticks`: processor time of the daemon, milliseconds. */
export async function measureRooms(
  browser: Browser,
  link: URL,
  ticks: () => Promise<number>,
  seconds: number,
): Promise<readonly RoomCost[]> {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.addInitScript(watchTasks);
  await page.goto(link.href);
  await page.waitForSelector(".figures");
  const devtools = await context.newCDPSession(page);
  await devtools.send("Performance.enable");
  const taskMs = async (): Promise<number> => {
    const { metrics = [] } = await devtools.send("Performance.getMetrics");
    return (metrics.find(({ name }) => name === "TaskDuration")?.value ?? 0) * 1_000;
  };
  const found: RoomCost[] = [];
  for (const [room, selector] of Object.entries(rooms)) {
    await page.goto("about:blank");
    const before = await ticks();
    await page.goto(`${link.origin}/dashboard#/${room}`);
    await page.waitForSelector(selector);
    const paintMs = (await ticks()) - before;
    await pause(3_000);
    const daemonMs = (await ticks()) - before;
    const longest = Number(await page.evaluate("Math.max(0, ...longTasks)"));
    const rows = Number(await page.evaluate("document.querySelectorAll('main tbody th').length"));
    const [from, tasks, bytes] = [performance.now(), await taskMs(), Number(await page.evaluate(sent))];
    await pause(seconds * 1_000);
    const elapsed = (performance.now() - from) / 1_000;
    found.push({
      room,
      longest_task_ms: Math.round(longest),
      paint_ms: Math.round(paintMs),
      daemon_ms: Math.round(daemonMs),
      idle_ms_per_s: Math.round((((await taskMs()) - tasks) / elapsed) * 10) / 10,
      idle_bytes_per_s: Math.round((Number(await page.evaluate(sent)) - bytes) / elapsed),
      rows_shown: rows,
    });
  }
  await context.close();
  return found;
}

/** Runs in the page before its scripts: tasks over 50 ms, and the bytes of what streams brought. */
const watchTasks = `
  globalThis.longTasks = [];
  globalThis.streamed = 0;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) longTasks.push(entry.duration);
  }).observe({ type: "longtask", buffered: true });
  const read = ReadableStreamDefaultReader.prototype.read;
  ReadableStreamDefaultReader.prototype.read = async function (...args) {
    const result = await read.apply(this, args);
    streamed += result.value?.byteLength ?? result.value?.length ?? 0;
    return result;
  };`;
const sent = "streamed";
