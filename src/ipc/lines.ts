import { isTooDeep, maxJsonDepth } from "../orchestrator/util/values.ts";

/** Where the id of a refused message is searched: clients write it first or last. */
const edgeBytes = 512;

interface ByteLineOptions {
  /** Longer lines are never held in memory. */
  readonly maxLineBytes: number;
  /** A line with its end. */
  onLine(line: Buffer): void;
  /** A line was refused: the reason for its sender, and both edges of about 512 bytes. */
  onRefused(line: { readonly why: string; readonly head: string; readonly tail: string }): void;
}

/** Splits a stream of bytes into lines, however the chunks are cut. A line of one chunk is not copied. */
export function createByteSplitter({ maxLineBytes, onLine, onRefused }: ByteLineOptions) {
  let line: Buffer[] = [];
  let lineBytes = 0;
  let tail: Buffer = Buffer.alloc(0);

  function keep(part: Buffer): void {
    lineBytes += part.length;
    if (lineBytes <= maxLineBytes) line.push(part);
    else {
      // Only the edges are kept, where the id may be.
      if (line.length > 1 || (line[0]?.length ?? 0) > edgeBytes) {
        const whole = Buffer.concat(line);
        line = [Buffer.from(whole.subarray(0, edgeBytes))];
        tail = Buffer.from(whole.subarray(-edgeBytes));
      }
      tail = Buffer.from(Buffer.concat([tail, part.subarray(-edgeBytes)]).subarray(-edgeBytes));
    }
  }

  function finishLine(last: Buffer): void {
    const isWhole = lineBytes === 0 && last.length <= maxLineBytes + 1;
    if (isWhole) return onLine(last);
    // Its end doesn't count.
    lineBytes -= 1;
    keep(last);
    const bytes = lineBytes;
    const whole = Buffer.concat(line);
    const end = tail.toString("utf8");
    clear();
    if (bytes <= maxLineBytes) onLine(whole);
    else onRefused({ why: oversizedText(bytes, maxLineBytes), head: whole.toString("utf8"), tail: end });
  }

  function clear(): void {
    line = [];
    lineBytes = 0;
    tail = Buffer.alloc(0);
  }

  return {
    push(chunk: Buffer): void {
      let from = 0;
      for (;;) {
        const end = chunk.indexOf(0x0a, from);
        if (end === -1) {
          if (from < chunk.length) keep(chunk.subarray(from));
          return;
        }
        finishLine(chunk.subarray(from, end + 1));
        from = end + 1;
      }
    },
    /** Discards an incomplete line. */
    clear,
  };
}

/** Splits a stream of bytes into lines of UTF-8 without their ends and surrounding white space, never empty; also refuses a line that nests too deep. */
export function createLineSplitter({
  maxLineBytes,
  onLine,
  onRefused,
}: Omit<ByteLineOptions, "onLine"> & { onLine(text: string): void }) {
  return createByteSplitter({
    maxLineBytes,
    onLine(line) {
      const text = line.toString("utf8").trim();
      if (isTooDeep(text)) {
        onRefused({ why: tooDeepText, head: text.slice(0, edgeBytes), tail: text.slice(-edgeBytes) });
      } else if (text !== "") onLine(text);
    },
    onRefused,
  });
}

/** The id of a refused message that was not parsed, from one of its edges. */
export function idInEdge(text: string): string | number | undefined {
  const found = /"id"\s*:\s*(\d{1,15}|"[^"\\]{1,200}")/.exec(text)?.[1];
  return found === undefined ? undefined : (JSON.parse(found) as string | number);
}

const tooDeepText = `message nests deeper than ${maxJsonDepth} levels`;

function oversizedText(bytes: number, maxLineBytes: number): string {
  return `message of ${bytes} bytes is over the limit of ${Math.floor(maxLineBytes / 1024 / 1024)} MiB; name files instead`;
}

/** The limit of an HTTP body, too; longer texts belong in files. */
export const defaultMaxLineBytes = 4 * 1024 * 1024;

/**
 * Distinguishes a script, which pipes in its requests and closes its end, from a client. Both look the same when input ends with
 * calls in progress, but expect the opposite: a script its answers, a client an end within two seconds. A client waits
 * for the answer to its first request (`initialize`, `server/discover`) before it sends another; a script does not wait.
 */
export function createPipingWatch() {
  let requests = 0;
  let isAnswered = false;
  let isPiping = false;
  return {
    /** A request was received. */
    requested() {
      requests += 1;
      if (!isAnswered && requests > 1) isPiping = true;
    },
    /** An answer was sent. */
    answered() {
      isAnswered = true;
    },
    /** The other end was closed: returns whether it is a script, which continues to read until it has every answer. */
    ended: () => isPiping || !isAnswered,
  };
}
