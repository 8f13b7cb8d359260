import * as z from "zod";
import { InvalidRequest, type NeedsInput } from "../orchestrator/api/errors.ts";
import type { Comparison, Preference } from "../orchestrator/api/facade-compare.ts";
import type { Task } from "../orchestrator/api/types.ts";
import { type ToolContext, defineTool } from "./definition.ts";
import { taskNamed } from "./render.ts";

const choice = z.object({ task: z.string(), model: z.string() });
const preference = choice.extend({ comparison_id: z.string(), picked_at: z.string() });

export const pickWinner = defineTool({
  name: "pick_winner",
  title: "Pick a winner",
  description: "pick: routing prefers this model of a comparison for its kind of task. undo: undo the newest pick.",
  effect: "write",
  isIdempotent: false,
  isOpenWorld: false,
  input: z.strictObject({
    action: z.enum(["pick", "list", "undo"]).optional(),
    comparison_id: z.string().optional().describe("The newest when absent."),
    model: z.string().optional(),
    task: z.string().optional(),
  }),
  output: z.object({
    action: z.string(),
    preferences: z.array(preference).describe("In effect now."),
    picked: preference.optional(),
    undone: choice.optional(),
  }),
  async run({ action = "pick", comparison_id: id, model, task: named }, context) {
    const task = taskNamed(named);
    const { orchestrator, caller } = context;
    const { comparisons } = orchestrator;
    if (action === "list") return { data: { action, preferences: await held(context) } };
    if (action === "undo") {
      const undone = await undo(context, task);
      return { data: { action, preferences: await held(context), undone: choiceData(undone) } };
    }
    const comparison = await (id === undefined ? newest(context) : comparisons.get(caller, id));
    if (model === undefined || model.trim() === "") return { needsInput: whichModel(comparison) };
    const picked = await comparisons.pick(caller, comparison.id, model, task);
    return { data: { action, preferences: await held(context), picked: preferenceData(picked) } };
  },
  render({ action, preferences, picked, undone }) {
    if (picked !== undefined) {
      return `Routing now prefers ${picked.model} for ${picked.task} tasks; pick_winner with action "undo" undoes it.`;
    }
    const now = preferences.map(({ task, model, picked_at }) => `${task}: ${model} (picked ${picked_at.slice(0, 10)})`);
    if (action === "undo" && undone !== undefined) {
      const before = preferences.find(({ task }) => task === undone.task);
      if (before === undefined) return `Routing no longer prefers a model for ${undone.task} tasks.`;
      return before.model === undone.model
        ? `Routing still prefers ${before.model} for ${undone.task} tasks, by an earlier pick.`
        : `Routing now prefers ${before.model} for ${undone.task} tasks, no longer ${undone.model}.`;
    }
    return now.length === 0 ? "No model was picked yet." : now.join("\n");
  },
});

async function held({ orchestrator, caller }: ToolContext): Promise<z.input<typeof preference>[]> {
  return (await orchestrator.comparisons.preferences(caller)).map(preferenceData);
}

function choiceData({ task, model }: Preference): z.input<typeof choice> {
  return { task, model };
}

function preferenceData({ task, model, comparisonId, pickedAt }: Preference): z.input<typeof preference> {
  return { task, model, comparison_id: comparisonId, picked_at: pickedAt };
}

async function newest({ orchestrator, caller }: ToolContext): Promise<Comparison> {
  const [found] = await orchestrator.comparisons.list(caller);
  if (found !== undefined) return found;
  throw new InvalidRequest("there is no comparison yet", { next: { step: "compareModels" } });
}

/** Undoes the newest pick, of `task` if given. Throws `InvalidRequest` if there is none. */
async function undo({ orchestrator, caller }: ToolContext, task: Task | undefined): Promise<Preference> {
  const { comparisons } = orchestrator;
  const [last] = await comparisons.preferences(caller);
  const kind = task ?? last?.task;
  const undone = kind === undefined ? undefined : await comparisons.undo(caller, kind);
  if (undone !== undefined) return undone;
  throw new InvalidRequest(`nothing was picked${task === undefined ? "" : ` for ${task} tasks`}`, {
    next: { step: "listWinners" },
  });
}

function whichModel({ id, task, results }: Comparison): NeedsInput {
  const names = results.filter(({ error }) => error === undefined).map(({ model }) => model);
  return {
    message: `Which model did best in ${id}? Routing will prefer it for ${task} tasks.`,
    fields: {
      model: { type: "string", description: `One of ${names.join(", ")}.`, isRequired: true, enum: names },
    },
  };
}
