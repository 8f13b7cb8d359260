import { appendFile, copyFile, mkdir, readFile, rename, rm, stat, truncate } from "node:fs/promises";
import path from "node:path";
import { setTimeout as gathering } from "node:timers/promises";
import { callLogFile } from "../../ipc/run-folder.ts";
import type { Log } from "../../orchestrator/api/log.ts";
import type { CallRecord } from "../call/caller.ts";
import { shortened } from "../../orchestrator/util/format-bytes.ts";
import { defined, undefinedIfMissing } from "../../orchestrator/util/values.ts";

/** `OLLM_HOME/logs/calls.log`, one line per call. Lines have prompts and answers when the record has them; the pipeline decides by the setting. */
export function createCallLog(home: string, log: Log) {
  const file = callLogFile(home);
  const lines = createRotatingFile(file, (error) => log.warn(`${file} can't be written: ${String(error)}`));
  return {
    // Made when it is written, after the call.
    note(record: CallRecord): void {
      const at = Date.now();
      lines.append(() => callLine(record, new Date(at)));
    },
    /** Resolves when all lines are written, or have failed. */
    idle: lines.idle,
    /** What the call of a trace (its id) asked and was answered, as far as its line has it; nothing if several calls have it. */
    async textsOf(trace: string): Promise<Pick<CallRecord, "prompt" | "answer">> {
      await lines.idle();
      // Only the fields before it are sure to be words: a text may look like any field.
      const quote = String.raw`("(?:[^"\\]|\\.)*")`;
      const line = new RegExp(`^(?:\\S+ ){6,7}trace=${trace}(?: prompt=${quote})?(?: answer=${quote})?$`, "gm");
      const found: RegExpExecArray[] = [];
      for (let number = 0; number <= logLimits.keep; number += 1) {
        const text = await readFile(number === 0 ? file : numbered(file, number), "utf8").catch(() => "");
        if (!text.includes(trace)) continue;
        found.push(...[...text.matchAll(line)].filter(([, prompt, answer]) => (prompt ?? answer) !== undefined));
      }
      const given = (json: string | undefined) => json && (JSON.parse(json) as string);
      const [, prompt, answer] = found.length === 1 ? (found[0] ?? []) : [];
      return defined({ prompt: given(prompt), answer: given(answer) });
    },
  };
}

/** Limit for prompt and answer each. */
const maxTextLength = 2_000;
const maxNameLength = 64;

/**
 * One line of the log of calls: time, client, tool, model, milliseconds, outcome, class of the error, trace. Prompt and
 * answer only when the record has them, quoted and truncated.
 */
export function callLine(record: CallRecord, at: Date): string {
  const { client, tool, model, durationMs, outcome, error, trace, prompt, answer } = record;
  const fields = [at.toISOString(), word(client), word(tool), word(model), `${Math.round(durationMs)}ms`, outcome];
  if (error !== undefined) fields.push(word(error));
  if (trace !== undefined) fields.push(`trace=${trace}`);
  if (prompt !== undefined) fields.push(`prompt=${quoted(prompt)}`);
  if (answer !== undefined) fields.push(`answer=${quoted(answer)}`);
  return fields.join(" ");
}

/** A name without white space: clients choose their names, and a line break must not forge a line. */
function word(name: string | undefined): string {
  const clean = (name ?? "").replaceAll(/[\s\p{C}]+/gu, "_").slice(0, maxNameLength);
  return clean === "" ? "-" : clean;
}

const quoted = (text: string): string => JSON.stringify(shortened(text, maxTextLength));

/** `keep`: older files beside the current one, of which `calls.1.log` is the newest. */
const logLimits = { maxBytes: 5 * 1024 * 1024, keep: 3 };

/** Lines appended within this time are written together. */
const gatherMs = 100;

/** Mode 0600; its folder is made when needed. */
export function createRotatingFile(file: string, onFailure: (error: unknown) => void, limits = logLimits) {
  let waiting: (() => string)[] = [];
  let writing: Promise<void> | undefined;
  let bytes: number | undefined;
  let hasFailed = false;

  async function writeAll(): Promise<void> {
    while (waiting.length > 0) {
      const text = `${waiting.map((line) => line()).join("\n")}\n`;
      waiting = [];
      try {
        await write(text);
        hasFailed = false;
      } catch (error) {
        if (!hasFailed) onFailure(error);
        hasFailed = true;
        bytes = undefined;
      }
    }
  }

  async function write(text: string): Promise<void> {
    if (bytes === undefined) {
      await mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
      bytes = await sizeOf(file);
    }
    const added = Buffer.byteLength(text);
    if (bytes > 0 && bytes + added > limits.maxBytes) {
      await shift(file, limits.keep);
      await rename(file, numbered(file, 1));
      bytes = 0;
    }
    await appendFile(file, text, { mode: 0o600 });
    bytes += added;
  }

  return {
    /** Never rejects, and keeps the order of lines. `onFailure` is called with the first of consecutive failures. */
    append(line: () => string) {
      waiting.push(line);
      // Opening the file for every line would cost more than all other overhead of a call.
      writing ??= gathering(gatherMs)
        .then(writeAll)
        .finally(() => (writing = undefined));
    },
    /** Resolves when all appended lines are written. */
    idle: async () => writing,
  };
}

/**
 * Rotates a file to which a process appends through its stderr. Its content is copied and the file truncated, because the
 * process would continue to write to a renamed file.
 */
export async function rotateByCopy(file: string, limits = logLimits): Promise<void> {
  if ((await sizeOf(file)) <= limits.maxBytes) return;
  await shift(file, limits.keep);
  await copyFile(file, numbered(file, 1));
  await truncate(file, 0);
}

/** Makes room for number 1. */
async function shift(file: string, keep: number): Promise<void> {
  await rm(numbered(file, keep), { force: true });
  for (let number = keep - 1; number >= 1; number -= 1) {
    await rename(numbered(file, number), numbered(file, number + 1)).catch(undefinedIfMissing);
  }
}

/** `logs/calls.log` → `logs/calls.1.log`. */
function numbered(file: string, number: number): string {
  const { dir, name, ext } = path.parse(file);
  return path.join(dir, `${name}.${number}${ext}`);
}

async function sizeOf(file: string): Promise<number> {
  return (await stat(file).catch(undefinedIfMissing))?.size ?? 0;
}
