import * as z from "zod";
import { confirmation, defineTool } from "./definition.ts";
import { defined } from "../orchestrator/util/defined.ts";

export const deleteTemplate = defineTool({
  name: "delete_template",
  title: "Delete a prompt template",
  description: "Delete a prompt template of the user (asks the user, or confirm true); built-in ones stay.",
  effect: "destroy",
  isIdempotent: false,
  set: "extra",
  input: z.strictObject({ name: z.string().min(1), confirm: z.boolean().optional() }),
  output: z.object({ name: z.string(), file: z.string(), shown_again: z.string().optional() }),
  async run({ name, confirm }, { orchestrator, caller }) {
    const { templates } = orchestrator;
    const found = await templates.get(caller, name);
    if (found.source === "user" && confirm !== true) {
      return confirmation(`Delete template ${found.name}?`, `true deletes ${found.file}`);
    }
    const removed = await templates.remove(caller, found.name);
    return { data: defined({ name: removed.name, file: removed.file, shown_again: removed.hides }) };
  },
  render: ({ name, file, shown_again }) =>
    `Deleted template ${name} (${file})${shown_again === undefined ? "" : `; the ${shown_again} one is used again`}`,
});
