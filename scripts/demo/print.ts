import { formatBytes } from "../../src/orchestrator/text/format-bytes.ts";
import type { ToolAnswers } from "../../src/tools/index.ts";

/** The demo's output as text, independent of servers. */

export function say(line: string): void {
  console.log(line);
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

/** The plan of `smart_load`, in words. */
export function describePlan({ plan, method, margin }: ToolAnswers["smart_load"]): readonly string[] {
  if (plan === undefined) return [];
  return [
    `${plan.fits ? "yes" : "no"} (${method}, ±${Math.round(margin * 100)} %)`,
    ...plan.steps.map((step) => `  ${step}`),
  ];
}

/** The lines that put the server into a client. Absolute paths: clients start programs in `/` with a bare PATH. */
export function clientEntry(node: string, script: string, root: string): readonly string[] {
  const entry = { command: node, args: [script, "--root", root] };
  const shown = (parts: readonly string[]): string =>
    parts.map((part) => (part.includes(" ") ? JSON.stringify(part) : part)).join(" ");
  return [
    `  ${shown([node, script, "setup"])}`,
    "finds the assistants on this machine, shows each change and asks before it makes one. By hand instead:",
    "",
    `Claude Code:  claude mcp add ollm -- ${shown([node, ...entry.args])}`,
    "Claude Desktop, Cursor and others (mcpServers in their configuration file):",
    ...JSON.stringify({ mcpServers: { ollm: entry } }, null, 2).split("\n"),
    "Replace the --root folder by the one whose files your assistant may hand to local models.",
  ];
}
