import path from "node:path";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { oneLine } from "../../orchestrator/util/control-characters.ts";
import { counted } from "../../orchestrator/util/format-bytes.ts";
import type { ToolAnswers, ToolInputs } from "../../tools/index.ts";
import { type CommandIo, agree, type Options } from "../terminal/io.ts";
import { withSession } from "../terminal/session.ts";
import { show } from "../terminal/terminal-text.ts";

type Asked = ToolInputs["export_training"];

interface ExportFlags extends Options<{ switch: "json" | "training" | "forget" | "yes"; text: "output" }> {
  readonly format?: Asked["format"];
  readonly task?: Asked["tasks"];
  readonly source?: Asked["sources"];
}

/** `ollm export --training`: shows what would be written and what not, asks, and writes; without a file only the former. */
export function exportTraining(flags: ExportFlags, io: CommandIo): Promise<number> {
  const { training, format, task: tasks, source: sources, output, forget, yes } = flags;
  if (training !== true) {
    throw new InvalidRequest("ollm export needs to know what", {
      next: [advice("--training: answers to train a model with"), advice("`ollm memory export` prints saved entries")],
    });
  }
  const target = output === undefined ? undefined : path.resolve(io.workingDirectory, output);
  const roots = target === undefined ? [] : [path.dirname(target)];
  return withSession(io, { roots }, async ({ call }) => {
    if (forget === true) {
      if (yes !== true) await agree("Delete all recorded answers?", io);
      const { structured, text } = await call("export_training", { action: "forget" });
      return show(structured, flags, io, () => `${text}\n`);
    }
    const asked = { format, tasks, sources };
    const { structured: plan, text } = await call("export_training", { ...asked, dry_run: true });
    const said = planText(plan, text);
    if (target === undefined) return show(plan, flags, io, () => said);
    io.stderr(said);
    // With nothing to write, the error of the tool says what to do.
    if (yes !== true && (plan.lines ?? 0) > 0) {
      await agree(`Write ${counted(plan.lines ?? 0, "line")} with your prompts to ${oneLine(target)}?`, io);
    }
    const done = await call("export_training", { ...asked, output_path: target });
    const { output_path: file = "", card_path: card = "", lines = 0 } = done.structured;
    show(
      done.structured,
      flags,
      io,
      () => `Wrote ${counted(lines, "line")} to ${oneLine(file)}, and ${oneLine(card)}\n`,
    );
  });
}

function planText({ first = [] }: ToolAnswers["export_training"], text: string): string {
  const lines = [...text.split("\n"), ...(first.length === 0 ? [] : ["The first lines:"]), ...first];
  return `${lines.map(oneLine).join("\n")}\n`;
}
