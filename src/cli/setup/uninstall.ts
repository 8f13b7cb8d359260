import { rm, rmdir } from "node:fs/promises";
import path from "node:path";
import { homeProblem } from "../../ipc/trusted-home.ts";
import { resolveHome } from "../../orchestrator/config/home.ts";
import { formatBytes } from "../../orchestrator/util/format-bytes.ts";
import { allTargets, gatherFacts, type ClientTarget } from "./clients.ts";
import { agentFiles, existingGuides, type GuideTarget, planRemoveGuide, withFoldedGuide } from "./guide-plan.ts";
import { deleteHome, homeContent, programFolder } from "./program-files.ts";
import { type CommandIo, whyNotChange, type Options } from "../terminal/io.ts";
import { hanging, failureText } from "../terminal/terminal-text.ts";
import { InvalidRequest, OrchestratorError } from "../../orchestrator/api/errors.ts";
import { ChangedMeanwhile, colourDiff, rewriteConfigFile, showDiff } from "./config-file.ts";
import { type RemovePlan, planRemove } from "./plan.ts";

/**
 * `ollm uninstall`: removes ollm from all clients, stops the daemon and deletes the copy of the program. The home is kept
 * unless `purge`, and always if other users could have changed it. Exit codes as `ollm setup`. Throws
 * `OrchestratorError`, before anything is changed, for a home that is not a folder of ollm.
 */
export async function uninstall(
  options: Options<{ switch: "purge" | "yes" }>,
  io: CommandIo,
  world: {
    /** Stops the daemon, waits for its exit and returns an exit code. */
    stopDaemon(io: CommandIo): Promise<number>;
  },
): Promise<number> {
  const home = resolveHome(io.environment, io.userHome, io.workingDirectory);
  const content = options.purge === true ? await homeContent(home, io.userHome) : undefined;
  const refusal = homeProblem(home, { closes: false });
  if (refusal !== undefined && options.purge === true) throw refusal;
  const facts = gatherFacts(io);
  const targets = { entries: allTargets(facts), guides: [...existingGuides(facts, []), ...agentFiles(facts)] };
  const { changes, problems } = await planRemovals(targets, io);
  if (changes.length === 0) io.stdout("No client has an ollm entry.\n");
  if (content !== undefined) io.stdout(describeHome(home, content));

  const question = content === undefined ? "Uninstall?" : "Uninstall and delete all of this?";
  const refused = await whyNotChange({ yes: options.yes, purpose: "uninstall", question, refused: 0 }, io);
  if (refused !== undefined) return refused;

  const failures = problems + (await applyRemovals(changes, io));
  if (refusal !== undefined) {
    io.stderr(`ollm: ${home} was not changed: ${refusal.message}\n`);
    return failures > 0 ? 1 : 0;
  }
  const stopped = await world.stopDaemon(io);
  if (stopped !== 0) {
    io.stderr(`ollm: the daemon of ${home} could not be stopped; its files were not deleted\n`);
    return 1;
  }
  if (content !== undefined) {
    const left = await deleteHome(home);
    const except = left.length > 0 ? `, except ${left.join(", ")}, which ollm did not create` : "";
    io.stdout(`${hanging("✓ ", `${home} deleted${except}`, io)}\n`);
  } else {
    await rm(programFolder(home), { recursive: true, force: true, maxRetries: 3 });
    for (const name of ["run", "cache"])
      await rm(path.join(home, name), { recursive: true, force: true, maxRetries: 3 });
    io.stdout(`Models and settings are kept in ${home}; ollm uninstall --purge deletes them.\n`);
  }
  if (changes.length > 0) io.stdout("Restart open clients: they use ollm until then.\n");
  io.stdout("If ollm was installed with npm: npm uninstall -g ollm-mcp\n");
  return failures > 0 ? 1 : 0;
}

function describeHome(home: string, content: NonNullable<Awaited<ReturnType<typeof homeContent>>>): string {
  const total = content.parts.reduce((sum, { bytes }) => sum + bytes, 0);
  const lines = content.parts.map((part) => `  ${formatBytes(part.bytes).padStart(10)}  ${part.path}  ${part.meaning}`);
  return `Will be deleted with ${home}, ${formatBytes(total)} in all:\n${lines.join("\n")}\n`;
}

