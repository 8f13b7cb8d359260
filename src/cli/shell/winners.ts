import { InvalidRequest } from "../../orchestrator/errors.ts";
import type { ToolAnswers, ToolInputs } from "../../tools/index.ts";
import type { CommandIo } from "../commands/io.ts";
import { withSession, type Session } from "./session.ts";
import { show } from "./show.ts";
import { renderTable } from "./table.ts";
import { oneLine } from "../../orchestrator/text/control-characters.ts";

/** Of `ollm winners`, under the names of its flags. */
export interface WinnersFlags {
  readonly pick?: string;
  readonly comparison?: string;
  readonly task?: string;
  readonly undo?: boolean;
  readonly json?: boolean;
}

type Preferences = ToolAnswers["pick_winner"]["preferences"];

/** `ollm winners`: what was picked in comparisons; picks one, or takes the newest back. */
export function winners(flags: WinnersFlags, io: CommandIo): Promise<number> {
  return withSession(io, {}, async (session) => {
    if (flags.undo === true && flags.pick !== undefined) {
      throw new InvalidRequest("--undo and --pick don't go together", { hint: "ollm winners --undo" });
    }
    if (flags.undo === true) {
      const { structured, text } = await session.call("pick_winner", { action: "undo", task: flags.task });
      show(structured, flags, io, () => `${oneLine(text)}\n`);
    } else if (flags.pick !== undefined) {
      const { comparison, task, pick } = flags;
      await pickAndTell({ comparison_id: comparison, model: pick, task }, flags, session);
    } else {
      const { structured } = await session.call("pick_winner", { action: "list" });
      show(structured, flags, io, ({ preferences }) => list(preferences, io));
    }
    return 0;
  });
}

/** Makes a model the choice for its kind of task, and says how to undo it. */
export async function pickAndTell(
  choice: ToolInputs["pick_winner"],
  options: { readonly json?: boolean },
  { call, io }: Session,
): Promise<void> {
  const { structured, text } = await call("pick_winner", choice);
  show(structured, options, io, ({ picked }) =>
    picked === undefined
      ? `${oneLine(text)}\n`
      : `${oneLine(picked.task)} tasks go to ${oneLine(picked.model)} from now on; ollm winners --undo takes it back\n`,
  );
}

function list(preferences: Preferences, io: CommandIo): string {
  if (preferences.length === 0) return 'Nothing was picked yet: ollm compare "..." ends with a pick.\n';
  return renderTable(
    preferences,
    [
      { title: "TASK", text: ({ task }) => task },
      { title: "MODEL", text: ({ model }) => model },
      { title: "PICKED", text: ({ picked_at }) => picked_at.slice(0, 10) },
      { title: "COMPARISON", text: ({ comparison_id }) => comparison_id, isExtra: 1 },
    ],
    io,
  );
}
