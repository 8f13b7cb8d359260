import type { CallRecord } from "./server-parts.ts";

/** Limit for prompt and answer each. */
const maxTextLength = 2_000;
const maxNameLength = 64;

/**
 * One line of the log of calls: time, client, tool, model, milliseconds, outcome, class of the error. Prompt and
 * answer only when the record has them, quoted and truncated.
 */
export function callLine(record: CallRecord, at: Date): string {
  const { client, tool, model, durationMs, outcome, error, prompt, answer } = record;
  const fields = [at.toISOString(), word(client), word(tool), word(model), `${Math.round(durationMs)}ms`, outcome];
  if (error !== undefined) fields.push(word(error));
  if (prompt !== undefined) fields.push(`prompt=${quoted(prompt)}`);
  if (answer !== undefined) fields.push(`answer=${quoted(answer)}`);
  return fields.join(" ");
}

/** A name without white space: clients choose their names, and a line break must not forge a line. */
function word(name: string | undefined): string {
  const clean = (name ?? "").replaceAll(/[\s\p{C}]+/gu, "_").slice(0, maxNameLength);
  return clean === "" ? "-" : clean;
}

function quoted(text: string): string {
  return JSON.stringify(text.length <= maxTextLength ? text : `${text.slice(0, maxTextLength)}…`);
}
