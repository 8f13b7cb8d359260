import type { ServerResponse } from "node:http";
import type { LiveHistory, LiveState } from "../../orchestrator/api/facade-metrics.ts";
import type { Change, Orchestrator } from "../../orchestrator/api/facade.ts";
import type { Log } from "../../orchestrator/api/log.ts";
import type { Timers } from "../../orchestrator/util/timers.ts";
import { type StreamLimits, commonHeaders, watchReader } from "./respond.ts";
import { messageOf } from "../../orchestrator/util/values.ts";

interface FeedParts {
  /** The facade's changes and its state for the pages. */
  open(): Promise<{
    readonly orchestrator: Pick<Orchestrator, "onChange" | "watch" | "live">;
    state(): Promise<LiveState>;
  }>;
  readonly timers: Timers;
  readonly log: Log;
  /** Called when the first page opens, and when the last one has closed. */
  readonly onPages: (isAnyOpen: boolean) => void;
}

/** Events come in bursts: states are at least this far apart. */
const leastMs = 100;
/** Measured memory, the load of the machine and the sums of today move by time alone: no event says that they did. */
const tickMs = 3_000;
/** The same is true of a running operation's tokens, bytes and speed, and of who waits for it. */
const busyMs = 250;
/** A page that is further behind reads everything again when it reconnects. */
const maxChanges = 100;

/**
 * The event streams of all pages, from the orchestrator's events: one state serves all pages, and is made only while there
 * are any. Events: `history` and `state` at once, then `state` and `change`.
 */
export function createLiveFeed({ open, timers, log, onPages }: FeedParts) {
  const pages = new Set<Page>();
  /** The newest state, as an event. */
  let newest: string | undefined;
  let stop: (() => void) | undefined;
  /** Known once the orchestrator is open. */
  let history: (() => LiveHistory) | undefined;

  /** A page gets the history once, first. */
  function begin(page: Page): void {
    if (history === undefined || page.hasBegun) return;
    page.begin(`event: history\ndata: ${JSON.stringify(history())}\n\n`);
  }

  function tell(change: Change): void {
    const text = JSON.stringify(change);
    for (const page of pages) page.change(text);
  }

  /** Makes a state after each event and each tick, until the returned function is called. */
  function start(): () => void {
    const ends: (() => void)[] = [];
    let isStopped = false;
    let isMaking = false;
    /** Something changed since the last state was begun. */
    let isDue = false;
    let begunAtMs = 0;
    let cancel = (): void => undefined;

    const later = (delayMs: number): void => {
      cancel();
      cancel = timers.after(delayMs, () => void make());
    };
    const changed = (): void => {
      if (!isDue && !isMaking) later(Math.max(0, begunAtMs + leastMs - timers.now()));
      isDue = true;
    };
    const make = async (): Promise<void> => {
      isMaking = true;
      isDue = false;
      begunAtMs = timers.now();
      let pauseMs = tickMs;
      try {
        const { orchestrator, state: stateOf } = await open();
        if (isStopped) return;
        if (ends.length === 0) {
          // Other programs load and unload models, too.
          ends.push(orchestrator.onChange(tell), orchestrator.live.onChange(changed), orchestrator.watch("memory"));
          history = () => orchestrator.live.history();
        }
        const state = await stateOf();
        if (isStopped) return;
        newest = `event: state\ndata: ${JSON.stringify(state)}\n\n`;
        for (const page of pages) {
          begin(page);
          page.send(newest);
        }
        if (state.operations.length > 0) pauseMs = busyMs;
      } catch (error) {
        log.debug(`dashboard: ${messageOf(error)}`);
        // Proxies and browsers drop silent streams.
        for (const page of pages) page.beat();
      }
      isMaking = false;
      if (!isStopped) later(isDue ? leastMs : pauseMs);
    };
    void make();
    return () => {
      isStopped = true;
      cancel();
      for (const end of ends) end();
    };
  }

  function closed(page: Page): void {
    if (!pages.delete(page)) return;
    page.close();
    if (pages.size > 0) return;
    stop?.();
    stop = undefined;
    newest = undefined;
    onPages(false);
  }

  return {
    pages: () => pages.size,
    open(response: ServerResponse, limits: StreamLimits): void {
      response.writeHead(200, { ...commonHeaders, "content-type": "text/event-stream" });
      response.flushHeaders();
      const page = createPage(response, limits, (why) => log.warn(`dashboard: a stream was cut: ${why}`));
      pages.add(page);
      response.once("close", () => closed(page));
      if (response.destroyed) return closed(page);
      begin(page);
      if (newest !== undefined) page.send(newest);
      if (stop !== undefined) return;
      onPages(true);
      stop = start();
    },
  };
}

/** One stream. A page that reads slowly gets the newest state when it has read the last one, and no more. */
function createPage(response: ServerResponse, limits: StreamLimits, onCut: (why: string) => void) {
  const watcher = watchReader(response, limits, onCut);
  let newest: string | undefined;
  /** Each once, until they are sent. */
  const changes = new Set<string>();
  /** Nothing is written behind what is unread. */
  const hasRoom = (): boolean => watcher.hasRoom() && !response.writableNeedDrain;

  function write(text: string): void {
    response.write(text);
    watcher.wrote();
  }

  function flush(): void {
    if (!hasRoom()) return;
    const text = [...changes].map((change) => `event: change\ndata: ${change}\n\n`).join("") + (newest ?? "");
    changes.clear();
    newest = undefined;
    if (text !== "") write(text);
  }

  response.on("drain", flush);
  return {
    hasBegun: false,
    begin(history: string): void {
      this.hasBegun = true;
      write(history);
    },
    send(state: string): void {
      newest = state;
      flush();
    },
    change(text: string): void {
      changes.add(text);
      if (changes.size > maxChanges) response.destroy();
      else flush();
    },
    beat(): void {
      if (hasRoom()) write(": heartbeat\n\n");
    },
    close: watcher.close,
  };
}

type Page = ReturnType<typeof createPage>;
