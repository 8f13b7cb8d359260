import type { ServerResponse } from "node:http";
import type { LiveHistory, LiveState } from "../../orchestrator/api/facade-metrics.ts";
import type { Orchestrator } from "../../orchestrator/api/facade.ts";
import type { Log } from "../../orchestrator/api/log.ts";
import type { Timers } from "../../orchestrator/util/timers.ts";
import { type StreamLimits, commonHeaders, watchReader } from "./respond.ts";
import { messageOf } from "../../orchestrator/util/message-of.ts";

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

const calmMs = 1_000;
/** While a model generates, so that its tokens are seen to come. */
const busyMs = 250;
/** Proxies and browsers drop silent streams. */
const heartbeatMs = 15_000;
/** A page that is further behind reads everything again when it reconnects. */
const maxChanges = 100;

/**
 * The event streams of all pages: one look at the state serves them all, only while there are any, and is sent only when
 * something has changed. Events: `history` and `state` at once, then `state` and `change`.
 */
export class LiveFeed {
  readonly #parts: FeedParts;
  readonly #pages = new Set<Page>();
  /** The newest state as an event, and what of it was compared. */
  #state: { readonly event: string; readonly compared: string } | undefined;
  #stop: (() => void) | undefined;
  /** Known once the orchestrator is open. */
  #history: (() => LiveHistory) | undefined;

  constructor(parts: FeedParts) {
    this.#parts = parts;
  }

  get pages(): number {
    return this.#pages.size;
  }

  open(response: ServerResponse, limits: StreamLimits): void {
    response.writeHead(200, { ...commonHeaders, "content-type": "text/event-stream" });
    response.flushHeaders();
    const page = new Page(response, limits, (why) => this.#parts.log.warn(`dashboard: a stream was cut: ${why}`));
    this.#pages.add(page);
    response.once("close", () => this.#closed(page));
    if (response.destroyed) return this.#closed(page);
    this.#begin(page);
    if (this.#state !== undefined) page.send(this.#state.event);
    if (this.#stop !== undefined) return;
    this.#parts.onPages(true);
    this.#stop = this.#start();
  }

  #closed(page: Page): void {
    if (!this.#pages.delete(page)) return;
    page.close();
    if (this.#pages.size > 0) return;
    this.#stop?.();
    this.#stop = undefined;
    this.#state = undefined;
    this.#parts.onPages(false);
  }

  /** Looks at the state and the changes until the returned function is called. */
  #start(): () => void {
    const { log, open, timers } = this.#parts;
    let isStopped = false;
    let unsubscribe: (() => void) | undefined;
    let unwatch: (() => void) | undefined;
    let cancelLook = (): void => undefined;
    let cancelBeat = (): void => undefined;
    const beat = (): void => {
      for (const page of this.#pages) page.beat();
      cancelBeat = timers.after(heartbeatMs, beat);
    };
    cancelBeat = timers.after(heartbeatMs, beat);

    const look = async (): Promise<void> => {
      let waitMs = calmMs;
      try {
        const { orchestrator, state: stateOf } = await open();
        if (isStopped) return;
        unsubscribe ??= orchestrator.onChange((change) => {
          const text = JSON.stringify(change);
          for (const page of this.#pages) page.change(text);
        });
        // Other programs load and unload models, too.
        unwatch ??= orchestrator.watch("memory");
        this.#history ??= () => orchestrator.live.history();
        const state = await stateOf();
        if (isStopped) return;
        this.#show(state);
        if (state.operations.some(({ kind }) => kind !== "pull")) waitMs = busyMs;
      } catch (error) {
        log.debug(`dashboard: ${messageOf(error)}`);
      }
      if (!isStopped) cancelLook = timers.after(waitMs, () => void look());
    };
    void look();
    return () => {
      isStopped = true;
      cancelLook();
      cancelBeat();
      unsubscribe?.();
      unwatch?.();
    };
  }

  /** A page gets the history once, first. */
  #begin(page: Page): void {
    if (this.#history === undefined || page.hasBegun) return;
    page.begin(`event: history\ndata: ${JSON.stringify(this.#history())}\n\n`);
  }

  #show(state: LiveState): void {
    for (const page of this.#pages) this.#begin(page);
    const compared = comparable(state);
    if (compared === this.#state?.compared) return;
    const event = `event: state\ndata: ${JSON.stringify(state)}\n\n`;
    this.#state = { event, compared };
    for (const page of this.#pages) page.send(event);
  }
}

/**
 * Without what changes all the time and is hardly seen: the time, a four-hundredth of the memory, and the numbers in
 * warnings, such as the load of the machine.
 */
function comparable({ at: _at, memory, warnings, ...rest }: LiveState): string {
  const coarse = memory.totalBytes / 400;
  const seen = [memory.availableBytes, memory.otherBytes].map((bytes) => Math.round(bytes / coarse));
  const words = [...warnings, memory.warning ?? ""].map((text) => text.replaceAll(/\d[\d.]*/g, "#"));
  return JSON.stringify([rest, memory.models, memory.gpus, words, seen]);
}

/** One stream. A page that reads slowly gets the newest state when it has read the last one, and no more. */
class Page {
  readonly #response: ServerResponse;
  readonly #watcher: ReturnType<typeof watchReader>;
  #state: string | undefined;
  #hasBegun = false;
  /** Each once, until they are sent. */
  readonly #changes = new Set<string>();

  constructor(response: ServerResponse, limits: StreamLimits, onCut: (why: string) => void) {
    this.#response = response;
    this.#watcher = watchReader(response, limits, onCut);
    response.on("drain", () => this.#flush());
  }

  get hasBegun(): boolean {
    return this.#hasBegun;
  }

  begin(history: string): void {
    this.#hasBegun = true;
    this.#write(history);
  }

  send(state: string): void {
    this.#state = state;
    this.#flush();
  }

  change(text: string): void {
    this.#changes.add(text);
    if (this.#changes.size > maxChanges) this.#response.destroy();
    else this.#flush();
  }

  beat(): void {
    if (this.#hasRoom()) this.#write(": heartbeat\n\n");
  }

  close(): void {
    this.#watcher.close();
  }

  #flush(): void {
    if (!this.#hasRoom()) return;
    const changes = [...this.#changes].map((text) => `event: change\ndata: ${text}\n\n`).join("");
    const text = `${changes}${this.#state ?? ""}`;
    this.#changes.clear();
    this.#state = undefined;
    if (text !== "") this.#write(text);
  }

  /** Nothing is written behind what is unread. */
  #hasRoom(): boolean {
    return this.#watcher.hasRoom() && !this.#response.writableNeedDrain;
  }

  #write(text: string): void {
    this.#response.write(text);
    this.#watcher.wrote();
  }
}
