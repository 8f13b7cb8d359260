import type { Log } from "../orchestrator/log.ts";
import type { Orchestrator } from "../orchestrator/facade.ts";
import { listEvents, type ChangeEvent } from "./list-events.ts";

type Source = Pick<Orchestrator, "onChange" | "watch">;

/** Changes on their way to the clients of one connection, or of one HTTP listener. */
export interface ChangeFeed {
  /** Tells when one of `uris` changes, until the answer is called; what needs looking at is looked at. None: lists only. */
  watch(uris: readonly string[]): () => void;
  /** Calls `listener` with every event until the answer is called. The SDK's `ServerEventBus` has the same method. */
  subscribe(listener: (event: ChangeEvent) => void): () => void;
  /** Listens to an orchestrator that is open already: changes of lists are told from here on, whoever watches. */
  attach(source: Source): void;
  /** Ends every watch. Nothing is told any more. */
  close(): void;
}

/**
 * The orchestrator is opened by the first watch, or given by `attach`; what is watched is looked at only while it is. One
 * URI may be watched many times over. It loads what it needs with the first watch: a connection that asks for none pays
 * nothing.
 */
export function createChangeFeed(open: () => Promise<Source>, log: Log): ChangeFeed {
  const counts = new Map<string, number>();
  const listeners = new Set<(event: ChangeEvent) => void>();
  const looks = new Map<"memory" | "models", () => void>();
  let attached: { readonly source: Source; readonly stop: () => void } | undefined;
  let parts: Parts | undefined;
  let loading: Promise<void> | undefined;
  let isClosed = false;

  function attach(source: Source): void {
    if (isClosed || attached !== undefined) return;
    const stop = source.onChange((change) => {
      // Without the parts nothing is watched yet: only lists can be told of.
      const events = parts?.events(change, counts.keys()) ?? listEvents(change);
      for (const event of events) for (const listener of listeners) listener(event);
    });
    attached = { source, stop };
  }

  /** Starts and ends the looks that the watched addresses need. */
  function adjust(): void {
    if (attached === undefined || parts === undefined) return;
    const needed = isClosed ? new Set() : parts.watched(counts.keys());
    for (const what of ["memory", "models"] as const) {
      if (needed.has(what)) {
        if (!looks.has(what)) looks.set(what, attached.source.watch(what));
      } else {
        looks.get(what)?.();
        looks.delete(what);
      }
    }
  }

  async function load(): Promise<void> {
    const [source, loaded] = await Promise.all([open(), loadParts()]);
    parts = loaded;
    attach(source);
  }

  /** An orchestrator that can't be opened now is tried again by the next watch. */
  function settle(): void {
    if (attached !== undefined && parts !== undefined) return adjust();
    loading ??= load()
      .then(adjust, (error: unknown) => log.warn(`watching: ${error instanceof Error ? error.message : String(error)}`))
      .finally(() => {
        loading = undefined;
      });
  }

  return {
    watch(uris) {
      for (const uri of uris) counts.set(uri, (counts.get(uri) ?? 0) + 1);
      if (!isClosed) settle();
      let isOver = false;
      return () => {
        if (isOver) return;
        isOver = true;
        for (const uri of uris) {
          const left = (counts.get(uri) ?? 0) - 1;
          if (left > 0) counts.set(uri, left);
          else counts.delete(uri);
        }
        adjust();
      };
    },
    subscribe(listener) {
      const own = (event: ChangeEvent): void => listener(event);
      listeners.add(own);
      return () => void listeners.delete(own);
    },
    attach,
    close() {
      isClosed = true;
      adjust();
      attached?.stop();
      listeners.clear();
      counts.clear();
    },
  };
}

type Parts = Awaited<ReturnType<typeof loadParts>>;

async function loadParts() {
  const [{ changeEvents, watchedBy }, { resources }] = await Promise.all([
    import("./change-notifications.ts"),
    import("../resources/index.ts"),
  ]);
  return {
    events: (change: Parameters<typeof changeEvents>[0], uris: Iterable<string>) =>
      changeEvents(change, uris, resources),
    watched: (uris: Iterable<string>) => watchedBy(uris, resources),
  };
}
