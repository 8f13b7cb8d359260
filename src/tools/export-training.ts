import * as z from "zod";
import { InvalidRequest } from "../orchestrator/api/errors.ts";
import { type TrainingMaterial, type TrainingRequest, trainingSources } from "../orchestrator/api/facade-compare.ts";
import { advice } from "../orchestrator/api/next-step.ts";
import { isShell, tasks } from "../orchestrator/api/types.ts";
import { defined } from "../orchestrator/util/values.ts";
import { counted } from "../orchestrator/util/format-bytes.ts";
import { type ToolAnswer, confirmation, defineTool } from "./definition.ts";

const counts = z.record(z.string(), z.number());
const output = z.object({
  lines: z.number().optional(),
  by_task: counts.optional(),
  by_source: counts.optional(),
  by_model: counts.optional(),
  refused: z.array(z.object({ place: z.string(), reason: z.string() })).optional(),
  refused_total: z.number().optional(),
  first: z.array(z.string()).optional().describe("In a shell only."),
  output_path: z.string().optional(),
  card_path: z.string().optional(),
  forgotten: z.number().optional(),
});

/** How many refusals are listed; a secret in a file that is asked about often is found often. */
const maxRefused = 50;
/** Lines that a shell shows, and characters of each. */
const [shownLines, shownCharacters] = [3, 300];

export const exportTraining = defineTool({
  name: "export_training",
  title: "Export training material",
  description:
    "Writes the user's rated, picked or verified answers as chat lines for a trainer, without those with secrets, and a " +
    "card beside them. dry_run counts. Returns counts, never the texts. forget deletes recorded answers.",
  effect: "write",
  set: "extra",
  input: z.strictObject({
    action: z.enum(["export", "forget"]).default("export"),
    format: z.enum(["openai", "sharegpt"]).default("openai"),
    tasks: z.array(z.enum(tasks)).optional(),
    sources: z.array(z.enum(trainingSources)).optional(),
    output_path: z.string().min(1).optional().describe("A new file."),
    dry_run: z.boolean().default(false),
  }),
  output,
  async run(
    { action, output_path: path, dry_run: isDry, ...asked },
    context,
  ): Promise<ToolAnswer<z.input<typeof output>>> {
    const { orchestrator, caller, files, answers } = context;
    const { comparisons } = orchestrator;
    // A shell asks by itself. An assistant may not collect what the user wrote to others.
    const isAgreed = isShell(caller.client) || answers?.["confirm"] === true;
    if (action === "forget") {
      if (!isAgreed) return mayDo("Delete all recorded answers?", "--forget");
      return { data: { forgotten: await comparisons.forgetTraining(caller) } };
    }
    if (path === undefined && !isDry) {
      throw new InvalidRequest("export_training needs an output_path, or dry_run", {
        next: { step: "correctArguments" },
      });
    }
    const target = path === undefined || isDry ? undefined : await files.openOutput(path);
    const card = target && (await files.openOutput(target.path.replace(/(?:\.jsonl?)?$/i, ".card.md")));
    const material = await comparisons.trainingMaterial(caller, defined(asked));
    const data = { ...shown(material), ...(isShell(caller.client) && { first: firstLines(material) }) };
    if (target === undefined || card === undefined) return { data };
    if (material.count === 0) throw nothingYet();
    if (!isAgreed) return mayDo(`Write ${counted(material.count, "conversation")} to ${path}?`, "-o FILE");
    await target.write(material.text);
    await card.write(cardOf(target.path.split(/[\\/]/).at(-1) ?? "", asked.format, material));
    return { data: { ...data, output_path: target.path, card_path: card.path } };
  },
  render({ lines = 0, refused = [], refused_total = 0, output_path: path, card_path: card, forgotten, ...by }) {
    if (forgotten !== undefined) return `Deleted ${counted(forgotten, "recorded answer")}.`;
    const kinds = [by.by_source, by.by_task, by.by_model].map((each = {}) =>
      Object.entries(each).map(([name, count]) => `${name} ${count}`),
    );
    const all = counted(lines, "line");
    const head = path === undefined ? `${all} would be written` : `Wrote ${all} to ${path}, and ${card}`;
    const shares = lines === 0 ? "" : ` (${kinds.map((each) => each.join(", ")).join("; ")})`;
    const more = refused_total > refused.length ? [`and ${refused_total - refused.length} more`] : [];
    const left = refused.map(({ place, reason }) => `${place}: ${reason}`);
    return [`${head}${shares}; ${refused_total} refused`, ...left, ...more].join("\n");
  },
});

function shown({ count, counts: by, refused }: TrainingMaterial) {
  return {
    lines: count,
    by_task: { ...by.task },
    by_source: { ...by.source },
    by_model: { ...by.model },
    refused: refused.slice(0, maxRefused).map((each) => ({ ...each })),
    refused_total: refused.length,
  };
}

function firstLines({ text }: TrainingMaterial): string[] {
  const lines = text.split("\n", shownLines).filter((line) => line !== "");
  return lines.map((line) => (line.length > shownCharacters ? `${line.slice(0, shownCharacters)} …` : line));
}

function mayDo(message: string, flag: string) {
  const { needsInput } = confirmation(message, "true does it");
  return { needsInput: { ...needsInput, userOnly: advice(`ask the user to run \`ollm export --training ${flag}\``) } };
}

function nothingYet(): InvalidRequest {
  return new InvalidRequest("there is no answer to train with yet", {
    next: [
      advice("pick answers with `ollm compare`"),
      advice("record them: `ollm config set training.tasks code`, then rate with `ollm good`"),
    ],
  });
}

/** The data card, as Markdown. */
function cardOf(
  name: string,
  format: TrainingRequest["format"],
  { count, counts: by, dates, refused }: TrainingMaterial,
) {
  const rows = Object.entries(by).flatMap(([kind, each]) =>
    Object.entries(each).map(([value, lines]) => `| ${kind} | ${value.replaceAll(/[|`]/g, " ")} | ${lines} |`),
  );
  const reasons = new Map<string, number>();
  for (const { reason } of refused) reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  const left = [...reasons].map(([reason, times]) => `- ${times}: ${reason}`);
  const kind = { openai: "OpenAI's chat format", sharegpt: "ShareGPT's format" }[format];
  return `# ${name}

${counted(count, "conversation")} in ${kind}, one a line, exported by ollm. The answers are of ${dates[0]} to ${dates.at(-1)}.

| by | value | lines |
| --- | --- | --- |
${rows.join("\n")}

\`rated\`: the user rated the answer as good. \`picked\`: it won a comparison. \`verified\`: its check passed, which does not prove
that it is true. The prompts are the user's own, with the texts of files. A model's own system prompt, and what ollm remembers,
are left out of them; an answer may repeat it.

## Refused

${left.length === 0 ? "Nothing." : left.join("\n")}

Secrets are looked for by patterns, and one without a known form is not found. Read the file before you pass it on.

## Before you use it

- The answers are those of the models above. A model's licence may limit what its answers may be used for, and training another
  model may be among that.
- \`ollm export --training --forget\` deletes recorded answers, and \`ollm config unset training.tasks\` ends the recording. This
  file stays until you delete it.
`;
}
