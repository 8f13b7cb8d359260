import * as z from "zod";
import { InvalidRequest } from "../orchestrator/api/errors.ts";
import { counted } from "../orchestrator/util/format-bytes.ts";
import { confirmation, defineTool } from "./definition.ts";
import { defined } from "../orchestrator/util/defined.ts";

/** Number of keys listed in a question or an answer. */
const shownKeys = 20;

export const forget = defineTool({
  name: "forget",
  title: "Forget",
  description: "Delete what remember saved: one key, or all of a category or scope (asks the user, or confirm true).",
  effect: "destroy",
  input: z.strictObject({
    key: z.string().optional(),
    all: z.boolean().optional().describe("Everything, unless category or scope narrow it."),
    category: z.enum(["fact", "preference", "context"]).optional(),
    scope: z.enum(["global", "project"]).optional(),
    confirm: z.boolean().optional(),
  }),
  output: z.object({ forgotten: z.array(z.string()).describe("The first 20 keys."), total: z.number() }),
  async run(input, { orchestrator, caller }) {
    const { memories } = orchestrator;
    const { key, all, category, scope, confirm } = input;
    if (key === undefined && all !== true && category === undefined && scope === undefined) {
      throw new InvalidRequest("forget needs a key, a category, a scope or all true", {
        next: [{ step: "setArgument", argument: "key" }, { step: "listMemories" }],
      });
    }
    if (key !== undefined && all === true) {
      throw new InvalidRequest("forget takes a key or all, not both", { next: { step: "correctArguments" } });
    }
    const request = defined({ key, category, scope, isAll: all });
    const keys = await memories.matching(caller, request);
    // A key is exact; a category or scope may match more than was meant, so always ask.
    const isNamed = key !== undefined && keys.length <= 1;
    if (!isNamed && keys.length > 0 && confirm !== true) {
      return confirmation(`Forget ${counted(keys.length, "entry", "entries")} (${shown(keys)})?`, "true deletes them");
    }
    const forgotten = await memories.forget(caller, request);
    return { data: { forgotten: forgotten.slice(0, shownKeys), total: forgotten.length } };
  },
  render: ({ forgotten, total }) => (total === 0 ? "Nothing matches." : `Forgot ${shown(forgotten, total)}`),
});

function shown(keys: readonly string[], total = keys.length): string {
  const first = keys.slice(0, shownKeys);
  const rest = total - first.length;
  return rest > 0 ? `${first.join(", ")} and ${rest} more` : first.join(", ");
}
