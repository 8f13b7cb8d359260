import * as z from "zod";
import { InvalidRequest } from "../orchestrator/api/errors.ts";
import type { Comparisons, Eval, EvalCase } from "../orchestrator/api/facade-compare.ts";
import { alignRows } from "../orchestrator/util/columns.ts";
import { isPattern, splitPattern } from "../orchestrator/util/file-name.ts";
import { formatBytes, formatCost, formatShare } from "../orchestrator/util/format-bytes.ts";
import { type ToolFiles, defineTool } from "./definition.ts";
import { notesFor } from "./render.ts";
import { defined } from "../orchestrator/util/defined.ts";

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
