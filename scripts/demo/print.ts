/** What the demo says, as text; nothing here knows of servers. */

export function say(line: string): void {
  console.log(line);
}

export function heading(title: string): void {
  console.log(`\n== ${title}`);
}

export function formatGigabytes(bytes: number): string {
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(0)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

/** The plan of `smart_load`, in words. */
export function describePlan(answer: {
  readonly method: string;
  readonly margin: number;
  readonly plan: {
    readonly fits: boolean;
    readonly predicted_bytes: number;
    readonly needed_bytes: number;
    readonly free_bytes: number;
    readonly steps: readonly string[];
  };
}): readonly string[] {
  const { plan, method, margin } = answer;
  return [
    `${plan.fits ? "yes" : "no"}: predicted ${formatGigabytes(plan.predicted_bytes)} (${method}, ±${Math.round(margin * 100)} %), ` +
      `needed with reserve ${formatGigabytes(plan.needed_bytes)}, free ${formatGigabytes(plan.free_bytes)}`,
    ...plan.steps.map((step) => `  ${step}`),
  ];
}

/** The lines that put the server into a host. Absolute paths: hosts start programs in `/` with a bare PATH. */
export function hostEntry(node: string, script: string, root: string): readonly string[] {
  const entry = { command: node, args: [script, "--standalone", "--root", root] };
  const shown = [node, ...entry.args].map((part) => (part.includes(" ") ? JSON.stringify(part) : part)).join(" ");
  return [
    `Claude Code:  claude mcp add ollm -- ${shown}`,
    "Claude Desktop, Cursor and others (mcpServers in their configuration file):",
    ...JSON.stringify({ mcpServers: { ollm: entry } }, null, 2).split("\n"),
    "Replace the --root folder by the one whose files your assistant may hand to local models.",
  ];
}
