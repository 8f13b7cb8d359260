import { jsonText } from "../../orchestrator/util/control-characters.ts";
import type { CommandIo } from "../terminal/io.ts";
import { hanging, styled } from "../terminal/terminal-text.ts";
import type { Check } from "./check.ts";
import { counted } from "../../orchestrator/util/counted.ts";

const marks = { ok: ["✓", "green"], warn: ["!", "yellow"], fail: ["✗", "red"] } as const;

/** Each check on a line, wrapped at words, with what to do indented below it, and a summary. */
export function report(checks: readonly Check[], io: Pick<CommandIo, "columns" | "hasColour">): string {
  const width = Math.max(...checks.map(({ name }) => name.length));
  const lines = checks.flatMap(({ name, status, message, hint }) => {
    const [mark, style] = marks[status];
    const text = hanging(`${mark} ${name.padEnd(width)}  `, message, io);
    return [
      styled(mark, style, io) + text.slice(mark.length),
      ...(hint === undefined ? [] : [hanging(`  ${" ".repeat(width)}  → `, hint, io)]),
    ];
  });
  return `${lines.join("\n")}\n\n${summary(checks)}\n`;
}

function summary(checks: readonly Check[]): string {
  const count = (wanted: Check["status"]): number => checks.filter(({ status }) => status === wanted).length;
  const warnings = count("warn");
  const counts = [
    `${count("ok")} ok`,
    ...(warnings > 0 ? [counted(warnings, "warning")] : []),
    ...(count("fail") > 0 ? [`${count("fail")} failed`] : []),
  ];
  return `${counted(checks.length, "check")}: ${counts.join(", ")}`;
}

/** The report for `--json`. */
export function jsonReport(checks: readonly Check[]): string {
  return `${jsonText({ ok: checks.every(({ status }) => status !== "fail"), checks })}\n`;
}
