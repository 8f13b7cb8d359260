import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import type { ToolAnswers, ToolInputs } from "../../tools/index.ts";
import type { CommandIo } from "../terminal/io.ts";
import { withSession, type Session } from "../terminal/session.ts";
import { show } from "./show.ts";
import { renderTable } from "../terminal/table.ts";
import { oneLine } from "../../orchestrator/util/control-characters.ts";
import { localTime } from "../../orchestrator/util/local-time.ts";

/** Options of `ollm winners`. */
export interface WinnersFlags {
  readonly pick?: string;
  readonly comparison?: string;
  readonly task?: string;
  readonly undo?: boolean;
  readonly json?: boolean;
}

type Preferences = ToolAnswers["pick_winner"]["preferences"];

/** `ollm winners`: lists the picks of comparisons, makes one, or undoes the newest. */
export function winners(flags: WinnersFlags, io: CommandIo): Promise<number> {
  return withSession(io, {}, async (session) => {
    if (flags.undo === true && flags.pick !== undefined) {
      throw new InvalidRequest("--undo and --pick exclude each other", { next: advice("leave out one of them") });
    }
    if (flags.undo === true) {
      const { structured } = await session.call("pick_winner", { action: "undo", task: flags.task });
      show(structured, flags, io, undoneText);
    } else if (flags.pick !== undefined) {
      const { comparison, task, pick } = flags;
      await pickWinner({ comparison_id: comparison, model: pick, task }, flags, session);
    } else {
      const { structured } = await session.call("pick_winner", { action: "list" });
      show(structured, flags, io, ({ preferences }) => list(preferences, io));
    }
    return 0;
  });
}

/** Makes a model the preferred one for its kind of task, and shows how to undo it. */
export async function pickWinner(
  choice: ToolInputs["pick_winner"],
  options: { readonly json?: boolean },
  { call, io }: Session,
): Promise<void> {
  const { structured } = await call("pick_winner", choice);
  show(structured, options, io, ({ picked }) =>
    picked === undefined
      ? ""
      : `Routing now prefers ${oneLine(picked.model)} for ${oneLine(picked.task)} tasks (undo: ollm winners --undo)\n`,
  );
}

/** What holds for the task after an undo. */
function undoneText({ undone, preferences }: ToolAnswers["pick_winner"]): string {
  if (undone === undefined) return "";
  const task = oneLine(undone.task);
  const preferred = preferences.find((preference) => preference.task === undone.task)?.model;
  if (preferred === undefined) return `Routing no longer prefers a model for ${task} tasks\n`;
  return preferred === undone.model
    ? `Routing still prefers ${oneLine(preferred)} for ${task} tasks, by an earlier pick\n`
    : `Routing now prefers ${oneLine(preferred)} for ${task} tasks, no longer ${oneLine(undone.model)}\n`;
}

function list(preferences: Preferences, io: CommandIo): string {
  if (preferences.length === 0) return "No model has been picked yet; `ollm compare PROMPT` ends with a pick.\n";
  return renderTable(
    preferences,
    [
      { title: "TASK", text: ({ task }) => task },
      { title: "MODEL", text: ({ model }) => model },
      { title: "PICKED", text: ({ picked_at }) => localTime(picked_at).slice(0, 10) },
      { title: "COMPARISON", text: ({ comparison_id }) => comparison_id, isExtra: 1 },
    ],
    io,
  );
}
