import type { PartialText, Progress } from "../../orchestrator/api/types.ts";
import { counted } from "../../orchestrator/util/format-bytes.ts";
import { type Timers, systemTimers } from "../../orchestrator/util/timers.ts";

/** One `notifications/progress`, without its token. */
export interface ProgressNote {
  readonly progress: number;
  readonly total?: number;
  readonly message: string;
  /** The next piece of the answer's text. */
  readonly _meta?: Readonly<Record<string, unknown>>;
}

/** Fast enough for a terminal; each note is a message. */
const textIntervalMs = 50;
/** At most four notes a second. */
const intervalMs = 250;
/** Clients cut a call without progress after 60 s, some sooner. */
const heartbeatMs = 5_000;

/**
 * Relays progress to one call's client: the first note at once, then at most four a second, and the newest one again
 * after five seconds without a note. Values strictly increase, as the protocol requires, although bytes of a resumed
 * download or tokens after a load may start lower. Call `stop` before the result is sent.
 */
export function createProgressReporter(
  send: (note: ProgressNote) => void,
  firstMessage: string,
  timers: Timers = systemTimers,
) {
  let newest: Progress = { message: firstMessage };
  let lastValue = 0;
  let lastSentMs = Number.NEGATIVE_INFINITY;
  let isStopped = false;
  let cancelTimer = timers.after(heartbeatMs, sendNewest);
  /** Text of an earlier piece of work was sent. */
  let hasText = false;

  function sendNewest(): void {
    if (isStopped) return;
    cancelTimer();
    const { completedBytes, completionTokens, parts } = newest;
    const value = Math.max(completedBytes ?? parts?.doneTokens ?? completionTokens ?? 0, lastValue + 1);
    lastValue = value;
    lastSentMs = timers.now();
    const total = newest.totalBytes ?? parts?.totalTokens;
    send({ progress: value, message: progressText(newest), ...(total !== undefined && total >= value && { total }) });
    cancelTimer = timers.after(heartbeatMs, sendNewest);
  }

  /**
   * Sends the text of this work as it is generated, at most every 50 ms, until the returned function is called, which
   * sends the rest. For clients that requested text.
   */
  function followText(partial: () => PartialText | undefined): () => void {
    const next = createTextDeltas();
    let isApart = hasText;
    const sendText = (): void => {
      const note = isStopped ? undefined : next(partial());
      if (note === undefined) return;
      lastValue += 1;
      const text = isApart && note.text !== undefined ? { text: `\n${note.text}` } : {};
      send({ progress: lastValue, message: newest.message, _meta: metaOf({ ...note, ...text }) });
      isApart &&= note.text === undefined;
      hasText ||= note.text !== undefined;
    };
    const again = (): void => {
      sendText();
      cancel = timers.after(textIntervalMs, again);
    };
    let cancel = timers.after(textIntervalMs, again);
    return () => {
      cancel();
      sendText();
    };
  }

  return {
    followText,
    report(progress: Progress): void {
      if (isStopped) return;
      newest = progress;
      const waitMs = lastSentMs + intervalMs - timers.now();
      if (waitMs <= 0) return sendNewest();
      cancelTimer();
      cancelTimer = timers.after(waitMs, sendNewest);
    },
    /** Stops sending; called before the result. */
    stop(): void {
      isStopped = true;
      cancelTimer();
    },
  };
}

/** The message with its figures, unless it has some already: `pulling smollm2:135m, 12 of 98 MB, 9.3 MB/s`. */
export function progressText({
  message,
  completedBytes,
  totalBytes,
  bytesPerSecond,
  completionTokens,
}: Progress): string {
  if (/\d (bytes?|kB|MB|GB|tokens?)\b/.test(message)) return message;
  const parts = [message];
  if (completedBytes !== undefined) {
    // A complete download has no total and no speed: "48 of 48 MB" would repeat a number.
    const isComplete = totalBytes !== undefined && completedBytes >= totalBytes;
    const total = totalBytes === undefined || isComplete ? "" : ` of ${megabytes(totalBytes)}`;
    parts.push(`${megabytes(completedBytes)}${total} MB`);
    if (bytesPerSecond !== undefined && !isComplete) parts.push(`${megabytes(bytesPerSecond)} MB/s`);
  }
  if (completionTokens !== undefined) parts.push(counted(completionTokens, "token"));
  return parts.join(", ");
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(bytes < 10e6 ? 1 : 0);
}

/**
 * In a request's `_meta`: its caller wants the text as it is generated. Only our own shell requests it: `true`, or `"chat"`
 * for a chat at a terminal, whose models may remember and recall.
 */
export const streamKey = "ollm/stream";
/**
 * In a request's `_meta`: its caller wants the whole structured answer, as our own shell and pages do. In a result's, for
 * clients that show views: the whole answer, which they pass to the view and not to their model.
 */
export const detailsKey = "ollm/details";
const textKey = "ollm/text";
const thinkingKey = "ollm/thinking";
const resetKey = "ollm/reset";

/** A piece of an answer's text. All `text`s since the last reset, concatenated, are the text so far. */
export interface TextNote {
  readonly text?: string;
  readonly thinking?: string;
  /** Another model starts over: earlier pieces are not part of the answer. */
  readonly isReset?: true;
}

/** The `_meta` of a progress notification that carries a note. */
export function metaOf({ text, thinking, isReset }: TextNote): Readonly<Record<string, unknown>> {
  return {
    ...(text !== undefined && { [textKey]: text }),
    ...(thinking !== undefined && { [thinkingKey]: thinking }),
    ...(isReset === true && { [resetKey]: true }),
  };
}

/** The note in a progress notification; undefined for one without text. */
export function textNoteOf(progress: object): TextNote | undefined {
  const meta = "_meta" in progress ? progress._meta : undefined;
  if (typeof meta !== "object" || meta === null) return undefined;
  const { [textKey]: text, [thinkingKey]: thinking, [resetKey]: reset } = meta as Readonly<Record<string, unknown>>;
  const note: TextNote = {
    ...(typeof text === "string" && { text }),
    ...(typeof thinking === "string" && { thinking }),
    ...(reset === true && { isReset: true }),
  };
  return Object.keys(note).length === 0 ? undefined : note;
}

/** Returns a function that computes what is new in a text since its last call; undefined when nothing is. */
export function createTextDeltas(): (partial: PartialText | undefined) => TextNote | undefined {
  let sent: PartialText = { text: "", thinking: "" };
  return (partial = { text: "", thinking: "" }) => {
    const continues = partial.text.startsWith(sent.text) && partial.thinking.startsWith(sent.thinking);
    const base = continues ? sent : { text: "", thinking: "" };
    const text = partial.text.slice(base.text.length);
    const thinking = partial.thinking.slice(base.thinking.length);
    sent = partial;
    if (continues && text === "" && thinking === "") return undefined;
    return {
      ...(!continues && { isReset: true }),
      ...(text !== "" && { text }),
      ...(thinking !== "" && { thinking }),
    };
  };
}
