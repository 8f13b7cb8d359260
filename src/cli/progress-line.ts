import type { Writable } from "node:stream";

/** `, 12 of 98 MB`, `, 9.3 MB/s`, `11.8 MB of 48.1 MB`, `12 tokens`. */
const figures = /(, )?(\d[\d.]*( [kMG]B)? of )?\d[\d.]* (bytes|kB|MB|GB|tokens)\b(\/s)?/g;

/** Shows progress on stderr: one line rewritten in place at a terminal, a line every ten percent elsewhere. */
export function createProgressLine(output: Writable & { readonly isTTY?: boolean; readonly columns?: number }): {
  show(message: string, fraction: number | undefined): void;
  end(): void;
} {
  const isTerminal = output.isTTY === true;
  let shown = "";
  let lastTenth = -1;
  return {
    show(message, fraction) {
      if (!isTerminal) {
        // The same work, without its figures; a name like `smollm2:135m` is none.
        const work = message.replaceAll(figures, "");
        const tenth = fraction === undefined ? lastTenth : Math.floor(fraction * 10);
        if (work === shown && tenth === lastTenth) return;
        shown = work;
        lastTenth = tenth;
        output.write(`${message}\n`);
        return;
      }
      // Some terminals (a pty without a window, CI) say that they are 0 columns wide.
      const line = cut(fraction === undefined ? message : `${bar(fraction)} ${message}`, (output.columns || 80) - 1);
      output.write(`\r${line}${" ".repeat(Math.max(0, shown.length - line.length))}`);
      shown = line;
    },
    end() {
      if (isTerminal && shown !== "") output.write("\n");
      shown = "";
    },
  };
}

function cut(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, width - 1)}…`;
}

function bar(fraction: number): string {
  const width = 24;
  const filled = Math.round(Math.min(1, Math.max(0, fraction)) * width);
  return `[${"#".repeat(filled)}${" ".repeat(width - filled)}]`;
}
