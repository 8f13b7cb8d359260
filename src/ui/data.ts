/** Data that a page reads: again when it changed, and after a new connection. */
import { type ReadonlySignal, computed, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { Change } from "../orchestrator/api/facade.ts";
import { connection, connectionCount, notifyError, onChange } from "./state.ts";

export interface Loaded<Data> {
  /** The newest data; kept while it is read again, also when that fails. */
  readonly data: ReadonlySignal<Data | undefined>;
  readonly error: ReadonlySignal<unknown>;
  readonly reload: () => void;
  /** Resolves when it was read again, or failed again. */
  readonly retry: () => Promise<void>;
}

/**
 * Moves when everything is to be read: with each connection, or at the first that failed. Nothing is read (-1) before the
 * stream says what changes, or it would be read twice.
 */
const readCount = computed(() => {
  if (connectionCount.value > 0) return connectionCount.value;
  return connection.value.state === "reconnecting" ? 0 : -1;
});

/** Changes come in bursts; one read serves them. */
const pauseMs = 300;

/**
 * Reads data for a component: when it appears, when `key` changes, when something of these `kinds` changes, and after a
 * new connection. Never two reads at once. What `first` reads is shown, when nothing is yet,
 * before the rest is read, if there is more.
 */
export function useData<Data>(
  read: () => Promise<Data>,
  kinds: readonly Change["kind"][],
  key: string = "",
  first?: () => Promise<{ readonly early: Data; readonly isAll: boolean }>,
): Loaded<Data> {
  const data = useSignal<Data | undefined>(undefined);
  const error = useSignal<unknown>(undefined);
  const newest = useRef(read);
  newest.current = read;
  const retry = useRef(() => Promise.resolve());

  useEffect(() => {
    let isReading = false;
    let isStale = false;
    let isEnded = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const load = async (): Promise<void> => {
      if (isReading) {
        isStale = true;
        return;
      }
      isReading = true;
      isStale = false;
      try {
        const begun = data.peek() === undefined ? await first?.() : undefined;
        if (begun?.isAll === false) {
          data.value = begun.early;
          // Drawn before the daemon is busy with the rest.
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
        const found = begun?.isAll === true ? begun.early : await newest.current();
        if (isEnded) return;
        data.value = found;
        error.value = undefined;
      } catch (failure) {
        if (!isEnded) error.value = failure;
      } finally {
        isReading = false;
      }
      if (isStale && !isEnded) soon();
    };
    const soon = (): void => {
      clearTimeout(timer);
      timer = setTimeout(() => void load(), pauseMs);
    };
    retry.current = load;
    const endChanges = onChange(({ kind }) => {
      if (kinds.includes(kind)) soon();
    });
    // Calls its listener at once, too.
    const endConnections = readCount.subscribe((count) => {
      if (count >= 0) void load();
    });
    return () => {
      isEnded = true;
      clearTimeout(timer);
      endChanges();
      endConnections();
    };
  }, [key]);

  return { data, error, reload: () => void retry.current(), retry: () => retry.current() };
}

/** Something that a button starts. */
export function useAction() {
  const isRunning = useSignal(false);
  return {
    isRunning,
    /** Runs the work unless it runs already; an error is shown as a notice. Resolves with whether it succeeded. */
    run: async (work: () => Promise<void>): Promise<boolean> => {
      if (isRunning.value) return false;
      isRunning.value = true;
      try {
        await work();
        return true;
      } catch (error) {
        notifyError(error);
        return false;
      } finally {
        isRunning.value = false;
      }
    },
  };
}
