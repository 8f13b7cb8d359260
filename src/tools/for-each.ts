import * as z from "zod";
import { type BatchAnswer, type BatchSummary, batchUnits } from "../orchestrator/api/facade-batches.ts";
import { InvalidRequest } from "../orchestrator/api/errors.ts";
import { oneLine } from "../orchestrator/util/control-characters.ts";
import { defined, jsonLines } from "../orchestrator/util/values.ts";
import { counted, shortened } from "../orchestrator/util/format-bytes.ts";
import type { ToolContext } from "./definition.ts";

const shownFailures = 3;
const exampleCharacters = 80;
/** A sample is made to be looked at. */
const sampleCharacters = 300;

export const forEachInput = z.strictObject({
  of: z.array(z.string().min(1)).describe("Files, patterns."),
  each: z.enum(batchUnits).optional(),
  questions: z.array(z.string().min(1)).max(50).optional().describe("Not prompt."),
  sample: z.int().min(1).optional().describe("Try so many first."),
  limit: z.int().min(1).optional(),
  reduce: z.string().min(1).optional().describe("Prompt about all answers."),
  when: z.string().optional().describe('idle, "22:00-06:00".'),
});

export const forEachOutput = z.object({
  counts: z.record(z.string(), z.number()),
  failures: z.array(z.string()).optional(),
  examples: z.array(z.string()).optional(),
});

/**
 * Where answers are written: all of them, one as JSON a line, in a new file; in a folder, named with a slash at its end, each
 * in a file of its own. Throws `InvalidRequest` before any work is done.
 */
export async function openAnswers(name: string, { files }: Pick<ToolContext, "files">) {
  if (!/[\\/]$/.test(name)) {
    const file = await files.openOutput(name);
    return async (answers: readonly BatchAnswer[]) => {
      const { bytes } = await file.write(jsonLines(answers));
      return { path: file.path, bytes, skipped: 0 };
    };
  }
  const path = await files.findFolder(name);
  return async (answers: readonly BatchAnswer[]) => {
    let bytes = 0;
    let skipped = 0;
    const names = new Set<string>();
    for (const [at, { item, text = "", state }] of answers.entries()) {
      if (state === "failed") continue;
      const plain = item.replaceAll(/[^\p{L}\p{N}._-]+/gu, "-").slice(-60);
      const file = names.has(plain.toLowerCase()) ? `${plain}-${at}` : plain;
      names.add(file.toLowerCase());
      try {
        bytes += (await (await files.openOutput(`${path}/${file}.md`)).write(text)).bytes;
      } catch (error) {
        if (!(error instanceof InvalidRequest)) throw error;
        skipped += 1;
      }
    }
    return { path, bytes, skipped };
  };
}

/** The answer of `route_and_generate` for a batch. One that another daemon continued has no caller who writes its output. */
export function batchAnswer(summary: BatchSummary, isContinued = true) {
  const { id, models, counts, failures, examples, text } = summary;
  const { asked = 0, open = 0 } = counts;
  const notes = notesOf(summary, isContinued);
  const characters = asked <= 5 ? sampleCharacters : exampleCharacters;
  return defined({
    text,
    model: models.join(", "),
    engine: "",
    reason: `${asked - open} of ${counted(asked, "answer")}`,
    results: `ollm://results/${id}`,
    notes: notes.length === 0 ? undefined : notes,
    for_each: defined({
      counts,
      failures: failures.length === 0 ? undefined : failures.slice(0, shownFailures),
      examples: text === undefined ? examples.map((each) => exampleOf(each, characters)) : undefined,
    }),
  });
}

/** The answer of `run_pipeline`. */
export function pipelineAnswer(summary: BatchSummary, isContinued = true) {
  const { id, models, failures, text, steps, asks } = summary;
  const notes = notesOf(summary, isContinued);
  return defined({
    text,
    model: models.join(", "),
    steps: steps.map((step) => ({ ...step })),
    failures: failures.length === 0 ? undefined : failures.slice(0, shownFailures),
    asks,
    results: `ollm://results/${id}`,
    notes: notes.length === 0 ? undefined : notes,
  });
}

/** The answer of a job that another daemon continued. */
export function continuedAnswer(summary: BatchSummary): Readonly<Record<string, unknown>> {
  return summary.pipeline === undefined ? batchAnswer(summary) : pipelineAnswer(summary);
}

function notesOf({ outputs, notes }: BatchSummary, isContinued: boolean): string[] {
  const unwritten = `${outputs.join(", ")} was not written, because the daemon ended meanwhile; the same call writes it`;
  return isContinued && outputs.length > 0 ? [...notes, unwritten] : [...notes];
}

function exampleOf({ item, question, text = "" }: BatchAnswer, characters: number): string {
  return `${[item, question].filter(Boolean).join(", ")}: ${shortened(oneLine(text).trim(), characters)}`;
}
