import type { CallRecord } from "../server-parts.ts";

/** Of prompt and answer each. */
const maxTextLength = 2_000;
const maxNameLength = 64;

/**
 * One line of the log of calls: time, client, tool, model, milliseconds, outcome, class of the error. Text of callers
 * stands in it only when the record has it, quoted and cut.
 */
export function callLine(record: CallRecord, at: Date): string {
  const { client, tool, model, durationMs, outcome, error, prompt, answer } = record;
  const fields = [at.toISOString(), word(client), word(tool), word(model), `${Math.round(durationMs)}ms`, outcome];
  if (error !== undefined) fields.push(word(error));
  if (prompt !== undefined) fields.push(`prompt=${quoted(prompt)}`);
  if (answer !== undefined) fields.push(`answer=${quoted(answer)}`);
  return fields.join(" ");
}

/** Clients name themselves as they like: a line break of theirs must not look like a line of ours. */
function word(name: string | undefined): string {
  const clean = (name ?? "").replaceAll(/[\s\p{C}]+/gu, "_").slice(0, maxNameLength);
  return clean === "" ? "-" : clean;
}

function quoted(text: string): string {
  return JSON.stringify(text.length <= maxTextLength ? text : `${text.slice(0, maxTextLength)}…`);
}
