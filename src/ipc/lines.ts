import { isTooDeep, maxJsonDepth } from "../orchestrator/util/parse-json.ts";

/** Where the id of a refused message is searched: clients write it first or last. */
const edgeBytes = 512;

export interface LineOptions {
  /** Longer lines are never held in memory. */
  readonly maxLineBytes: number;
  /** A line without its end and surrounding white space; never empty. */
  onLine(text: string): void;
  /** A line was too long or nests too deep: the reason for its sender, and both edges of about 512 bytes. */
  onRefused(line: { readonly why: string; readonly head: string; readonly tail: string }): void;
}

export interface LineSplitter {
  push(chunk: Buffer): void;
  /** Discards an incomplete line. */
  clear(): void;
}

/** Splits a stream of bytes into lines of UTF-8, however the chunks are cut. */
export function createLineSplitter({ maxLineBytes, onLine, onRefused }: LineOptions): LineSplitter {
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

  function finishLine(): void {
    const bytes = lineBytes;
    const text = Buffer.concat(line).toString("utf8").trim();
    const end = tail.toString("utf8");
    clear();
    if (bytes > maxLineBytes) onRefused({ why: oversizedText(bytes, maxLineBytes), head: text, tail: end });
    else if (isTooDeep(text))
      onRefused({ why: tooDeepText, head: text.slice(0, edgeBytes), tail: text.slice(-edgeBytes) });
    else if (text !== "") onLine(text);
  }

  function clear(): void {
    line = [];
    lineBytes = 0;
    tail = Buffer.alloc(0);
  }

  return {
    push(chunk) {
      let from = 0;
      for (;;) {
        const end = chunk.indexOf(0x0a, from);
        keep(chunk.subarray(from, end === -1 ? undefined : end));
        if (end === -1) return;
        finishLine();
        from = end + 1;
      }
    },
    clear,
  };
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
