import { rm } from "node:fs/promises";
import path from "node:path";
import { homeProblem } from "../../ipc/trusted-home.ts";
import { resolveHome } from "../../orchestrator/config/home.ts";
import { formatBytes } from "../../orchestrator/util/format-bytes.ts";
import { allTargets, gatherFacts } from "./discover.ts";
import { existingGuides } from "./guide-plan.ts";
import { type HomeContent, deleteHome, homeContent, programFolder } from "./program-files.ts";
import { applyRemovals, planRemovals } from "./remove-entries.ts";
import { type CommandIo, isYes } from "../terminal/io.ts";
import { hanging } from "../terminal/terminal-text.ts";

/** The flags of `ollm uninstall`. */
export interface UninstallOptions {
  /** Also delete the home: models, engine, settings. */
  readonly purge?: boolean | undefined;
  /** Don't ask. */
  readonly yes?: boolean | undefined;
}

/** What uninstalling takes from the commands. */
export interface UninstallWorld {
  /** Stops the daemon, waits for its exit and returns an exit code. */
  stopDaemon(io: CommandIo): Promise<number>;
}

/**
 * `ollm uninstall`: removes ollm from all clients, stops the daemon and deletes the copy of the program. The home is kept
 * unless `purge`, and always if other users could have changed it. Exit codes as `ollm setup`. Throws
 * `OrchestratorError`, before anything is changed, for a home that is not a folder of ollm.
 */
export async function uninstall(options: UninstallOptions, io: CommandIo, world: UninstallWorld): Promise<number> {
  const home = resolveHome(io.environment, io.userHome, io.workingDirectory);
  const content = options.purge === true ? await homeContent(home, io.userHome) : undefined;
  const refusal = homeProblem(home, { closes: false });
  if (refusal !== undefined && options.purge === true) throw refusal;
  const facts = gatherFacts(io);
  const targets = { entries: allTargets(facts), guides: existingGuides(facts, []) };
  const { changes, problems } = await planRemovals(targets, io);
  if (changes.length === 0) io.stdout("No client has an ollm entry.\n");
  if (content !== undefined) io.stdout(describeHome(home, content));

  if (options.yes !== true) {
    if (!io.isTerminal) {
      io.stderr("Nothing was changed: not a terminal, so I can't ask. Add --yes to uninstall.\n");
      return 2;
    }
    if (
      !isYes(await io.ask(content === undefined ? "Uninstall? [y/N] " : "Uninstall and delete all of this? [y/N] "))
    ) {
      io.stdout("Nothing was changed.\n");
      return 0;
    }
  }

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
    await rm(path.join(home, "run"), { recursive: true, force: true, maxRetries: 3 });
    io.stdout(`Models and settings are kept in ${home}; ollm uninstall --purge deletes them.\n`);
  }
  if (changes.length > 0) io.stdout("Restart open clients: they use ollm until then.\n");
  io.stdout("If ollm was installed with npm: npm uninstall -g ollm-mcp\n");
  return failures > 0 ? 1 : 0;
}

function describeHome(home: string, content: HomeContent): string {
  const total = content.parts.reduce((sum, { bytes }) => sum + bytes, 0);
  const lines = content.parts.map((part) => `  ${formatBytes(part.bytes).padStart(10)}  ${part.path}  ${part.meaning}`);
  return `Will be deleted with ${home}, ${formatBytes(total)} in all:\n${lines.join("\n")}\n`;
}
