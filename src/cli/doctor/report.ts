import { jsonText, oneLine } from "../../orchestrator/text/control-characters.ts";
import type { Check } from "./check.ts";

const marks = { ok: "✓", warn: "!", fail: "✗" } as const;

/** One line for each check, with what to do indented below it, and a summary. */
export function report(checks: readonly Check[]): string {
  const width = Math.max(...checks.map(({ name }) => name.length));
  const lines = checks.flatMap(({ name, status, message, hint }) => [
    `${marks[status]} ${name.padEnd(width)}  ${oneLine(message)}`,
    ...(hint === undefined ? [] : [`  ${" ".repeat(width)}  → ${oneLine(hint)}`]),
  ]);
  return `${lines.join("\n")}\n\n${summary(checks)}\n`;
}

function summary(checks: readonly Check[]): string {
  const count = (wanted: Check["status"]): number => checks.filter(({ status }) => status === wanted).length;
  const warnings = count("warn");
  const counts = [
    `${count("ok")} ok`,
    ...(warnings > 0 ? [`${warnings} ${warnings === 1 ? "warning" : "warnings"}`] : []),
    ...(count("fail") > 0 ? [`${count("fail")} failed`] : []),
  ];
  return `${checks.length} checks: ${counts.join(", ")}`;
}

/** The report for `--json`. */
export function jsonReport(checks: readonly Check[]): string {
  return `${jsonText({ ok: checks.every(({ status }) => status !== "fail"), checks })}\n`;
}
