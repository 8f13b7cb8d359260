import { jsonText, oneLine } from "../../orchestrator/text/control-characters.ts";
import type { Check } from "./check.ts";

const marks = { ok: "✓", warn: "!", fail: "✗" } as const;

/** A line for each check and, indented below it, what to do; then a line that sums up. */
export function report(checks: readonly Check[]): string {
  const width = Math.max(...checks.map(({ name }) => name.length));
  const lines = checks.flatMap(({ name, status, message, hint }) => [
    `${marks[status]} ${name.padEnd(width)}  ${oneLine(message)}`,
    ...(hint === undefined ? [] : [`  ${" ".repeat(width)}  → ${oneLine(hint)}`]),
  ]);
  return `${lines.join("\n")}\n\n${summary(checks)}\n`;
}

function summary(checks: readonly Check[]): string {
  const failed = checks.filter(({ status }) => status === "fail").length;
  const warned = checks.filter(({ status }) => status === "warn").length;
  if (failed > 0) return `${failed} of ${checks.length} checks failed.`;
  return warned > 0 ? `It works; ${warned} of ${checks.length} checks have something to say.` : "All is well.";
}

/** What `--json` prints. */
export function jsonReport(checks: readonly Check[]): string {
  return `${jsonText({ ok: checks.every(({ status }) => status !== "fail"), checks })}\n`;
}
