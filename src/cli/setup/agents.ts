import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { type CommandIo, type Options, whyNotChange } from "../terminal/io.ts";
import { hanging } from "../terminal/terminal-text.ts";
import { colourDiff, showDiff } from "./config-file.ts";
import { findTargets, gatherFacts } from "./clients.ts";
import { agentFiles, planAddGuide } from "./guide-plan.ts";
import { showUnchanged, writeAll } from "./setup-guide.ts";
import { removeEntries } from "./uninstall.ts";

/** The flags of `ollm agents install` and `remove`. */
type AgentsOptions = Options<{ switch: "print" | "yes" }>;

/** `ollm agents install`: exit codes as `ollm setup`. A file that it didn't write, or that was edited since, is kept. */
export async function installAgents({ print, yes }: AgentsOptions, io: CommandIo): Promise<number> {
  const facts = gatherFacts(io);
  const found = findTargets(facts, ["claude-code", "codex"]).flatMap(({ isFound, client }) =>
    isFound ? client.id : [],
  );
  if (found.length === 0) {
    throw new InvalidRequest("neither Claude Code nor Codex was found on this machine", {
      next: advice("start one of them once, then run ollm agents install again"),
    });
  }
  const files = agentFiles(facts).filter(({ client }) => found.includes(client.id));
  const plans = await Promise.all(files.map(planAddGuide));
  const changes = plans.filter((plan) => plan.kind === "change");
  for (const { target, file, text } of changes) {
    io.stdout(`${target.client.name}  ${target.file}\n${colourDiff(showDiff(target.file, file.text, text), io)}\n`);
  }
  io.stdout(plans.map((plan) => showUnchanged(plan, io)).join(""));
  const failed = plans.some((plan) => plan.kind === "problem") ? 1 : 0;
  if (print === true || changes.length === 0) return failed;
  const where =
    "These agents run on local models in sessions that are sent to the address of ollm serve. In any other session the program sends their tasks to its own service, which doesn't have these models: docs/agents.md";
  io.stdout(`${hanging("", where, io)}\n`);
  const question = `Write ${changes.length === 1 ? "this file" : `these ${changes.length} files`}?`;
  const refusal = await whyNotChange({ yes, purpose: "write these files", question, refused: failed }, io);
  if (refusal !== undefined) return refusal;
  if ((await writeAll(changes, io, new Date())) > 0) return 1;
  io.stdout("Start a new session to use them. To take them back: ollm agents remove\n");
  return failed;
}

/** `ollm agents remove`: deletes what `installAgents` wrote. Exit codes as `ollm setup`. */
export function removeAgents(options: AgentsOptions, io: CommandIo): Promise<number> {
  const none = "There are no agent files of ollm.";
  return removeEntries({ entries: [], guides: agentFiles(gatherFacts(io)) }, { ...options, none }, io);
}
