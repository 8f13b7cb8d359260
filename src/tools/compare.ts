import * as z from "zod";
import { InvalidRequest } from "../orchestrator/api/errors.ts";
import type { ComparedModel, Comparisons, Eval, EvalCase } from "../orchestrator/api/facade-compare.ts";
import { alignRows, sideBySide } from "../orchestrator/util/columns.ts";
import { defined, snakedOnly } from "../orchestrator/util/values.ts";
import { isPattern, splitPattern } from "../orchestrator/util/file-name.ts";
import { formatBytes, formatCost, formatDuration, formatShare } from "../orchestrator/util/format-bytes.ts";
import { type ToolFiles, defineTool, writesByModel } from "./definition.ts";
import { notesFor, round } from "./render.ts";

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
  description: "Ask 2 to 5 models the same: answers, speed and memory side by side.",
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
          formatDuration(found.first_token_ms),
          formatDuration(found.total_ms),
          found.load_ms === 0 ? "loaded" : formatDuration(found.load_ms),
          found.memory_bytes === undefined ? "" : formatBytes(found.memory_bytes),
          ...(isPaid ? [found.cost ?? ""] : []),
        ]
      : [found.model, "failed"],
  );
  return alignRows([head, ...rows], [false, ...head.slice(1).map(() => true)]);
}

export const evaluateModels = defineTool({
  name: "evaluate_models",
  title: "Evaluate models",
  description:
    "Which model for the user's work: asks each model each case of files ({prompt, expected} a line) and shows quality " +
    "with its interval, speed, memory and cost. Repeat the call to continue one that was interrupted.",
  effect: "write",
  isIdempotent: true,
  isOpenWorld: true,
  set: "extra",
  canBecomeJob: true,
  usesProject: true,
  input: z.strictObject({
    action: z.enum(["run", "delete"]).default("run"),
    cases: z.array(z.string()).optional().describe("Files: JSON lines, YAML, or promptfoo's configuration."),
    from_ratings: z.boolean().optional().describe("Cases from comparisons with a pick."),
    models: z.array(z.string()).optional().describe("Default: all on this machine that fit."),
    judge: z.string().optional().describe("Local model for cases with a criterion."),
    budget: z.number().positive().optional().describe("The most that paid answers may cost."),
    max_tokens: z.int().min(1).optional(),
    eval_id: z.string().optional().describe("To delete."),
  }),
  output: z.object({
    eval_id: z.string(),
    resource: z.string(),
    answered: z.string().optional(),
    table: z.string().optional(),
    verdicts: z.array(z.string()).optional(),
    notes: z.array(z.string()).optional(),
  }),
  async run({ action, eval_id: id, ...input }, { orchestrator, caller, files, follow }) {
    const { comparisons } = orchestrator;
    if (action === "delete") {
      if (id === undefined) throw new InvalidRequest("evaluate_models delete needs an eval_id");
      await comparisons.removeEval(caller, id);
      return { data: { eval_id: id, resource: "ollm://evals" } };
    }
    const named = input.cases ?? [];
    const isFromRatings = input.from_ratings === true;
    if (isFromRatings === named.length > 0) {
      throw new InvalidRequest("evaluate_models needs either files with cases, or from_ratings true");
    }
    const read = isFromRatings ? await comparisons.readCases("picked") : await readCases(named, files, comparisons);
    const more = named.length > 1 ? ` and ${named.length - 1} more` : "";
    const request = defined({
      name: isFromRatings ? "picks" : `${baseOf(named[0] ?? "")}${more}`,
      ...read,
      models: input.models ?? ("auto" as const),
      judge: input.judge,
      budget: input.budget,
      maxTokens: input.max_tokens,
    });
    const found = await follow(await comparisons.evaluate(caller, request));
    return {
      data: defined({
        eval_id: found.id,
        resource: `ollm://evals/${found.id}`,
        answered: `${found.answered} of ${found.cases * found.models.length}`,
        table: tableOf(found),
        verdicts: found.verdicts.map(({ profile = "all", text }) => `${profile}: ${text}`),
        notes: notesFor(caller, found.notes),
      }),
    };
  },
  render({ eval_id, resource, answered, table, verdicts = [], notes = [] }) {
    const head = table === undefined ? [`Deleted ${eval_id}.`] : [`${answered} answers; all of it: ${resource}`, table];
    return [...head, ...verdicts, ...notes].join("\n");
  },
});

/** The cases of each file, with the texts of the files that they name, relative to its folder. */
async function readCases(
  named: readonly string[],
  files: ToolFiles,
  comparisons: Pick<Comparisons, "readCases">,
): ReturnType<Comparisons["readCases"]> {
  const known = new Map<string, Awaited<ReturnType<ToolFiles["readText"]>>>();
  const texts = [];
  const folders = new Map<string, string>();
  for (const name of named) {
    for (const text of await files.readText([name])) {
      texts.push(text);
      folders.set(text.path, isPattern(name) ? splitPattern(name).folder : name.slice(0, -baseOf(name).length));
    }
  }
  const { cases, notes } = await comparisons.readCases(texts);
  const read: EvalCase[] = [];
  for (const each of cases) {
    const own = [];
    for (const { path } of each.files ?? []) {
      const folder = folders.get(each.source ?? "") ?? "";
      const name =
        /^(?:[\\/~]|[A-Za-z]:)/.test(path) || folder === "" ? path : `${folder.replace(/[\\/]$/, "")}/${path}`;
      const found = known.get(name) ?? (await files.readText([name]));
      known.set(name, found);
      // A pattern names several.
      own.push(...found.map((text) => ({ path: isPattern(path) ? text.path : path, text: text.text })));
    }
    read.push({ ...each, ...(own.length > 0 && { files: own }) });
  }
  return { cases: read, notes: [...notes, ...files.notes()] };
}

const baseOf = (name: string): string => name.split(/[\\/]/).at(-1) ?? name;

function tableOf({ rows }: Eval): string {
  const head = ["task", "model", "right", "95 % interval", "seconds", "tokens/s", "memory", "cost"];
  const cells = rows.map((row) => [
    row.task,
    row.isContended === true ? `${row.model} *` : row.model,
    row.scored === 0 ? "" : `${row.right} of ${row.scored}`,
    row.quality === undefined ? "" : `${formatShare(row.quality.low)} to ${formatShare(row.quality.high)}`,
    row.seconds?.toFixed(1) ?? "",
    row.tokensPerSecond?.toFixed(1) ?? "",
    row.memoryBytes === undefined ? "" : formatBytes(row.memoryBytes),
    row.cost === undefined ? "" : formatCost(row.cost),
  ]);
  const isUsed = head.map((_name, at) => cells.some((row) => row[at] !== ""));
  return alignRows(
    [head, ...cells].map((row) => row.filter((_cell, at) => isUsed[at])),
    head.map((_name, at) => at > 1).filter((_right, at) => isUsed[at]),
  );
}
