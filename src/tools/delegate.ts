import * as z from "zod";
import { InvalidRequest } from "../orchestrator/api/errors.ts";
import { type Delegated, type Worker, changedLines } from "../orchestrator/api/facade-batches.ts";
import { advice } from "../orchestrator/api/next-step.ts";
import { oneLine } from "../orchestrator/util/control-characters.ts";
import { defined } from "../orchestrator/util/values.ts";
import { counted } from "../orchestrator/util/format-bytes.ts";
import { sameModel } from "../orchestrator/util/model-name.ts";
import { type ToolContext, confirmation, defineTool, writesByModel } from "./definition.ts";
import { endOf, noteLines } from "./render.ts";

/** Characters of the diff that an assistant gets; the whole is a resource. */
const shownDiff = 160;
const shownOutput = 120;
/** Seconds of a check that the call names. */
const timeout = 120;

const output = z.object({
  state: z.enum(["verified", "unverified", "do_it_yourself", "applied"]),
  summary: z.string(),
  files: z.array(z.object({ path: z.string(), kind: z.enum(["added", "changed"]), diff: z.string() })).optional(),
  check: z.object({ name: z.string(), passed: z.boolean(), how: z.string(), output: z.string() }).partial().optional(),
  tried: z.array(z.string()).optional(),
  model: z.string().optional(),
  turns: z.number().optional(),
  tokens: z.object({ prompt: z.number(), completion: z.number() }).optional(),
  notes: z.array(z.string()).optional(),
  results: z.string().optional(),
  diff: z.string().optional(),
});

export const delegate = defineTool({
  name: "delegate",
  title: "Delegate a task to a local model",
  description:
    "Have a local model do a small task on a copy of files. A check decides: it returns a verified diff, or hands the " +
    "task back. apply puts the diff into the files. A job from its start.",
  ...writesByModel,
  set: "extra",
  input: z.strictObject({
    task: z.string().min(1).max(20_000).optional().describe("Needed without apply."),
    files: z.array(z.string().min(1)).max(64).optional().describe("Folders, files, patterns; default: the project."),
    worker: z.string().min(1).optional().describe("Named by the user in the setting workers, or an agent."),
    verify: z
      .array(z.string().min(1).max(2_000))
      .min(1)
      .max(50)
      .optional()
      .describe("Program, arguments; asks the user."),
    profile: z.string().optional(),
    model: z.string().min(1).optional(),
    max_turns: z.int().min(1).max(100).optional(),
    max_seconds: z.int().min(1).max(7_200).optional(),
    apply: z.string().optional().describe("Job whose diff is applied."),
  }),
  output,
  async run({ task, apply, verify, ...given }, context) {
    const { orchestrator, caller, files, follow } = context;
    if (apply !== undefined) {
      const names = await files.applyWork(apply);
      const summary = `applied to ${counted(names.length, "file")}: ${oneLine(names.join(", "))}`;
      return { data: { state: "applied" as const, summary } };
    }
    if (task === undefined) {
      const next = advice("set task or apply");
      throw new InvalidRequest("delegate needs a task, or the job whose changes are applied", { next });
    }
    const worker = given.worker === undefined ? {} : await workerNamed(given.worker, context);
    if (verify !== undefined) {
      // The answer holds for this command alone.
      const field = `run_${await digestOf(JSON.stringify(verify))}`;
      const answer = context.answers?.[field];
      const message = `Run this check on a worker's copy of the files, without network and without your other files? ${shown(verify)}`;
      const { needsInput } = confirmation(message, "Yes, run it", field);
      if (answer === undefined)
        return { needsInput: { ...needsInput, userOnly: { step: "askUserToSet", setting: "workers" } } };
      if (answer !== true)
        throw new InvalidRequest("the user did not allow the check", { next: advice("leave out verify") });
    }
    const verifier = verify === undefined ? worker.verifier : { name: shown(verify), verify, timeout };
    const workspace = await files.copy(given.files, `delegate-${crypto.randomUUID().slice(0, 8)}`, verifier);
    const { max_turns: turns, max_seconds: seconds, profile = worker.profile, model = worker.model } = given;
    const limits = defined({ turns, seconds });
    const request = { ...worker, task, workspace, limits, verifier, profile, model };
    const delegated = await follow((await orchestrator.workers()).start(caller, request), true);
    const results = delegated.state === "do_it_yourself" ? undefined : `ollm://results/${workspace.id}`;
    return { data: defined({ ...delegated, results }) };
  },
  lean({ state, summary, files = [], check, tried = [], results, notes = [] }) {
    return defined({
      state,
      summary,
      tried: tried.length === 0 ? undefined : tried,
      notes: notes.length === 0 ? undefined : notes,
      diff: files.length === 0 ? undefined : cutDiff(files, results),
      check: check?.passed === false ? { passed: false, output: endOf(check.output ?? "", shownOutput) } : undefined,
    });
  },
  render({ summary, files = [], check, tried = [], results = "", notes }) {
    const failure = check?.passed === false ? endOf(check.output ?? "", shownOutput) : "";
    const lines = [summary, failure, ...tried.map((each) => `tried: ${each}`), ...noteLines(notes)];
    const text = lines.filter((line) => line !== "").join("\n");
    if (files.length === 0) return text;
    return [cutDiff(files, results), `${text}\ndelegate with apply "${results.replace(/.*\//, "")}"`];
  },
});

/** The changed lines, without those around them, as far as an assistant gets them. */
function cutDiff(files: Delegated["files"], results = ""): string {
  const lines = files.flatMap(({ path, diff }) => {
    const changed = changedLines(diff);
    // Without git a sentence stands in place of a diff.
    return [`${path}:`, ...(changed.length === 0 ? [diff.trim()] : changed)];
  });
  let characters = 0;
  const kept = lines.filter((line) => (characters += line.length + 1) <= shownDiff);
  const more = lines.length - kept.length;
  return more === 0 ? kept.join("\n") : `${kept.join("\n")}\n… (${counted(more, "more line")}: ${results})`;
}

/** The user's worker of that name, else an agent of Claude Code in the user's home, or in a trusted project. */
async function workerNamed(name: string, { orchestrator, caller, files }: ToolContext): Promise<Worker> {
  const { project } = caller;
  const agent = await files.agent(name, project?.isTrusted === true ? project.folder : undefined);
  const worker = (await orchestrator.workers()).named(name, agent);
  const { model: wanted } = worker;
  if (wanted === undefined || worker !== agent) return worker;
  // An agent may name a model of its own program, which is not meant here.
  const { models } = await orchestrator.listModels(caller, { query: wanted, isInstalledOnly: true });
  const model = models.find((each) => each.trust === "local" && sameModel(each.name, wanted))?.name;
  return { ...worker, model };
}

/** As a person would type it, nearly. */
function shown(command: readonly string[]): string {
  return command.map((word) => (/^[\w./:=@%+,-]+$/.test(word) ? word : JSON.stringify(oneLine(word)))).join(" ");
}

async function digestOf(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return Buffer.from(digest).toString("hex").slice(0, 16);
}
