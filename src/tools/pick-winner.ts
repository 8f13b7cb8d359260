import * as z from "zod";
import { InvalidRequest, type NeedsInput } from "../orchestrator/api/errors.ts";
import type { Comparison, Preference } from "../orchestrator/api/facade-compare.ts";
import { advice } from "../orchestrator/api/next-step.ts";
import { type Task, tasks } from "../orchestrator/api/types.ts";
import { type ReadonlyDeep, type ToolContext, confirmation, defineTool } from "./definition.ts";
import { taskNamed } from "./render.ts";
import { defined, snakedOnly } from "../orchestrator/util/values.ts";

const choice = z.object({ task: z.string(), model: z.string() });
const preference = choice.extend({ comparison_id: z.string().optional(), picked_at: z.string() });

const output = z.object({
  action: z.string(),
  preferences: z.array(preference),
  picked: preference.optional(),
  undone: choice.optional(),
  task: z.string().optional(),
  rated: z.string().optional(),
  is_hint: z.boolean().optional(),
});

export const pickWinner = defineTool({
  name: "pick_winner",
  title: "Pick a winner",
  description:
    "pick: routing prefers model for task, or that of a comparison. good, bad: rate its answer. undo: undo a pick.",
  effect: "write",
  input: z.strictObject({
    action: z.enum(["pick", "list", "undo", "good", "bad", "reset"]).optional(),
    comparison_id: z.string().optional(),
    model: z.string().optional(),
    task: z.string().optional(),
    answer_id: z.string().optional(),
    force: z.boolean().optional(),
  }),
  output,
  async run({ action = "pick", ...given }, context) {
    const { comparison_id: id, model: named, answer_id, force } = given;
    const model = named?.trim() === "" ? undefined : named;
    const task = taskNamed(given.task);
    const { caller } = context;
    const { comparisons } = context.orchestrator;
    const answer = async (done: Partial<ReadonlyDeep<z.input<typeof output>>>) => ({
      data: { action, preferences: (await comparisons.preferences(caller)).map(preferenceData), ...done },
    });
    switch (action) {
      case "list":
        return answer({});
      case "undo":
        return answer({ undone: snakedOnly(await undo(context, task), ["task", "model"]) });
      case "good":
      case "bad": {
        if (model === undefined || task === undefined) return { needsInput: whichAnswer(action, model, task) };
        const rating = defined({ task, model, isGood: action === "good", answerId: answer_id, isForced: force });
        const { model: rated, isForced } = await comparisons.rate(caller, rating);
        return answer(defined({ task, rated, is_hint: isForced }));
      }
      case "reset": {
        const scope = defined({ task, model });
        if (context.answers?.["confirm"] !== true) return { needsInput: mayReset(scope) };
        await comparisons.reset(caller, scope);
        return answer(defined({ task }));
      }
      case "pick": {
        if (id === undefined && model !== undefined && task !== undefined) {
          return answer({ picked: preferenceData(await comparisons.prefer(caller, task, model)) });
        }
        const comparison = await (id === undefined ? newest(context) : comparisons.get(caller, id));
        if (model === undefined) return { needsInput: whichModel(comparison) };
        return answer({ picked: preferenceData(await comparisons.pick(caller, comparison.id, model, task)) });
      }
    }
  },
  render({ action, preferences, picked, undone, task: of, rated, is_hint }) {
    if (picked !== undefined) {
      return `Routing now prefers ${picked.model} for ${picked.task} tasks; pick_winner with action "undo" undoes it.`;
    }
    if (rated !== undefined) {
      return `Rated ${rated} ${action} for ${of} tasks${is_hint === true ? "; without a recent answer it counts little" : ""}.`;
    }
    if (action === "reset") return "Forgot what was learned; picks stay.";
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

function preferenceData(picked: Preference) {
  return snakedOnly(picked, ["task", "model", "comparisonId", "pickedAt"]);
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

function whichAnswer(action: string, model: string | undefined, task: Task | undefined): NeedsInput {
  const field = (description: string) => ({ type: "string", description, isRequired: true }) as const;
  return {
    message: `Which answer was ${action}?`,
    fields: {
      ...(model === undefined && { model: field("The model that answered.") }),
      ...(task === undefined && { task: { ...field("Its task."), enum: tasks } }),
    },
  };
}

function mayReset({ task, model = "all models" }: { readonly task?: Task; readonly model?: string }): NeedsInput {
  const about = `${model}${task === undefined ? "" : ` for ${task} tasks`}`;
  const { needsInput } = confirmation(`Forget what was learned about ${about}? Picks stay.`, "true forgets it");
  return { ...needsInput, userOnly: advice("ask the user to run `ollm profiles reset`") };
}
