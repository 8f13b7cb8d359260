import { systemTimers, type Timers } from "../orchestrator/async/timers.ts";
import type { PartialText, Progress } from "../orchestrator/types.ts";
import { createTextDeltas, metaOf } from "./text-notes.ts";

/** One `notifications/progress`, without its token. */
export interface ProgressNote {
  readonly progress: number;
  readonly total?: number;
  readonly message: string;
  /** How the answer's text went on. */
  readonly _meta?: Readonly<Record<string, unknown>>;
}

/** What one call's client is told while it waits. */
export interface ProgressReporter {
  report(progress: Progress): void;
  /**
   * From now on the text of this work is told as it grows, every 50 ms at most, until the answer is called, which tells
   * the rest of it. For clients that asked for text.
   */
  followText(partial: () => PartialText | undefined): () => void;
  /** Nothing more is told: the result follows. */
  stop(): void;
}

/** As often as a terminal is read; each note costs a message. */
const textIntervalMs = 50;
/** At most four notes a second: more only costs the client's attention. */
const intervalMs = 250;
/** Clients cut a call that is silent for 60 s, some sooner; they are fed well before. */
const heartbeatMs = 5_000;

/**
 * Relays progress to one call's client: the first note at once, then at most four a second, and the newest one again
 * when nothing was said for five seconds. Values strictly increase, as the protocol demands, although bytes of a
 * resumed download or tokens after a load may start lower. `stop` before the result is sent.
 */
export function createProgressReporter(
  send: (note: ProgressNote) => void,
  firstMessage: string,
  timers: Timers = systemTimers,
): ProgressReporter {
  let newest: Progress = { message: firstMessage };
  let lastValue = 0;
  let lastSentMs = Number.NEGATIVE_INFINITY;
  let isStopped = false;
  let cancelTimer = timers.after(heartbeatMs, sendNewest);

  function sendNewest(): void {
    if (isStopped) return;
    cancelTimer();
    const value = Math.max(newest.completedBytes ?? newest.completionTokens ?? 0, lastValue + 1);
    lastValue = value;
    lastSentMs = timers.now();
    const total = newest.totalBytes;
    send({ progress: value, message: progressText(newest), ...(total !== undefined && total >= value && { total }) });
    cancelTimer = timers.after(heartbeatMs, sendNewest);
  }

  function followText(partial: () => PartialText | undefined): () => void {
    const next = createTextDeltas();
    const tell = (): void => {
      const note = isStopped ? undefined : next(partial());
      if (note === undefined) return;
      lastValue += 1;
      send({ progress: lastValue, message: newest.message, _meta: metaOf(note) });
    };
    const again = (): void => {
      tell();
      cancel = timers.after(textIntervalMs, again);
    };
    let cancel = timers.after(textIntervalMs, again);
    return () => {
      cancel();
      tell();
    };
  }

  return {
    followText,
    report(progress) {
      if (isStopped) return;
      newest = progress;
      const waitMs = lastSentMs + intervalMs - timers.now();
      if (waitMs <= 0) return sendNewest();
      cancelTimer();
      cancelTimer = timers.after(waitMs, sendNewest);
    },
    stop() {
      isStopped = true;
      cancelTimer();
    },
  };
}

/** `pulling smollm2:135m, 12 of 98 MB, 9.3 MB/s`: the message with its figures, unless it says them itself. */
export function progressText({
  message,
  completedBytes,
  totalBytes,
  bytesPerSecond,
  completionTokens,
}: Progress): string {
  // Some works say their figures themselves, in better words.
  if (/\d (bytes|kB|MB|GB|tokens)\b/.test(message)) return message;
  const parts = [message];
  if (completedBytes !== undefined) {
    // All of it: "48 of 48 MB" would say one number twice, and its speed is history.
    const isComplete = totalBytes !== undefined && completedBytes >= totalBytes;
    const total = totalBytes === undefined || isComplete ? "" : ` of ${megabytes(totalBytes)}`;
    parts.push(`${megabytes(completedBytes)}${total} MB`);
    if (bytesPerSecond !== undefined && !isComplete) parts.push(`${megabytes(bytesPerSecond)} MB/s`);
  }
  if (completionTokens !== undefined) parts.push(`${completionTokens} tokens`);
  return parts.join(", ");
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(bytes < 10e6 ? 1 : 0);
}
