import * as z from "zod";
import type { ComparedModel } from "../orchestrator/api/facade-compare.ts";
import { alignRows, sideBySide } from "../orchestrator/util/columns.ts";
import { formatBytes, formatDuration, formatCost } from "../orchestrator/util/format-bytes.ts";
import { defineTool, writesByModel } from "./definition.ts";
import { notesFor, round } from "./render.ts";
import { defined, snakedOnly } from "../orchestrator/util/defined.ts";

/** Characters of each answer in the structured form; the resource has the whole answer. */
const shownCharacters = 2000;
const tableCells = 100;
const tableLines = 12;

const result = z.object({
  model: z.string(),
  text: z.string().optional(),
  is_cut: z.boolean().optional(),
  completion_tokens: z.number().optional(),
  tokens_per_second: z.number().optional(),
  first_token_ms: z.number().optional(),
  total_ms: z.number().optional().describe("Without load, queue."),
  load_ms: z.number().optional(),
  memory_bytes: z.number().optional(),
  cost: z.string().optional(),
  is_contended: z.boolean().optional().describe("Times are unreliable."),
  error: z.string().optional(),
});

const output = z.object({
  comparison_id: z.string(),
  resource: z.string(),
  task: z.string(),
  results: z.array(result),
  order: z.string(),
  judgement: z
    .object({ judge: z.string(), ranking: z.array(z.array(z.string())), reason: z.string(), note: z.string() })
    .optional(),
  notes: z.array(z.string()).optional(),
});

type Output = z.output<typeof output>;

export const compare = defineTool({
  name: "compare",
  title: "Compare",
  description:
    "Ask 2 to 5 models the same: answers, speed and memory side by side. Then call pick_winner with the user's favourite.",
  ...writesByModel,
  view: "ui://ollm/compare",
  // The number of models is checked by the orchestrator: bounds in the schema cost tokens in every conversation.
  input: z.strictObject({
    prompt: z.string(),
    models: z.union([z.literal("auto"), z.array(z.string())]).default("auto"),
    system: z.string().optional(),
    files: z.array(z.string()).optional(),
    judge: z.string().optional().describe('Model that ranks the answers blind, or "auto".'),
    runs: z.int().min(1).max(9).optional(),
    max_tokens: z.int().min(1).optional(),
  }),
  output,
  async run(input, { orchestrator, caller, files, follow }) {
    const request = defined({
      prompt: input.prompt,
      models: input.models,
      system: input.system,
      files: input.files?.length ? await files.readText(input.files) : undefined,
      judge: input.judge,
      runs: input.runs,
      maxTokens: input.max_tokens,
    });
    const {
      id,
      task,
      results,
      order,
      judgement,
      notes = [],
    } = await follow(await orchestrator.comparisons.compare(caller, request));
    return {
      data: defined({
        comparison_id: id,
        resource: `ollm://comparisons/${id}`,
        task,
        results: results.map(resultData),
        order,
        judgement,
        notes: notesFor(caller, [...notes, ...files.notes()]),
      }),
    };
  },
  render: renderComparison,
});

function resultData(found: ComparedModel) {
  if (found.error !== undefined) return { model: found.model, error: found.error };
  return defined({
    ...snakedOnly(found, ["model", "completionTokens", "memoryBytes", "isContended"]),
    text: found.text.slice(0, shownCharacters),
    is_cut: found.text.length > shownCharacters ? true : undefined,
    tokens_per_second: round(found.tokensPerSecond),
    first_token_ms: round(found.firstTokenMs, 0),
    total_ms: round(found.totalMs, 0),
    load_ms: round(found.loadMs, 0),
    cost: found.cost && formatCost(found.cost),
  });
}

function renderComparison(comparison: Output): string {
  const { results, judgement, notes = [] } = comparison;
  const answers = sideBySide(
    results.map(({ model, text = "", error }) => ({
      title: model,
      text: error === undefined ? text : `failed: ${error}`,
    })),
    { width: tableCells, maxLines: tableLines },
  );
  const table = `${figures(results)}\n\n${answers}`;
  const fence = "`".repeat(Math.max(3, ...[...table.matchAll(/`+/g)].map(([run]) => run.length + 1)));
  const lines = [
    `${fence}\n${table}\n${fence}`,
    `Order: ${comparison.order}.`,
    ...(results.some(({ is_contended }) => is_contended) ? ["* other work ran meanwhile: times are unreliable"] : []),
    ...(judgement === undefined
      ? []
      : [
          `${judgement.judge} ranks ${judgement.ranking.map((tied) => tied.join(" = ")).join(" > ")}: ${judgement.reason} (${judgement.note})`,
        ]),
    ...notes,
    `Full answers: ${comparison.resource}. pick_winner with comparison_id "${comparison.comparison_id}" makes routing prefer one for ${comparison.task} tasks.`,
  ];
  return lines.join("\n");
}

function figures(results: Output["results"]): string {
  const isPaid = results.some(({ cost }) => cost !== undefined);
  const head = ["model", "tokens", "tokens/s", "first token", "total", "load", "memory", ...(isPaid ? ["cost"] : [])];
  const rows = results.map((found) =>
    found.error === undefined
      ? [
          `${found.model}${found.is_contended === true ? " *" : ""}`,
          `${found.completion_tokens ?? ""}`,
          found.tokens_per_second?.toFixed(1) ?? "",
          seconds(found.first_token_ms),
          seconds(found.total_ms),
          found.load_ms === 0 ? "loaded" : seconds(found.load_ms),
          found.memory_bytes === undefined ? "" : formatBytes(found.memory_bytes),
          ...(isPaid ? [found.cost ?? ""] : []),
        ]
      : [found.model, "failed"],
  );
  return alignRows([head, ...rows], [false, ...head.slice(1).map(() => true)]);
}

function seconds(milliseconds: number | undefined): string {
  if (milliseconds === undefined) return "";
  return formatDuration(milliseconds);
}