type Change = Extract<RemovePlan, { kind: "change" }>;

/** Files with an entry, and files with a guide. */
interface RemovalTargets {
  readonly entries: readonly ClientTarget[];
  readonly guides: readonly GuideTarget[];
}

/** Plans to remove what setup wrote into these files and prints the changes. Writes nothing. */
async function planRemovals(targets: RemovalTargets, io: Pick<CommandIo, "stdout" | "hasColour">) {
  const plans = await Promise.all([...targets.entries.map(planRemove), ...targets.guides.map(planRemoveGuide)]);
  for (const plan of plans) io.stdout(describe(plan, io));
  return {
    changes: plans.filter((plan) => plan.kind === "change"),
    problems: plans.filter((plan) => plan.kind === "problem").length,
  };
}

/** Makes the changes; prints failures to stderr and returns their number. */
async function applyRemovals(
  changes: readonly Change[],
  io: Pick<CommandIo, "stdout" | "stderr" | "columns" | "errorColumns">,
): Promise<number> {
  let failures = 0;
  for (const change of changes) {
    const { target } = change;
    try {
      await rewrite(change);
      io.stdout(`${hanging("✓ ", `${target.client.name}: removed from ${target.file}`, io)}\n`);
    } catch (error) {
      if (!(error instanceof OrchestratorError)) throw error;
      io.stderr(failureText("✗ ", `${target.client.name}: ${error.message}`, error, io));
      failures += 1;
    }
  }
  return failures;
}

/** Makes a change. If the client has written its file meanwhile, the entry is removed from the new content. */
async function rewrite(change: Change): Promise<void> {
  try {
    await rewriteConfigFile(change.file, change.bytes);
    await Promise.all(change.obsolete.map((backup) => rm(backup, { force: true })));
  } catch (error) {
    if (!(error instanceof ChangedMeanwhile)) throw error;
    const plan = await change.replan();
    if (plan.kind === "problem") throw error;
    if (plan.kind === "change") await rewriteConfigFile(plan.file, plan.bytes);
  }
  // A folder with other files stays.
  for (const folder of change.folders ?? []) await rmdir(folder).catch(() => undefined);
}

/** Removes the entry from one file, keeping everything else. Throws `OrchestratorError`. */
export async function removeEntryOf(target: ClientTarget): Promise<void> {
  const plan = await planRemove(target);
  if (plan.kind === "problem") throw new InvalidRequest(plan.message);
  if (plan.kind === "change") await rewrite(plan);
}

/** `ollm setup --undo`: exit codes as `ollm setup`. `none` is what is said if there is nothing to remove. */
export async function removeEntries(
  targets: RemovalTargets,
  options: Options<{ switch: "guide" | "print" | "yes"; text: "none" }>,
  io: CommandIo,
): Promise<number> {
  const { changes, problems } = await planRemovals(targets, io);
  const failed = problems > 0 ? 1 : 0;
  if (changes.length === 0) {
    const none = options.guide === true ? "No client has the guide." : "No client has an ollm entry.";
    io.stdout(`${options.none ?? none}\n`);
    return failed;
  }
  if (options.print === true) return failed;
  const asked = { yes: options.yes, purpose: "remove this", question: "Remove this?", refused: failed };
  const refused = await whyNotChange(asked, io);
  if (refused !== undefined) return refused;
  return (await applyRemovals(changes, io)) > 0 ? 1 : failed;
}

function describe(plan: RemovePlan, io: Pick<CommandIo, "hasColour" | "columns">): string {
  const { client, file } = plan.target;
  switch (plan.kind) {
    case "absent":
      return "";
    case "problem":
      return `${client.name}  ${file}\n${failureText("  ✗ ", `${plan.message}; not changed`, plan, { errorColumns: io.columns })}`;
    case "change": {
      const note = plan.bytes === undefined ? "  created by ollm; will be deleted\n" : "";
      const diff = showDiff(file, withFoldedGuide(plan.file.text), withFoldedGuide(plan.text));
      return `${client.name}  ${file}\n${note}${colourDiff(diff, io)}\n`;
    }
  }
}
